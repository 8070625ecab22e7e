"""The commands of `python3 -m lab`."""

from __future__ import annotations

import argparse
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

from lab import bootstrap
from lab.errors import LabError
from lab.lab import Lab
from lab.owner import as_owner, keep_bytecode_out
from lab.shape import PROJECT, SUITES
from lab.side_by_side import side_by_side

# These need neither a lab nor root.
_INNER = ("tests/unit", "tests/operations", "tests/flow")
_TESTS = ("tests/lab", "tests/cluster", "tests/vm")
_HARMFUL = ("tests/chaos",)
_CHAOS = "--chaos"
# pytest's exit status.
_NO_TESTS = 5


def main(arguments: Sequence[str]) -> int:
    """Run one command; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        keep_bytecode_out()
        if _needs_root(options):
            bootstrap.become_root(arguments)
        run: Callable[[Lab, argparse.Namespace], int] = options.run
        return run(Lab.here(), options)
    except LabError as fault:
        print(f"lab: {fault}", file=sys.stderr)
    except KeyboardInterrupt:
        print("lab: interrupted; the same command goes on where it was", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m lab", description=sys.modules["lab"].__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[Lab, argparse.Namespace], int], name: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        return made

    def passing_on(run: Callable[[Lab, argparse.Namespace], int], name: str, text: str) -> None:
        # With this prefix nothing is an option: all words go to the command itself.
        made = commands.add_parser(name, help=text, add_help=False, prefix_chars="\0")
        made.add_argument("arguments", nargs=argparse.REMAINDER)
        made.set_defaults(run=run)

    up = command(_up, "up", "start the machines, and deploy the cluster to them; continues after an interruption")
    up.add_argument("--masters", type=int, metavar="N", help="number of masters, 1 (the default) to 3")
    up.add_argument("--minions", type=int, metavar="N", help="number of minions; the default is 2")
    up.add_argument("--vm", action="store_true", help="make virtual machines, with kernels of their own")
    up.add_argument(
        "--suite", choices=SUITES, help=f"the Debian suite of virtual machines; the default is {SUITES[-1]}"
    )
    up.add_argument("--no-deploy", action="store_true", help="make bare machines only")
    command(_down, "down", "remove everything but the cached root image and artifacts")
    command(_status, "status", "show the machines, and whether they are on")
    command(_setup, "setup", "make only the virtual environment; needs no root")
    shell = command(_shell, "shell", "open a shell on a machine, or run one command there: shell NODE -- CMD")
    shell.add_argument("node")
    shell.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD")
    command(_run, "run", "run a command on this computer, in the lab's network: run -- CMD").add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- CMD"
    )
    for name, run, text in (
        ("stop", _stop, "cut machines' power"),
        ("start", _start, "switch machines on"),
        ("restart", _restart, "cut machines' power, and switch them on again"),
    ):
        command(run, name, text).add_argument("nodes", nargs="+", metavar="NODE")
    passing_on(_kubectl, "kubectl", "kubectl as the cluster's administrator")
    inner = ", ".join(_INNER)
    passing_on(
        _test,
        "test",
        f"pytest on the project's tests; with {_CHAOS} those that do real harm, too; "
        f"{inner} need neither root nor a lab where only they are named",
    )
    return parser


def _needs_root(options: argparse.Namespace) -> bool:
    return not _is_inner(_words(options)) if options.run is _test else options.run is not _setup


def _setup(_lab: Lab, _options: argparse.Namespace) -> int:
    bootstrap.environment()
    return 0


def _up(lab: Lab, options: argparse.Namespace) -> int:
    virtual = options.vm or options.suite
    bootstrap.install({**bootstrap.MACHINES, **(bootstrap.VIRTUAL if virtual else {})})
    if not options.no_deploy:
        bootstrap.install(bootstrap.BUILD)
        bootstrap.environment()
    lab.up(options.masters, options.minions, (options.suite or SUITES[-1]) if virtual else None)
    _status(lab, options)
    if options.no_deploy:
        return 0
    return _deploy(lab)


def _deploy(lab: Lab) -> int:
    environment = lab.environment
    inventory = os.path.relpath(lab.inventory, PROJECT)
    fetch = ["python", "-m", "lab.artifacts", inventory, str(lab.directory / "bin")]
    deploy = ["pyinfra", "-y", inventory, "deploy.py"]
    print(f"\n$ python3 -m lab run -- {shlex.join(deploy)}", flush=True)
    for command in (fetch, lab.keeper.in_network(deploy)):
        if status := _wait(subprocess.Popen(command, cwd=PROJECT, env=environment)):
            raise LabError(f"the deploy failed (status {status}); `python3 -m lab up` tries again")
    for wanted in ("get nodes -o wide", "get pods -A -o wide"):
        print(f"\n$ python3 -m lab kubectl {wanted}", flush=True)
        subprocess.call(lab.keeper.in_network(["kubectl", *wanted.split()]), env=environment)
    print(_NEXT.format(deploy=shlex.join(["pyinfra", inventory, "deploy.py"])))
    return 0


_NEXT = """
Try next:
  python3 -m lab kubectl top nodes
  python3 -m lab kubectl proxy        # then open the dashboard: see README.md
  python3 -m lab shell master
  python3 -m lab stop minion1         # pull its plug; `start minion1` switches it on again
  python3 -m lab run -- {deploy}
  python3 -m lab test
  python3 -m lab down"""


def _down(lab: Lab, _options: argparse.Namespace) -> int:
    print("the lab is gone" if lab.down() else "there was no lab")
    return 0


def _status(lab: Lab, _options: argparse.Namespace) -> int:
    lab.keeper  # noqa: B018 - LabError where the lab is not up
    for machine in lab.machines:
        print(f"{machine.node.name:<10} {machine.node.address:<15} {'on' if machine.is_on else 'off'}")
    return 0


def _shell(lab: Lab, options: argparse.Namespace) -> int:
    machine = lab.machine(options.node)
    terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    command = _after_dashes(options.command)
    if not machine.is_on:
        raise LabError(f"{options.node}: is off; `python3 -m lab start {options.node}` switches it on")
    return _become([*lab.ssh, *terminal, machine.node.address, *([shlex.join(command)] if command else [])], lab)


def _run(lab: Lab, options: argparse.Namespace) -> int:
    command = _after_dashes(options.command)
    if not command:
        raise LabError("run: the command is missing; write `python3 -m lab run -- CMD`")
    return _become(lab.keeper.in_network(command), lab)


def _kubectl(lab: Lab, options: argparse.Namespace) -> int:
    """Run kubectl here, not in the lab's network, since `proxy` and `port-forward` must listen on this computer."""
    environment = lab.environment
    if not os.path.exists(environment["KUBECONFIG"]):
        raise LabError("there is no cluster yet; `python3 -m lab up` makes it")
    masters = [node.address for node in lab.shape.master_nodes]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = [sys.executable, "-m", "lab.relay", str(listener.fileno()), *masters]
        server = f"--server=https://127.0.0.1:{listener.getsockname()[1]}"
        carrying = subprocess.Popen(
            lab.keeper.in_network(relay),
            stdin=subprocess.PIPE, pass_fds=[listener.fileno()], cwd=PROJECT, start_new_session=True,
        )  # fmt: skip
        with carrying:
            return _wait(subprocess.Popen(["kubectl", server, *options.arguments], env=environment))


def _stop(lab: Lab, options: argparse.Namespace) -> int:
    lab.stop(options.nodes)
    return 0


def _start(lab: Lab, options: argparse.Namespace) -> int:
    lab.start(options.nodes)
    return 0


def _restart(lab: Lab, options: argparse.Namespace) -> int:
    lab.stop(options.nodes)
    lab.start(options.nodes)
    return 0


def _test(lab: Lab, options: argparse.Namespace) -> int:
    """Run pytest in the lab's network; the inner ring runs outside of it.

    Without a named folder the inner ring runs first, and the other tests follow if it passes.
    """
    bootstrap.environment()
    os.chdir(PROJECT)
    sys.stdout.flush()
    words = _words(options)
    if _is_inner(words):
        return _inner_ring(words)
    if not any(map(_is_path, options.arguments)):
        others = [word for word in words if not _is_path(word)]
        if status := _inner_ring([*_INNER, *others]):
            return status
    bootstrap.install(bootstrap.VIRTUAL)
    bootstrap.install_browser()
    os.environ["KUBEKEEL_OUTSIDE"] = _kept_network()
    cache = ("-o", f"cache_dir={lab.directory / 'pytest_cache'}")
    return _become(lab.keeper.in_network(["python", "-m", "pytest", *cache, *words]), lab)


def _inner_ring(words: Sequence[str]) -> int:
    """Run pytest, for several folders side by side; return the exit status."""
    pytest = [str(bootstrap.VENV / "bin/python"), "-m", "pytest"]
    folders = [word for word in words if word in _INNER]
    if len(folders) < 2:
        command = as_owner([*pytest, *words])
        os.execvp(command[0], command)
    others = [word for word in words if word not in _INNER]
    statuses = side_by_side({folder: as_owner([*pytest, folder, *others]) for folder in folders})
    # -k may match no test of a folder.
    return next((status for status in statuses.values() if status not in (0, _NO_TESTS)), 0)


def _kept_network() -> str:
    """Return the path of the network that this process leaves next: some tests install packages from the internet."""
    network = os.open("/proc/self/ns/net", os.O_RDONLY)
    os.set_inheritable(network, True)
    return f"/proc/{os.getpid()}/fd/{network}"


def _words(options: argparse.Namespace) -> list[str]:
    """Return pytest's arguments: without a named folder of tests, the folders that need the lab."""
    words = [word for word in options.arguments if word != _CHAOS]
    if any(map(_is_path, words)):
        return words
    return [*_TESTS, *(_HARMFUL if _CHAOS in options.arguments else ()), *words]


def _is_path(word: str) -> bool:
    return word.startswith("tests/")


def _is_inner(words: Sequence[str]) -> bool:
    return all(word.startswith(_INNER) for word in words if _is_path(word))


def _after_dashes(command: Sequence[str]) -> list[str]:
    return list(command[1:] if command[:1] == ["--"] else command)


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the process and return its exit status; Ctrl-C ends the process, and not this program."""
    while True:
        try:
            status = process.wait()
            return status if status >= 0 else 128 - status
        except KeyboardInterrupt:
            continue


def _become(command: Sequence[str], lab: Lab) -> int:
    """Replace this process by `command`, which so gets its terminal and signals, and sets its exit status."""
    sys.stdout.flush()
    os.execvpe(command[0], list(command), lab.environment)
