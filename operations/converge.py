"""Converge files and services: one look, one archive, one wait."""

from __future__ import annotations

import shlex
from base64 import encodebytes
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from kubekeel.differences import of_files, of_unit
from kubekeel.files import Absent, Directory, File, Link, Seen, Tree, archive, differing, staged, watched
from kubekeel.render import BIN
from kubekeel.service import Service
from kubekeel.shell import script
from operations.look import Joint, differs, see
from operations.previous import previous
from operations.wait import failed_wait, reported, until
from run.beside import awaited

_MOMENT = 10


@dataclass(frozen=True)
class UnitSeen:
    """A unit as observed on a host: when its main process started (seconds since the epoch), and its age (seconds).

    `enabled` means that it starts at boot, as far as systemd can tell.
    """

    active: bool = False
    started: float = 0.0
    age: float = 0.0
    ready: bool = False
    enabled: bool = True


@dataclass
class RoleSeen:
    """The observed paths, units and conditions of a role."""

    paths: dict[str, Seen] = field(default_factory=dict)
    units: dict[str, UnitSeen] = field(default_factory=dict)
    holds: set[str] = field(default_factory=set)


_SHOWN = "Id,ActiveState,UnitFileState,ExecMainStartTimestamp,ExecMainStartTimestampMonotonic"
_SHOW = f"systemctl show --timestamp=us+utc -p {_SHOWN}"
# systemctl shows a paragraph for each unit, with its name somewhere in it.
_BY_UNIT = r"""awk 'BEGIN {RS = ""; FS = "\n"} {
  for (i = 1; i <= NF; i++) if ($i ~ /^Id=/) unit = substr($i, 4, length($i) - 11)
  for (i = 1; i <= NF; i++) if ($i !~ /^Id=/) print "unit\t" unit "\t" $i
}'"""


class Look(Joint):
    """All that a role's operation compares: paths, units, and the names of the conditions that hold."""

    default = RoleSeen

    @staticmethod
    def join(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any] | None:
        conditions = {**one["conditions"], **other["conditions"]}
        # A unit can be ready by one operation's condition, and not by another's.
        if conditions != {**other["conditions"], **one["conditions"]}:
            return None
        return {
            "paths": sorted({*one["paths"], *other["paths"]}),
            "units": sorted({*one["units"], *other["units"]}),
            "conditions": conditions,
        }

    @staticmethod
    def part(answer: RoleSeen, arguments: Mapping[str, Any]) -> RoleSeen:
        return replace(
            answer,
            paths={path: answer.paths[path] for path in arguments["paths"] if path in answer.paths},
            units={unit: answer.units[unit] for unit in arguments["units"] if unit in answer.units},
            holds=answer.holds & arguments["conditions"].keys(),
        )

    def command(self, paths: Iterable[str], units: Iterable[str], conditions: Mapping[str, str]) -> str:
        quoted = " ".join(map(shlex.quote, sorted(paths)))
        lines = [
            f"set -- {quoted or '/nowhere'}",
            "find \"$@\" -maxdepth 0 -printf 'path\\t%y\\t%m\\t%u:%g\\t%T@\\t%p\\t%l\\n' 2>/dev/null",
            "find -L \"$@\" -maxdepth 0 -xtype l -type d -printf 'folder\\t%m\\t%u:%g\\t%p\\n' 2>/dev/null",
            "find \"$@\" -maxdepth 0 -type f -exec sha256sum {} + 2>/dev/null | sed 's/^/digest\\t/'",
        ]
        if services := " ".join(f"{unit}.service" for unit in sorted(units)):
            lines.append(f"{_SHOW} {services} | {_BY_UNIT}")
        lines.append("""read -r uptime idle </proc/uptime; date "+clocks\t$uptime\t%s.%N\"""")
        for name, condition in conditions.items():
            held = f"echo 'holds\t{name}'"
            # Each in its own shell, since a condition may set variables or exit; and side by side, since a condition
            # that does not hold may take long.
            alone = f"{{ timeout 120 sh -c {shlex.quote(condition)} >/dev/null 2>&1 && {held}; }} &"
            lines.append(held if condition == "true" else alone)
        return "\n".join([*lines, "wait", "true"])

    def process(self, output: Iterable[str]) -> RoleSeen:
        seen, digests, folders = RoleSeen(), {}, {}
        shown: dict[str, dict[str, str]] = {}
        uptime, now = 0.0, 0.0
        for line in output:
            kind, _, rest = line.partition("\t")
            if kind == "path":
                letter, mode, owner, changed, path, target = rest.split("\t")
                seen.paths[path] = Seen(letter, int(mode, 8), owner, float(changed), target)
            elif kind == "folder":
                mode, owner, path = rest.split("\t")
                folders[path] = Directory(int(mode, 8), owner)
            elif kind == "digest":
                digest, path = rest.split(maxsplit=1)
                digests[path] = digest
            elif kind == "unit":
                unit, _, assignment = rest.partition("\t")
                key, _, value = assignment.partition("=")
                shown.setdefault(unit, {})[key] = value
            elif kind == "clocks":
                uptime, now = map(float, rest.split("\t"))
            elif kind == "holds":
                seen.holds.add(rest)
        for path, found in seen.paths.items():
            seen.paths[path] = replace(found, digest=digests.get(path, ""), folder=folders.get(path))
        for unit, properties in shown.items():
            seen.units[unit] = _unit(properties, unit in seen.holds, uptime, now)
        return seen


def _unit(properties: Mapping[str, str], ready: bool, uptime: float, now: float) -> UnitSeen:
    age = uptime - float(properties.get("ExecMainStartTimestampMonotonic", "0")) / 1e6
    started = _seconds(properties.get("ExecMainStartTimestamp", ""))
    return UnitSeen(
        active=properties.get("ActiveState") == "active",
        # The two differ if the clock was set after the start, as on a machine that boots without a clock.
        started=started and max(started, now - age),
        age=age,
        ready=ready,
        # Other states, like "static" and that of an unknown unit, do not change by `systemctl enable`.
        enabled=properties.get("UnitFileState") != "disabled",
    )


def _seconds(timestamp: str) -> float:
    if not timestamp or timestamp == "n/a":
        return 0.0
    # "Tue 2026-11-24 08:35:19.123456 UTC"
    moment = datetime.strptime(timestamp.split(" ", 1)[1].removesuffix(" UTC"), "%Y-%m-%d %H:%M:%S.%f")
    return moment.replace(tzinfo=UTC).timestamp()


def put(tree: Tree) -> StringCommand:
    """Return a command that writes `tree` with one archive: each file is complete, with its mode, before its rename.

    A link in the place of a folder stays, and its target is used; a link to anything but a folder is refused.
    """
    folders = {path: entry for path, entry in sorted(tree.items()) if isinstance(entry, Directory)}
    moved = [path for path, entry in sorted(tree.items()) if isinstance(entry, (File, Link))]
    removed = [path for path, entry in sorted(tree.items()) if isinstance(entry, Absent)]
    written = [staged(path) for path in moved if isinstance(tree[path], File)]
    above = {str(PurePosixPath(path).parent) for path in (*folders, *moved)} - folders.keys()
    given = (word for path, entry in folders.items() for word in (f"{entry.mode:o}", entry.owner, path))
    lines = ["set -eu", f"set -- {shlex.join(given)}", script("node/folders.sh")]
    lines += [f"mkdir -p {shlex.join(sorted(above))}"] if above else []
    lines += ["umask 077", "base64 -d | tar -xpmf - -C / --keep-directory-symlink"]
    if written:
        lines.append(f"sync {shlex.join(written)}")
    lines += [f"mv -fT {shlex.join([staged(path), path])}" for path in moved]
    if removed:
        lines.append(f"rm -f {shlex.join(removed)}")
    payload = encodebytes(archive(tree)).decode().splitlines()
    return StringCommand("\n".join(lines), _stdin=payload)


_PROGRESS = """
systemctl show -p ActiveState,SubState {unit}.service
journalctl -u {unit}.service -n 500 --no-pager -q -o cat | plain
"""


def _script(*lines: str) -> StringCommand:
    return StringCommand("\n".join(["set -e", *lines]))


def refuse(complaint: str) -> StringCommand:
    """Return a command that fails this host with a reason; an exception would end every host's run with a traceback."""
    return StringCommand("echo", QuoteString(complaint), "&& exit 1")


def _start(service: Service) -> Iterator[str]:
    unit = service.unit
    yield "systemctl daemon-reload"
    yield f"systemctl enable --quiet {unit}.service"
    yield service.before
    # A blocking restart of a unit with Type=notify would also wait, but report less.
    yield f"systemctl restart --no-block {unit}.service"
    yield waiting(service, service.patience)


def waiting(service: Service, patience: int) -> str:
    """Return a shell command that waits until a service serves, as `operations.wait.until` does."""
    unit, ready = service.unit, service.ready
    if service.advance:
        ready = f"{{ {ready} || {{ {service.advance}\n{ready}; }}; }}"
    return until(
        f"systemctl is-active --quiet {unit}.service && {ready}",
        patience,
        f"{host.name}: {unit} does not serve",
        explain=script("node/explain.sh", unit=[unit]) + service.explain,
        progress=_PROGRESS.format(unit=unit) + service.progress,
        restarts=service.restarts,
    )


def look(services: Sequence[Service], files: Tree) -> RoleSeen:
    """Return the observed state of these services, their files and other files."""
    seen = see(
        host,
        Look,
        paths=[*files, *(path for service in services for path in service.files)],
        units=[service.unit for service in services],
        conditions={service.unit: service.ready for service in services},
    )
    assert isinstance(seen, RoleSeen)
    return seen


def stale(service: Service, seen: RoleSeen) -> bool:
    """Whether a service started before its present files were written."""
    return _older(service, watched(service.files), seen, {})


def _contents(tree: Tree) -> Set[str]:
    return {path for path, entry in tree.items() if not isinstance(entry, Directory)}


def _older(service: Service, paths: Set[str], seen: RoleSeen, changed: Tree) -> bool:
    """Whether this run writes one of the paths, or one was written after the service's start."""
    started = seen.units[service.unit].started
    there = paths & seen.paths.keys()
    return bool(paths & changed.keys()) or any(seen.paths[path].changed > started for path in there)


@operation()
def converge(
    services: Sequence[Service] = (), files: Tree | None = None, roll: bool = False
) -> Generator[StringCommand, None, None]:
    """Write the files that differ, and (re)start in turn each service that needs it, until it serves.

    A service needs it if it is down, older than its files, or does not serve within its patience.
    With `roll` a running service is not restarted here: `restart_in_turn` does that, host by host.
    """
    yield from bring(services, files or {}, look(services, files or {}), roll)


def compare(services: Sequence[Service], files: Tree, seen: RoleSeen) -> Tree:
    """Return the files that differ from the `seen` state, and record them and the units' faults as differences."""
    described = described_files(services, files)
    changed = differing(described, seen.paths)
    differs(host, of_files(changed, seen.paths))
    for service in services:
        unit = seen.units[service.unit]
        older = _older(service, watched(service.files) - changed.keys(), seen, {})
        differs(host, of_unit(service.unit, unit.active, unit.ready, older, unit.enabled))
    return changed


def bring(services: Sequence[Service], files: Tree, seen: RoleSeen, roll: bool = False) -> Iterator[StringCommand]:
    """Yield the commands of `converge` for the `seen` state of the host."""
    changed = compare(services, files, seen)
    yield from awaited(host, _linked(described_files(services, files)))
    quiet = not changed
    if changed:
        yield put(changed)
    for service in services:
        for command in _brought_up(service, seen, changed, roll):
            quiet = False
            yield command
    if quiet:
        host.noop("as described")


def _linked(tree: Tree) -> Iterator[str]:
    """Yield the names of the binaries that a tree links."""
    for path, entry in tree.items():
        folder, _, name = path.rpartition("/")
        if folder == BIN and isinstance(entry, Link):
            yield name


def restarted(services: Sequence[Service], files: Tree, seen: RoleSeen) -> list[str]:
    """Return the running units that `bring` would restart because of their files."""
    changed = differing(described_files(services, files), seen.paths)
    return [
        service.unit
        for service in services
        if seen.units[service.unit].active and _older(service, watched(service.files), seen, changed)
    ]


def described_files(services: Sequence[Service], files: Tree) -> Tree:
    """Return `files` and the files of the services."""
    described = {**files}
    for service in services:
        described |= service.files
    return described


def _brought_up(service: Service, seen: RoleSeen, changed: Tree, roll: bool) -> Iterator[StringCommand]:
    unit = seen.units[service.unit]
    outdated = _older(service, watched(service.files), seen, changed)
    # After earlier failures the service may wait long until its next try.
    stuck = not unit.ready and _older(service, _contents(service.files), seen, changed)
    starts = not unit.active or ((outdated or stuck) and not roll)
    if not unit.enabled and not starts:
        yield StringCommand(f"systemctl enable --quiet {service.unit}.service")
    if starts:
        yield from reported(service.unit, _script(*_start(service)))
    elif outdated:
        # This makes the operation a change, on which the later operation that restarts depends.
        yield StringCommand("systemctl daemon-reload")
    elif not unit.ready and roll:
        if complaint := failed_wait(service.unit, waiting(service, service.patience), service.patience):
            yield refuse("\n".join(complaint))
    elif not unit.ready:
        # A service that has just started or changed gets its full patience; an older one may be about to serve, and
        # gets a few seconds.
        patience = service.patience if changed else max(_MOMENT, service.patience - int(unit.age))
        if failed_wait(service.unit, waiting(service, patience), patience):
            yield from reported(service.unit, _script(*_start(service)))


@operation()
def restart_in_turn(service: Service, gate: str, kept: str) -> Generator[StringCommand, None, None]:
    """Restart a service that is older than its files, only while `gate` holds; call this with `_serial=True`.

    If it does not serve, the previous files in the folder `kept` are restored, and the host fails.
    """
    seen = look([service], {})
    if not stale(service, seen):
        host.noop(f"{service.unit} is younger than its files")
        return
    complaint = f"{host.name}: {service.unit} is not restarted, since the other hosts are not healthy"
    yield from reported("the others' health", StringCommand(until(gate, 60, complaint)))
    # `set -e` has no effect left of `||`, but in a shell of its own.
    start = shlex.join(["sh", "-c", _script(*_start(service)).get_raw_value()])
    back = previous("restore", kept, [host.name, *_contents(service.files)])
    command = f"{start} || {{ [ ! -e {kept} ] || {{ {back} && {start}; }}; exit 1; }}\nrm -rf {kept}"
    yield from reported(service.unit, StringCommand(command))
