"""A new key for what the API servers encrypt in etcd, in steps that all masters take together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from pyinfra import host, state
from pyinfra.api import FunctionCommand, StringCommand, operation

from kubekeel.cluster import Node
from kubekeel.files import File
from kubekeel.pki import EncryptionKeys, rotate_encryption_keys
from kubekeel.render import render
from operations.converge import put, refuse
from operations.inventory import node_of, state_dir
from operations.kubectl import KUBECTL
from operations.wait import reported, until

_CONFIGURATION = "/etc/kubernetes/encryption-config.yaml"
# An API server looks at the file once a minute, and says nothing until then.
_PATIENCE = 300

# What changes or goes while it is replaced is as well: who wrote it, wrote it with the new key.
_REWRITE = f"""
faults=$(
  for kind in secrets configmaps; do
    {KUBECTL} get $kind --all-namespaces -o json | {KUBECTL} replace -f - >/dev/null
  done 2>&1 | grep -vE '\\((Conflict|NotFound)\\)|^Warning:|no objects passed to replace'
)
[ -z "$faults" ] || {{ echo "{{host}}: not everything could be rewritten; run again. kubectl says:"; echo "$faults"
  exit 1; }}
"""


@operation()
def complete(nodes: Collection[Node], why: str) -> Iterator[StringCommand]:
    """Refuse to go on without the hosts of all of these nodes."""
    there = {node_of(each) for each in state.inventory.iter_activated_hosts()}
    if absent := sorted(node.name for node in nodes if node not in there):
        yield refuse(f"{host.name}: {why} ({', '.join(absent)} not in this run); start them, and leave nobody out")
    else:
        host.noop("all are here")


@operation()
def spread(step: Callable[[EncryptionKeys], EncryptionKeys]) -> Iterator[FunctionCommand | StringCommand]:
    """Take a step of the rotation, and bring the keys after it to this master's API server."""
    yield FunctionCommand(rotate_encryption_keys, (state_dir(), step), {})
    # Taken again, it only says what came of it.
    keys = rotate_encryption_keys(state_dir(), step)
    configuration = File(render("control_plane/encryption-config.yaml", encryption_keys=keys))
    yield put({_CONFIGURATION: configuration})
    server = f"https://{node_of(host).address}:6443"
    metrics = f"{KUBECTL} --server={server} get --raw /metrics | grep encryption_config_controller_"
    wait = until(
        f"""{metrics} | grep -q 'last_config_info.*hash="sha256:{configuration.digest}"'""",
        _PATIENCE,
        f"{host.name}: kube-apiserver has not taken {_CONFIGURATION} in",
        explain=metrics,
    )
    yield from reported("kube-apiserver to take the keys in", StringCommand(wait))


@operation()
def rewrite() -> Iterator[StringCommand]:
    """Write all that is encrypted in etcd anew, with the key that comes first."""
    yield StringCommand(_REWRITE.replace("{host}", host.name))
