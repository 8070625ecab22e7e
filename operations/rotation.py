"""Rotation of keys: the waits between its steps, which are deploys."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Generator, Sequence

from pyinfra import host, logger, state
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubekeel.cluster import Node
from kubekeel.durable import unwritten
from kubekeel.files import File
from kubekeel.pki import SERVICE_ACCOUNT, Pki, Step
from kubekeel.render import encryption_config
from kubekeel.service import Service
from kubekeel.settings.values import API_PORT
from kubekeel.shell import script
from operations import static_pods
from operations.converge import refuse, waiting
from operations.kubectl import KUBECTL
from operations.turns import stopped_before
from operations.wait import reported, until
from run.inventory import node_of, state_dir

_CONFIGURATION = "/etc/kubernetes/encryption-config.yaml"
# An API server reads this file once a minute, and a kubelet updates pods' volumes about as often.
_PATIENCE = 600
_PODS_KNOW = script("node/pods-know.sh")

# Seconds until every client-go program has read its files again (client-go's caRefreshDuration and
# CertCallbackRefreshDuration, both five minutes; cachingTokenSource and the API server's own files, a minute). Nothing
# shows whether it did.
_LOOKS_AGAIN = {
    ("ca", Step.TRUST): 310,
    ("ca", Step.SIGN): 310,
    ("front-proxy-ca", Step.TRUST): 70,
    ("front-proxy-ca", Step.SIGN): 70,
    (SERVICE_ACCOUNT, Step.SIGN): 70,
}

# An object that changes or disappears meanwhile needs no rewrite: its writer used the new key.
_REWRITE = f"""
faults=$(
  for kind in secrets configmaps; do
    {KUBECTL} get $kind --all-namespaces -o json | {KUBECTL} replace -f - >/dev/null
  done 2>&1 | grep -vE '\\((Conflict|NotFound)\\)|^Warning:|no objects passed to replace'
)
[ -z "$faults" ] || {{ echo "{{host}}: not everything could be rewritten; run again. kubectl says:"; echo "$faults"
  exit 1; }}
"""
_KEPT_TOKENS = f"""
set -e
without='[{{"op": "remove", "path": "/data/token"}}]'
{KUBECTL} get secrets --all-namespaces --field-selector type=kubernetes.io/service-account-token \
  -o 'jsonpath={{range .items[*]}}{{.metadata.namespace}} {{.metadata.name}}{{"\n"}}{{end}}' |
  while read -r namespace name; do
    {KUBECTL} -n "$namespace" patch secret "$name" --type=json -p "$without" >/dev/null
  done
"""


@operation()
def complete(nodes: Collection[Node], why: str) -> Generator[StringCommand, None, None]:
    """Fail unless the hosts of all these nodes are in the run."""
    there = {node_of(each) for each in state.inventory.iter_activated_hosts()}
    if absent := sorted(node.name for node in nodes if node not in there):
        yield refuse(
            f"{host.name}: {why} ({', '.join(absent)} not in this run); start them, and leave --limit and --exclude out"
        )
    else:
        host.noop("all hosts are in the run")


@operation()
def stop_etcd() -> Generator[StringCommand, None, None]:
    """Stop this member; the next deploy starts all members together."""
    yield StringCommand("systemctl stop etcd.service")


@operation()
def spread(roots: Collection[str], step: Step, pki: Pki) -> Generator[StringCommand, None, None]:
    """Wait until all programs on this host, those in pods too, use the keys after a step."""
    roles = node_of(host).roles
    if "masters" in roles and "encryption" in roots:
        yield from reported("kube-apiserver to load the keys", StringCommand(_taken_in(pki)))
    if step is Step.TRUST and "ca" in roots:
        yield from reported("pods to get the new authority", StringCommand(_pods_know("authority")))
    if step is Step.SIGN and SERVICE_ACCOUNT in roots and roles & {"masters", "minions"}:
        yield from reported("pods to get new tokens", StringCommand(_pods_know("tokens", pki.token_key_id)))
    if seconds := max(_LOOKS_AGAIN.get((root, step), 0) for root in roots):
        yield from reported(f"clients, which look again every {seconds - 10} s", StringCommand(f"sleep {seconds}"))


@operation()
def renew_tokens_in_memory(services: Sequence[Service]) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Restart the kubelet, and on a master the controller manager, and wait until these services serve.

    Kubelets (for pods) and controller managers (for their controllers) keep their tokens in memory until these are old.
    Call this with `_serial=True`, or with `_parallel`; the first failure ends the run.
    """
    if failure := stopped_before():
        yield failure
        return
    node = node_of(host)
    stop = [static_pods.stop(node, "kube-controller-manager")] if "masters" in node.roles else []
    yield StringCommand("\n".join(["set -e", "systemctl restart kubelet.service", *stop]))
    for service in services:
        yield from reported(service.unit, StringCommand(waiting(service, service.patience)))


def _taken_in(pki: Pki) -> str:
    configuration = File(encryption_config(pki))
    server = f"https://{node_of(host).address}:{API_PORT}"
    metrics = f"{KUBECTL} --server={server} get --raw /metrics | grep encryption_config_controller_"
    return until(
        f"""{metrics} | grep -q 'last_config_info.*hash="sha256:{configuration.digest}"'""",
        _PATIENCE,
        f"{host.name}: kube-apiserver did not load {_CONFIGURATION}",
        explain=metrics,
    )


def _pods_know(*what: str) -> str:
    condition = shlex.join(("sh", "-c", _PODS_KNOW, "pods-know", *what))
    return until(condition, _PATIENCE, f"{host.name}: pods do not have the new {what[0]} yet", explain=condition)


@operation()
def rewrite() -> Generator[StringCommand, None, None]:
    """Rewrite all encrypted objects in etcd with the first key."""
    yield StringCommand(_REWRITE.replace("{host}", host.name))


@operation()
def renew_kept_tokens() -> Generator[StringCommand, None, None]:
    """Make the controller manager sign the tokens of service accounts that are kept in secrets again."""
    yield StringCommand(_KEPT_TOKENS)


@operation()
def retire(pki: Pki) -> Generator[FunctionCommand, None, None]:
    """Delete the keys from this computer that no host trusts any more."""
    yield FunctionCommand(_retire, (pki,), {})


def _retire(state: State, host: Host, pki: Pki) -> bool:  # noqa: ARG001 - pyinfra's signature
    try:
        pki.retire()
    except OSError as error:
        logger.error(unwritten(error, state_dir()))
        return False
    return True
