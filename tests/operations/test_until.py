"""Waits in a host's shell, by a clock that advances a quarter of a second with each try."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from kubekeel.needs import STATIC_PODS
from kubekeel.service import NO_RESTARTS
from kubekeel.shell import script
from operations.wait import until
from tasks.kubelet import progress, restarts
from tests.hosts import cluster

SCRIPT = script("node/wait.sh")
TRY = 'printf x >>tries; echo "$(($(wc -c <tries) / 4)).00 0" >uptime; '
# Prints one letter more each time.
MOVES = "printf x >>moves; cat moves"


class Shell:
    """The script of a wait, in one of the shells that sh may be, in a separate folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        (folder / "uptime").write_text("0.00 0\n")

    def wait(
        self,
        condition: str,
        patience: int = 2,
        ceiling: int = 1000,
        progress: str = "true",
        explain: str = "true",
        restarts: str = NO_RESTARTS,
        limit: int = 30,
        progress_limit: int = 20,
    ) -> subprocess.CompletedProcess[str]:
        script = SCRIPT.replace("/proc/uptime", "uptime").replace("\nlimit=30\n", f"\nlimit={limit}\n")
        script = re.sub(r"(?<=progress_limit=)20", str(progress_limit), script)
        words = ("wait", "m: etcd does not serve", str(patience), str(ceiling), TRY + condition, progress, explain)
        words = (*words, restarts)
        return subprocess.run(
            [self.name, "-c", 'sleep() { echo "$1" >>sleeps; }\n' + script, *words],
            cwd=self.folder, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    @property
    def tries(self) -> int:
        return len((self.folder / "tries").read_text())


@pytest.fixture(params=["dash", "bash"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Shell:
    return Shell(request.param, tmp_path)


def timeless(output: str) -> list[str]:
    return re.sub(r"\d+ s", "N s", output).splitlines()


def test_a_wait_continues_past_its_patience_while_its_condition_prints_new_lines(shell: Shell) -> None:
    done = shell.wait(f'{MOVES}; [ "$(wc -c <moves)" -ge 40 ]')
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert shell.tries == 40


def test_a_wait_continues_past_its_patience_while_there_is_progress(shell: Shell) -> None:
    done = shell.wait('[ "$(wc -c <moves)" -ge 10 ]', progress=MOVES)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert shell.tries > 4 * 9


@pytest.mark.parametrize(
    "says",
    [
        "true",
        "echo the same",
        'echo "took $(date +%N) ns, tried $(date +%s) times, by process $$"',
        'echo "container $(cat /proc/sys/kernel/random/uuid) failed at 0x$(date +%N)"',
        # As containerd writes it: without zeros at the end.
        '[ "$(wc -c <tries)" -lt 16 ] && rest=456789 || rest=; echo "2026-11-26T20:07:12.123${rest}Z failed"',
        '[ -e flip ] && rm flip && echo "auto-restart" || { touch flip; echo "running"; }',
    ],
    ids=["nothing", "the same", "other numbers", "other identities", "a shorter time", "in turns"],
)
def test_repeated_output_is_not_progress(shell: Shell, says: str) -> None:
    done = shell.wait(f"{says}; false", patience=5, progress=f"{{ {says}; }} | plain")
    assert done.returncode == 1
    assert "nothing new for 5 s" in done.stdout
    assert shell.tries < 28


def test_containerd_s_housekeeping_is_not_progress(shell: Shell) -> None:
    line = 'time="2026-11-26T20:07:12Z" level=info msg="container event discarded" type=CONTAINER_STOPPED_EVENT'
    says = f"journalctl() {{ [ $(wc -c <tries) -ge 16 ] && echo '{line}'; }}"
    done = shell.wait("false", patience=5, progress=f"{says}\n{progress(NODE, STATIC_PODS)}")
    assert done.returncode == 1
    assert "nothing new for 5 s" in done.stdout
    assert shell.tries < 28


def test_a_failed_wait_names_its_host_the_last_progress_and_the_last_answer(shell: Shell) -> None:
    done = shell.wait("echo refused >&2; false", progress="echo pod a created", explain="echo waited $waited s; false")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "m: etcd does not serve (waited 2 s; nothing new for 2 s)",
        "The last new line: pod a created",
        "Its last answer:",
        "refused",
        "waited 2 s",
        "The same command goes on from here.",
    ]


def test_a_condition_is_checked_once_more_when_patience_has_run_out(shell: Shell) -> None:
    done = shell.wait("test -e late", patience=0, progress="touch late")
    assert (done.returncode, done.stdout) == (0, "")


NODE = cluster().masters[0]
# Kubelet starts the container of a pod for the nth time.
LOG = """log() {
  mkdir -p "kube-system_$1/container"
  touch "kube-system_$1/container/$2.log"
}
n=$(wc -c <tries)
"""


def restarts_of(pods: Sequence[str], shell: Shell) -> str:
    return restarts(NODE, pods).replace("/var/log/pods", str(shell.folder))


def test_a_program_that_is_restarted_again_and_again_is_given_up_despite_its_news(shell: Shell) -> None:
    subprocess.run(
        ["sh", "-c", f"{LOG}log kube-apiserver-m_old 7"], cwd=shell.folder, check=True, stderr=subprocess.DEVNULL
    )
    # The logs of the pod that it replaces go meanwhile.
    starts = '[ "$n" -le 28 ] || rm -rf kube-system_kube-apiserver-m_old; log kube-apiserver-m_new $((n / 12))'
    done = shell.wait("false", progress=f"{LOG}{starts}; {MOVES}", restarts=restarts_of(["kube-apiserver"], shell))
    assert done.returncode == 1
    assert "(waited 9 s; nothing new for 0 s; restarted 3 times)" in done.stdout


def test_some_restarts_of_several_programs_are_no_reason_to_give_up(shell: Shell) -> None:
    twice = "log kube-scheduler-m_1 $((n / 20)); log kube-controller-manager-m_1 $((n / 20))"
    others = "log kube-scheduler-custom-m_1 $n; log kube-scheduler-n_1 $n"
    counted = restarts_of(STATIC_PODS, shell)
    # One answer of two is missing.
    now_and_then = f"[ $(($(wc -c <tries) / 4 % 2)) = 0 ] && exit 1; {counted}"
    done = shell.wait("false", ceiling=14, progress=f"{LOG}{twice}; {others}; {MOVES}", restarts=now_and_then)
    assert done.returncode == 1
    assert "(waited 14 s; nothing new for 0 s; restarted 2 times)" in done.stdout


def test_endless_progress_ends_at_the_ceiling(shell: Shell) -> None:
    done = shell.wait("false", ceiling=9, progress=MOVES)
    assert done.returncode == 1
    assert "(waited 9 s; nothing new for 0 s)" in done.stdout


def test_a_condition_that_times_out_gets_more_time(shell: Shell) -> None:
    assert shell.wait("sleep 1.5", patience=60, limit=1).returncode == 0
    assert shell.tries > 1


def test_progress_that_times_out_gets_more_time(shell: Shell) -> None:
    slow = f"env sleep 1.5; {MOVES}"
    done = shell.wait('[ "$(wc -c <moves)" -ge 3 ] 2>/dev/null', patience=3, progress=slow, progress_limit=1)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_host_is_asked_for_progress_once_a_second(shell: Shell) -> None:
    shell.wait("false", patience=6, progress="printf x >>probes")
    assert len((shell.folder / "probes").read_text()) == 7
    assert shell.tries > 20


@pytest.mark.parametrize(("took", "pause"), [(0, "0.2"), (4, "3"), (60, "10")])
def test_a_host_that_answers_slowly_is_asked_less_often(shell: Shell, took: int, pause: str) -> None:
    slow = f'read -r now _ <uptime; echo "$((${{now%.*}} + {took})).00 0" >uptime; '
    assert shell.wait(f'{slow}[ "$(wc -c <tries)" -ge 2 ]', patience=1000).returncode == 0
    assert (shell.folder / "sleeps").read_text().split() == [pause]


@pytest.mark.parametrize("before", ["set -e\n", "set -u\n", ""])
def test_a_wait_fails_the_script_that_it_is_in(before: str) -> None:
    script = before + until("false", 0, 'it\'s not "there"', explain="echo '$because'") + " || exit 7\necho went on"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert timeless(done.stdout) == [
        'it\'s not "there" (waited N s; nothing new for N s)',
        "$because",
        "The same command goes on from here.",
    ]
