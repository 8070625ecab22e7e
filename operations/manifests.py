"""The user's own objects: applies them, waits for them, and deletes those that the folder no longer has."""

from __future__ import annotations

import shlex
from collections.abc import Generator

from pyinfra import host
from pyinfra.api import StringCommand, operation

from kubekeel.differences import Difference, of_conditions, of_files
from kubekeel.files import File, Tree, differing
from kubekeel.manifests import SITE
from kubekeel.shell import script
from operations.addons import EXPLAIN, PROGRESS
from operations.converge import Look, RoleSeen, put, refuse
from operations.kubectl import KUBECTL
from operations.look import differs, see
from operations.wait import failed_wait, reported, until

_PATIENCE = 300
# A user who deploys from another computer, and forgot the folder, does not want to lose its objects.
_MISSING = (
    "manifests/ is missing beside the inventory, and the cluster has objects of it; put the folder there, or make an"
    " empty one to have these deleted, then deploy again"
)

_LACKING = {
    "alone": Difference(f"{SITE} has files that manifests/ does not have"),
    "applied": Difference("objects of manifests/ differ"),
    "ready": Difference("objects of manifests/ are not ready", down=True),
}
_NOTE = f"{KUBECTL} -n kube-system get configmap kubekeel-site --ignore-not-found -o name"
_NONE = f'note=$({_NOTE}) && [ -z "$note" ]'


@operation()
def apply(tree: Tree | None) -> Generator[StringCommand, None, None]:
    """Make the user's objects those of `tree`, in the order of their names, and wait until they are ready.

    None means that the folder is missing: this fails if the cluster has objects of it.
    """
    described = tree or {}
    files = sorted(path for path, entry in described.items() if isinstance(entry, File))
    there = f"find -H {SITE} -type f ! -name '.*' 2>/dev/null | LC_ALL=C sort"
    seen = see(
        host,
        Look,
        paths=[SITE, *described],
        units=[],
        conditions={
            "alone": f'[ "$({there})" = {shlex.quote(chr(10).join(files))} ]',
            # Most users have no files, and so need one query only.
            "applied": _script("current") if files else _NONE,
            "ready": _script("ready") if files else "true",
        },
    )
    assert isinstance(seen, RoleSeen)
    if tree is None:
        if "applied" in seen.holds:
            host.noop("there are no objects")
        else:
            yield StringCommand(f"{_NONE} || {{ echo {shlex.quote(f'{host.name}: {_MISSING}')}; exit 1; }}")
        return
    changed = differing(tree, seen.paths)
    differs(host, [*of_files(changed, seen.paths), *of_conditions(_LACKING, seen.holds)])
    waiting = bool(changed) or not {"alone", "applied"} <= seen.holds
    if waiting:
        yield StringCommand(f"rm -rf {SITE}")
        yield put(tree)
        yield from reported("the objects of manifests/", StringCommand(_script("apply")))
    wait = until(_script("ready"), _PATIENCE, f"{host.name}: objects of manifests/ are not ready", EXPLAIN, PROGRESS)
    if waiting:
        yield from reported("the objects of manifests/", StringCommand(wait))
    elif "ready" not in seen.holds and (complaint := failed_wait("the objects of manifests/", wait, _PATIENCE)):
        yield refuse("\n".join(complaint))
    elif "ready" in seen.holds:
        host.noop("as described")


def _script(action: str) -> str:
    return f"{shlex.join(['sh', '-c', script('control_plane/site.sh'), 'site.sh', action, SITE])} {KUBECTL} 2>&1"
