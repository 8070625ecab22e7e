"""Waits, as a host's shell carries them out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from operations import wait
from operations.wait import until

SCRIPT = wait._SCRIPT.read_text()
# Each time one letter more.
MOVES = "printf x >>tries; cat tries"


@pytest.fixture(params=["dash", "bash"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Shell:
    return Shell(request.param, tmp_path)


class Shell:
    """The script of a wait, in one of the shells that are somebody's sh, in a folder of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    def wait(
        self,
        condition: str,
        patience: int = 1,
        ceiling: int = 60,
        progress: str = "true",
        explain: str = "true",
        script: str = SCRIPT,
    ) -> subprocess.CompletedProcess[str]:
        words = ("wait", "m: etcd does not serve", str(patience), str(ceiling), condition, progress, explain)
        return subprocess.run(
            [self.name, "-c", script, *words],
            cwd=self.folder, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def tries(self, of: str = "tries") -> int:
        return len((self.folder / of).read_text())


def test_a_wait_goes_on_beyond_its_patience_while_its_condition_says_something_new(shell: Shell) -> None:
    done = shell.wait(f'{MOVES}; [ "$(wc -c <tries)" -ge 12 ]')
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert shell.tries() == 12


def test_a_wait_goes_on_beyond_its_patience_while_there_is_progress(shell: Shell) -> None:
    done = shell.wait('[ "$(wc -c <tries)" -ge 4 ]', progress=MOVES)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    "says",
    [
        "true",
        "echo the same",
        'echo "took $(date +%N) ns, tried $(date +%s) times, by process $$"',
        'echo "container $(cat /proc/sys/kernel/random/uuid) failed at 0x$(date +%N)"',
        '[ -e flip ] && rm flip && echo "auto-restart" || { touch flip; echo "running"; }',
    ],
    ids=["nothing", "the same", "other numbers", "other identities", "in turns"],
)
def test_what_only_repeats_itself_stands_still(shell: Shell, says: str) -> None:
    done = shell.wait(f"{says}; printf x >>tries; false", patience=3, progress=f"{{ {says}; }} | plain")
    assert done.returncode == 1
    assert "nothing new for" in done.stdout
    assert shell.tries() < 60


def test_a_wait_in_vain_says_for_whom_what_moved_last_what_it_was_answered_and_why(shell: Shell) -> None:
    done = shell.wait(
        "echo refused >&2; false", patience=0, progress="echo pod 1 created", explain="echo waited $waited; false"
    )
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "m: etcd does not serve (waited 0 s; nothing new for 0 s)",
        "The last new line: pod 1 created",
        "Its last answer:",
        "refused",
        "waited 0",
        "The same command goes on from here.",
    ]


def test_a_condition_is_looked_at_once_more_when_patience_has_run_out(shell: Shell) -> None:
    done = shell.wait("test -e late", patience=0, progress="touch late")
    assert (done.returncode, done.stdout) == (0, "")


def test_what_moves_for_ever_has_an_end_too(shell: Shell) -> None:
    done = shell.wait("false", patience=60, ceiling=2, progress=MOVES)
    assert done.returncode == 1
    assert shell.tries() > 1


def test_a_condition_that_runs_out_of_time_gets_more_of_it(shell: Shell) -> None:
    impatient = SCRIPT.replace("limit=30\n", "limit=1\n")
    assert impatient != SCRIPT
    done = shell.wait("printf x >>tries; sleep 1.5", patience=20, script=impatient)
    assert done.returncode == 0
    assert shell.tries() == 2


def test_progress_is_asked_for_less_often_than_the_condition(shell: Shell) -> None:
    shell.wait("printf x >>tries; false", patience=3, progress="printf x >>probes")
    assert shell.tries("probes") <= 5 < shell.tries("tries")


@pytest.mark.parametrize("sh", ["set -e\n", "set -u\n", ""])
def test_a_wait_fails_the_script_that_it_is_in(sh: str) -> None:
    script = sh + until("false", 0, 'it\'s not "there"', explain="echo '$because'") + " || exit 7\necho went on"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert done.stdout.splitlines() == [
        'it\'s not "there" (waited 0 s; nothing new for 0 s)',
        "$because",
        "The same command goes on from here.",
    ]
