"""Runs several programs at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from tempfile import TemporaryFile


def side_by_side(commands: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Run all commands at once, print each one's output under its name when it has ended; return the exit statuses."""
    print(f"side by side: {', '.join(commands)}", flush=True)
    with ExitStack() as stack:
        running = {}
        for name, command in commands.items():
            output = stack.enter_context(TemporaryFile())
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            running[name] = process, output
        statuses = {}
        for name, (process, output) in running.items():
            statuses[name] = process.wait()
            print(f"== {name}", flush=True)
            output.seek(0)
            shutil.copyfileobj(output, sys.stdout.buffer)
            sys.stdout.flush()
        return statuses
