"""Wait until changes of endpoints reach kube-proxy after masters restarted: a drain before that breaks services."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import StringCommand, operation

from kubekeel.render import KUBE_PROXY_METRICS_PORT
from operations.drain import begin_probe, end_probe
from operations.kubectl import BARE
from operations.wait import reported, until

_PATIENCE = 120
# The label of the service that this makes; drains have the name of their node there.
_OWNER = ""
# kube-proxy counts all changes of endpoints that it receives, of whichever service.
_HEARD = (
    f"{BARE} --server=http://127.0.0.1:{KUBE_PROXY_METRICS_PORT}"
    " get --raw /metrics |"
    " awk '/^kubeproxy_sync_proxy_rules_endpoint_changes_total/ { print $2 }'"
)
_BEFORE = "/run/kubekeel-endpoint-changes"


@operation()
def count() -> Generator[StringCommand, None, None]:
    """Record how many changes of endpoints the node's kube-proxy has received."""
    yield StringCommand(f"{_HEARD} >{_BEFORE} && test -s {_BEFORE}")


@operation()
def change() -> Generator[StringCommand, None, None]:
    """Make a probe service with endpoints and keep it, since reconnecting kube-proxies list it; on a master."""
    yield from reported("services to get endpoints", StringCommand(begin_probe(_OWNER)))


@operation()
def follow() -> Generator[StringCommand, None, None]:
    """Wait until the node's kube-proxy has received that change."""
    heard = f"{_HEARD} | awk -v before=\"$(cat {_BEFORE})\" '{{ found = $1 > before }} END {{ exit !found }}'"
    complaint = f"{host.name}: kube-proxy does not follow the API; see its journal, then deploy again"
    yield from reported("kube-proxy to follow the API", StringCommand(until(heard, _PATIENCE, complaint)))
    yield StringCommand("rm", "-f", _BEFORE)


@operation()
def forget() -> Generator[StringCommand, None, None]:
    """Delete the probe service; on a master."""
    yield StringCommand(end_probe(_OWNER))
