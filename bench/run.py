"""Commands in a lab's network."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.record import Record
from lab.errors import LabError
from lab.keeper import Keeper
from lab.shape import PROJECT


def pyinfra(
    keeper: Keeper, environment: Mapping[str, str], folder: Path, *arguments: str, under: Sequence[str] = ()
) -> Record:
    """Run pyinfra and return its record; its log is in `folder`. Raises LabError if it fails.

    `under` is a command that runs the command in its last arguments.
    """
    file, log = folder / "record.json", folder / "pyinfra.log"
    file.unlink(missing_ok=True)
    command = keeper.in_network([*under, "python", "-m", "bench.recorder", str(file), "-y", *arguments])
    with log.open("w") as out:
        status = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, cwd=PROJECT
        ).returncode
    if status:
        last = "\n".join(log.read_text().splitlines()[-15:])
        raise LabError(f"pyinfra {' '.join(arguments)}: failed (status {status}); see {log}\n{last}")
    return Record.read(file)


def bare(keeper: Keeper, environment: Mapping[str, str], inventory: Path) -> float:
    """Return the seconds that pyinfra without Kubekeel needs to run `true` on all hosts of an inventory."""
    command = keeper.in_network(["pyinfra", "-y", str(inventory), "exec", "--", "true"])
    began = time.monotonic()
    # pyinfra reads the config.py of the folder that it runs in.
    output(command, environment, inventory.parent)
    return time.monotonic() - began


def output(command: Sequence[str], environment: Mapping[str, str] | None = None, folder: Path = PROJECT) -> str:
    """Return the output of a command; raises LabError with its errors if it fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, cwd=folder
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise LabError(f"{' '.join(command)}: failed (status {done.returncode})\n{last}")
    return done.stdout


def at_once(commands: Sequence[Sequence[str]], environment: Mapping[str, str] | None = None) -> None:
    """Run commands side by side until the last one ends; raises LabError if one fails."""
    running = [
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=environment, cwd=PROJECT,
        )
        for command in commands
    ]  # fmt: skip
    outputs = [process.communicate()[0] for process in running]
    for process, text in zip(running, outputs, strict=True):
        if process.returncode:
            last = "\n".join(text.splitlines()[-15:])
            raise LabError(f"{' '.join(map(str, process.args))}: failed (status {process.returncode})\n{last}")
