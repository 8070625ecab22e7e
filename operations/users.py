"""The authorities whose client certificates API servers accept."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import StringCommand, operation

from kubekeel.cluster import Cluster
from kubekeel.pki import Pki
from kubekeel.render import client_authorities
from operations.converge import converge
from operations.kubectl import KUBECTL
from operations.wait import reported, until

# An API server reads the file at least once a minute.
_PATIENCE = 150
_LIST = "configmap extension-apiserver-authentication"
_PKI = "/etc/kubernetes/pki"
# API servers add the authorities that they trust to this list, and never remove any. So this deletes the list; the API
# servers then write the authorities that they trust now.
_SETTLED = f"""
same() {{
  [ "$({KUBECTL} -n kube-system get {_LIST} -o "jsonpath={{.data.$1}}" | grep . | sort)" = "$(sort {_PKI}/$2.crt)" ]
}}
all_same() {{ same client-ca-file client-ca && same requestheader-client-ca-file front-proxy-ca; }}
all_same && {{ sleep 3; all_same; }} || {{ {KUBECTL} -n kube-system delete {_LIST} >/dev/null; sleep 3; false; }}
"""


@operation()
def trust(cluster: Cluster, pki: Pki) -> Generator[StringCommand, None, None]:
    """Write the authorities that a master's API server accepts; the API server reloads the file without a restart."""
    yield from converge._inner(files=client_authorities(cluster, pki))


@operation()
def settle() -> Generator[StringCommand, None, None]:
    """Wait until every API server accepts certificates of exactly these authorities."""
    wait = until(_SETTLED, _PATIENCE, f"{host.name}: API servers still trust clients of other authorities")
    yield from reported("API servers to trust the current authorities", StringCommand(wait))
