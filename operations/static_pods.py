"""Changes the static pods of a running master, and restores the previous ones if the new ones do not serve."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api import StringCommand, operation

from kubekeel.cluster import Node
from kubekeel.differences import Difference, of_files
from kubekeel.files import Directory, Tree, differing
from kubekeel.render import MANIFESTS, PREVIOUS, PROJECT
from kubekeel.service import Service
from operations.converge import bring, look, put, waiting
from operations.look import differs
from operations.wait import reported

_CRICTL = "/opt/kubekeel/bin/crictl"
_SCRIPT = PROJECT / "files/control_plane/previous.sh"


def stop(node: Node, *names: str, seconds: int = 10) -> str:
    """Return a shell command: the containers of these static pods of the node stop, and are killed after `seconds`.

    A user's pods, as of a virtual cluster, may have containers of the same names. kubelet alone writes these labels.
    """
    pod = f"--label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.pod.name=$name-{node.name}"
    listed = f"for name in {' '.join(names)}; do {_CRICTL} ps --quiet {pod}; done"
    return f"{{ {listed}; }} | xargs -r {_CRICTL} stop --timeout {seconds}"


@operation()
def replace(kubelet: Service, files: Tree, manifests: Tree) -> Generator[StringCommand, None, None]:
    """Write the files that differ, manifests last, and wait until `kubelet` is ready with them.

    If it does not become ready, the previous manifests are restored, and the host fails.
    """
    described = {**files, **manifests}
    seen = look([kubelet], {**described, PREVIOUS: Directory(0o700)})
    changed = differing(described, seen.paths)
    differs(host, of_files(changed, seen.paths))
    if not changed and not seen.units[kubelet.unit].ready:
        differs(host, [Difference("static pods do not serve", unwell=True)])
    # `PREVIOUS` exists if a run was interrupted before it knew whether the new manifests serve.
    if not changed and PREVIOUS not in seen.paths:
        yield from bring([kubelet], described, seen)
        return
    if there := [path for path in manifests if path in changed and path in seen.paths]:
        yield StringCommand(_previous("keep", there))
    if others := {path: entry for path, entry in changed.items() if path not in manifests}:
        yield put(others)
    if last := {path: entry for path, entry in changed.items() if path in manifests}:
        yield put(last)
    wait = waiting(kubelet, kubelet.patience)
    command = f"{wait} || {{ {_previous('restore', [host.name, MANIFESTS])}; exit 1; }}\n{_previous('drop')}"
    yield from reported("static pods", StringCommand(command))


def _previous(word: str, arguments: Sequence[str] = ()) -> str:
    return shlex.join(["sh", "-c", _SCRIPT.read_text(), word, PREVIOUS, *arguments])
