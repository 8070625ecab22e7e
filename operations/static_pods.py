"""Changes the static pods of a running master, and restores the previous ones if the new ones do not serve."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from pyinfra import host
from pyinfra.api import StringCommand, operation

from kubekeel.cluster import Node
from kubekeel.differences import Difference, of_files
from kubekeel.files import Directory, Seen, Tree, differing
from kubekeel.render import BIN, PREVIOUS
from kubekeel.service import Service
from kubekeel.upgrade import API_SERVER
from operations.converge import bring, look, put, waiting
from operations.look import differs
from operations.previous import previous
from operations.wait import reported, until
from run.inventory import node_of

CRICTL = f"{BIN}/crictl"
_GATE_PATIENCE = 60


def stop(node: Node, *names: str, seconds: int = 10) -> str:
    """Return a shell command: the containers of these static pods of the node stop, and are killed after `seconds`.

    A user's pods, as of a virtual cluster, may have containers of the same names. kubelet alone writes these labels.
    """
    return f"{_containers(node, names)} | xargs -r {CRICTL} stop --timeout {seconds}"


def _containers(node: Node, names: Iterable[str], which: str = "") -> str:
    """Return a shell command that prints the IDs of the containers of these static pods of the node."""
    pod = f"--label io.kubernetes.pod.namespace=kube-system --label io.kubernetes.pod.name=$name-{node.name}"
    return f"{{ for name in {' '.join(names)}; do {CRICTL} ps --quiet {which} {pod}; done; }}"


@operation()
def end_connections(kubelet: Service) -> Generator[StringCommand, None, None]:
    """Restart the API server, which ends all its open connections, and wait until `kubelet` is ready with it."""
    ended = _containers(node_of(host), [API_SERVER], "--state exited")
    # kubelet starts a container at once if it knows no earlier one that ended; else it waits longer each time.
    forget = f"{ended} | xargs -r {CRICTL} rm || true"
    yield StringCommand(f"{stop(node_of(host), API_SERVER, seconds=30)}\n{forget}")
    yield from reported("kube-apiserver", StringCommand(waiting(kubelet, kubelet.patience)))


@operation()
def replace(kubelet: Service, files: Tree, manifests: Tree, gate: str = "true") -> Generator[StringCommand, None, None]:
    """Write the files that differ, manifests last, and wait until `kubelet` is ready with them.

    If it does not become ready, the previous files are restored, and the host fails. Before it changes a pod, the
    shell condition `gate` must hold.
    """
    described = {**files, **manifests}
    kept = {f"{PREVIOUS}{path}": entry for path, entry in manifests.items()}
    seen = look([kubelet], {**described, **kept})
    changed = differing(described, seen.paths)
    differs(host, of_files(changed, seen.paths))
    if not changed and not seen.units[kubelet.unit].ready:
        differs(host, [Difference("static pods do not serve", down=True)])
    # A run was interrupted before it knew whether the new manifests serve, if the previous ones are still kept.
    if not changed and not kept.keys() & seen.paths.keys():
        yield from bring([kubelet], described, seen)
        return
    last = {path: entry for path, entry in changed.items() if path in manifests}
    if last and gate != "true":
        complaint = f"{host.name}: is not changed, since no other API server answers; repair one of them first"
        yield from reported("another API server", StringCommand(until(gate, _GATE_PATIENCE, complaint)))
    there = [path for path in described if path in changed and _is_file(seen.paths.get(path))]
    # The kept manifest comes first and goes last: it shows that there are kept files. Pods restart for it alone.
    if pods := [path for path in manifests if path in there]:
        yield StringCommand(previous("keep", PREVIOUS, [*pods, *(path for path in there if path not in manifests)]))
    if others := {path: entry for path, entry in changed.items() if path not in manifests}:
        yield put(others)
    if last:
        yield put(last)
    wait = waiting(kubelet, kubelet.patience)
    paths = [path for path, entry in described.items() if not isinstance(entry, Directory)]
    back, done = previous("restore", PREVIOUS, [host.name, *paths]), previous("drop", PREVIOUS, paths)
    command = f"{wait} || {{ {back}; exit 1; }}\n{done}"
    yield from reported("static pods", StringCommand(command))


def _is_file(seen: Seen | None) -> bool:
    return seen is not None and seen.kind == "f"
