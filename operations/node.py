"""A host's users, packages, kernel modules and kernel settings."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping

from pyinfra import host
from pyinfra.api import StringCommand, operation

from kubekeel.differences import Difference, of_conditions, of_files
from kubekeel.files import Tree, differing
from kubekeel.preflight import NAMED_OTHERWISE, PACKAGE_MANAGERS
from kubekeel.render import SYSCTLS
from kubekeel.shell import script
from operations.converge import Look, RoleSeen, put
from operations.look import differs, see
from run.beside import awaited

_MODULES = """
for module in $(cat /etc/modules-load.d/kubekeel.conf); do
  [ -d /sys/module/$module ] || ! modinfo -n $module 2>/dev/null | grep -q / || exit 1
done
"""
SETTLED = f"""
[ -s {SYSCTLS} ] &&
  [ "$(sysctl -n $(sed -n '/^#/!s/ = .*//p' {SYSCTLS}))" = "$(sed -n '/^#/!s/.* = //p' {SYSCTLS})" ]
"""
"""Holds while the kernel's settings are those of `SYSCTLS`."""

_USERS = "getent passwd etcd"

_LACKING = {
    "users": Difference("the user etcd is missing"),
    "packages": Difference("packages are missing"),
    "modules": Difference("kernel modules are missing"),
    "sysctls": Difference("kernel settings differ"),
}

# These reloads leave configured interfaces alone.
_RELOAD_NETWORK_DAEMONS = """
! systemctl is-active --quiet systemd-networkd || networkctl reload
! systemctl is-active --quiet NetworkManager || systemctl reload NetworkManager
"""


def installing(packages: Iterable[str], host: str) -> str:
    """Return shell lines that install packages, by Debian's names, with the package manager of `host`."""
    named = {
        manager.replace("-", "_"): sorted(NAMED_OTHERWISE.get(manager, {}).get(each, each) for each in packages)
        for manager in PACKAGE_MANAGERS
    }
    return script("node/install.sh", host=[host], **named)


def _present(commands: Mapping[str, str]) -> str:
    return " && ".join(f"command -v {command}" for command in commands)


@operation()
def prepare(files: Tree, commands: Mapping[str, str]) -> Generator[StringCommand, None, None]:
    """Prepare a host for its roles; `commands` has the required commands with their packages' names."""
    seen = see(
        host,
        Look,
        paths=list(files),
        units=[],
        conditions={
            "users": _USERS,
            "packages": _present(commands),
            "modules": _MODULES,
            "sysctls": SETTLED,
        },
    )
    assert isinstance(seen, RoleSeen)
    lacking = _LACKING.keys() - seen.holds
    changed = differing(files, seen.paths)
    differs(host, [*of_files(changed, seen.paths), *of_conditions(_LACKING, seen.holds)])
    if "packages" in lacking:
        yield StringCommand(installing(set(commands.values()), host.name))
    if "users" in lacking:
        yield StringCommand(
            "useradd --system --user-group --home-dir /var/lib/etcd --no-create-home --shell /usr/sbin/nologin"
            # The comment shows a reset that Kubekeel made this user.
            " --comment Kubekeel etcd"
        )
    if changed:
        yield put(changed)
    if changed.keys() & {"/etc/modules-load.d/kubekeel.conf"} or "modules" in lacking:
        yield StringCommand(
            "for module in $(cat /etc/modules-load.d/kubekeel.conf); do modprobe -q $module || true; done"
        )
    if SYSCTLS in changed or "sysctls" in lacking:
        yield StringCommand(f"sysctl -q -p {SYSCTLS}")
    if any(path.startswith(("/etc/systemd/network/", "/etc/NetworkManager/")) for path in changed):
        yield StringCommand(_RELOAD_NETWORK_DAEMONS)
    if not lacking and not changed:
        host.noop("as described")


@operation()
def note(begun: Tree, finished: Tree) -> Generator[StringCommand, None, None]:
    """Record on a host that a deploy is `finished`; `begun` has the record from the start of this run.

    Every file has arrived by then.
    """
    yield from awaited(host)
    if begun == finished:
        host.noop("as described")
    else:
        differs(host, (Difference(f"{path} differs") for path in finished if finished[path] != begun.get(path)))
        yield put(finished)
