"""Requests of Kubernetes' components to an API server before and after its upgrade, from its audit log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kubekeel.needs import STATIC_PODS
from kubekeel.upgrade import API_SERVER

COMPONENTS = (*STATIC_PODS, "kubelet", "kube-proxy")
# The order of the fields is the API's own: audit.k8s.io/v1, Event.
REQUESTS = r"""sed -nE \
  's#.*"userAgent":"(kube[a-z-]*)/(v[0-9.]+) .*"requestReceivedTimestamp":"([^"]*)".*#\1 \2 \3#p' \
  /var/log/kubernetes/audit/*.log"""
"""A script that prints the requests of a master's audit logs for `read`."""


@dataclass(frozen=True)
class Request:
    """A request of a component of this version; `received` is a time in UTC, which sorts as text."""

    component: str
    version: str
    received: str


def read(printed: str) -> list[Request]:
    """Return the requests that the script printed; those of other clients, as of kubectl, are left out."""
    found = (Request(*line.split()) for line in printed.splitlines())
    return [request for request in found if request.component in COMPONENTS]


def unseen(requests: Iterable[Request], *versions: str) -> list[str]:
    """Return the components that sent no request in one of these versions, with the version."""
    seen = {(request.component, request.version) for request in requests}
    return [f"{name} {version}" for name in COMPONENTS for version in versions if (name, version) not in seen]


def ahead(requests: Sequence[Request], old: str, new: str) -> set[str]:
    """Return the components of the `new` version that sent requests to this API server while it was `old`.

    While it runs, an API server also sends requests to itself. Raises ValueError if it did not do so in both versions.
    """
    own = [request for request in requests if request.component == API_SERVER]
    last = max(request.received for request in own if request.version == old)
    first = min(request.received for request in own if request.version == new)
    return {request.component for request in requests if request.version == new and request.received < max(last, first)}
