"""The settings of components' arguments and configuration; some names are reserved for Kubekeel."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from kubekeel.settings import Fault, Refused, refused

Arguments = Mapping[str, Sequence[str]]
"""The values of each argument by its name, without dashes; several if the argument is repeated."""

_GATES = "set feature_gates, which apply to all Kubernetes components"
_INSTEAD = {
    "feature-gates": _GATES,
    "featureGates": _GATES,
    "authentication-config": "set authentication",
    "oidc-*": "set authentication",
    "anonymous-auth": "remove it; anonymous requests reach only the health checks, and probes need them",
    "mode": "set kube_proxy_mode",
    "nodePortAddresses": "set node_port_addresses",
    "plugins.io.containerd.grpc.v1.cri.*": "name it as containerd 2 does: plugins.'io.containerd.cri.v1.runtime'",
}
_CONTROLLER = (
    "*kubeconfig client-ca-file requestheader-* tls-cert-file tls-private-key-file secure-port leader-elect*"
    " feature-gates"
)
# Patterns of the names that Kubekeel alone sets.
_OURS = {
    "kube-apiserver": (
        "advertise-address bind-address secure-port service-cluster-ip-range etcd-servers* etcd-prefix etcd-*file"
        " encryption-provider-config* tls-cert-file tls-private-key-file client-ca-file kubelet-certificate-authority"
        " kubelet-client-* proxy-client-* requestheader-* enable-aggregator-routing service-account-key-file"
        " service-account-signing-* authentication-config anonymous-auth oidc-* feature-gates"
    ),
    "kube-controller-manager": (
        f"{_CONTROLLER} cluster-signing-*file root-ca-file service-account-private-key-file service-cluster-ip-range"
        " cluster-cidr allocate-node-cidrs"
    ),
    "kube-scheduler": _CONTROLLER,
    "etcd": (
        "name config-file data-dir wal-dir listen-* *advertise-* initial-* discovery* force-new-cluster"
        " unsafe-no-fsync *client-cert-auth *auto-tls *cert-file *key-file *trusted-ca-file *crl-file"
        " peer-cert-allowed-*"
    ),
    "kubelet": (
        "apiVersion kind staticPodPath staticPodURL* containerRuntimeEndpoint tlsCertFile tlsPrivateKeyFile"
        " serverTLSBootstrap rotateCertificates authentication.x509* enableServer address port healthz* cgroupDriver"
        " failSwapOn clusterDNS clusterDomain registerNode registerWithTaints featureGates"
    ),
    "kube-proxy": (
        "apiVersion kind clientConnection.kubeconfig hostnameOverride clusterCIDR healthzBindAddress mode"
        " nodePortAddresses featureGates"
    ),
    "containerd": (
        "imports root state grpc.address ttrpc.address plugins.io.containerd.cri.v1.runtime.cni.*"
        " plugins.io.containerd.grpc.v1.cri.*"
    ),
}

# kubelet checks these names only while it runs.
_SIGNALS = frozenset(
    f"{place}.{what}"
    for what, places in {
        "available": ("memory", "allocatableMemory", "pid", "nodefs", "imagefs", "containerfs"),
        "inodesFree": ("nodefs", "imagefs", "containerfs"),
    }.items()
    for place in places
)
_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage", "pid"})
_KEYS = {
    **dict.fromkeys(("evictionHard", "evictionSoft", "evictionMinimumReclaim"), _SIGNALS),
    **dict.fromkeys(("systemReserved", "kubeReserved"), _RESOURCES),
}
_QUANTITY = re.compile(r"\d+(\.\d+)?(%|m|k|Ki|[MGTPE]i?)?")


def arguments(component: str) -> Callable[[object], dict[str, tuple[str, ...]]]:
    """Return a parser of a dict of a component's arguments."""

    def parse(value: object) -> dict[str, tuple[str, ...]]:
        if not isinstance(value, Mapping):
            raise refused("is not a dict", 'write it like {"v": 2}')
        faults = [fault for name, argument in value.items() for fault in _argument_faults(component, name, argument)]
        if faults:
            raise Refused(*faults)
        return {name: tuple(map(_text, _several(argument))) for name, argument in value.items()}

    return parse


def _argument_faults(component: str, name: object, value: object) -> Iterator[Fault]:
    at = f".{name}"
    if not (isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9-]*", name)):
        yield Fault("is not the name of an argument", 'write it without dashes before it, like "event-ttl"', at, value)
    elif (remedy := _instead(component, name)) is not None:
        yield Fault("cannot be set here", remedy, at, value)
    elif not _several(value) or not all(map(_is_text, _several(value))):
        yield Fault("is not the value of an argument", "give a text of one line, a number, True or False", at, value)


def _several(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _is_text(value: object) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, str) and value.isprintable())


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _instead(component: str, path: str) -> str | None:
    """Return the remedy for a name that Kubekeel alone sets; None if users may set it."""
    for pattern in _OURS[component].split():
        if fnmatchcase(path, pattern):
            return _INSTEAD.get(pattern, "remove it; only Kubekeel sets it")
    return None


def feature_gates(value: object) -> dict[str, bool]:
    if not isinstance(value, Mapping):
        raise refused("is not a dict", 'write it like {"InPlacePodVerticalScaling": True}')
    faults = [
        Fault("is not a feature gate", "give its name, and True or False", f".{name}", enabled)
        for name, enabled in value.items()
        if not (isinstance(name, str) and re.fullmatch(r"[A-Z]\w*", name) and isinstance(enabled, bool))
    ]
    if faults:
        raise Refused(*faults)
    return dict(value)


def configuration(component: str, example: Mapping[str, object]) -> Callable[[object], dict[str, object]]:
    """Return a parser of a dict with the fields of a component's configuration file."""
    more = {"kubelet": _kubelet_faults, "kube-proxy": _kube_proxy_faults}[component]

    def parse(value: object) -> dict[str, object]:
        if not isinstance(value, Mapping):
            raise refused("is not a dict", f"write it like {example}")
        if faults := [*_field_faults(component, value), *more(value)]:
            raise Refused(*faults)
        return dict(value)

    return parse


def _field_faults(component: str, value: Mapping[Any, object], within: str = "") -> Iterator[Fault]:
    for key, each in value.items():
        path = f"{within}{key}"
        if not isinstance(key, str):
            yield Fault("is not the name of a field", "write it as a text", f".{path}", each)
        elif (remedy := _instead(component, path)) is not None:
            yield Fault("cannot be set here", remedy, f".{path}", each)
        elif isinstance(each, Mapping):
            yield from _field_faults(component, each, f"{path}.")
        elif not _is_plain(each):
            yield Fault("is not a text, a number, a list or a dict", "write it as one of these", f".{path}", each)


def _is_plain(value: object) -> bool:
    match value:
        case list() | tuple():
            return all(map(_is_plain, value))
        case Mapping():
            return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    return isinstance(value, (str, int, float))


def _kubelet_faults(value: Mapping[str, object]) -> Iterator[Fault]:
    for field, known in _KEYS.items():
        entries = value.get(field, {})
        if not isinstance(entries, Mapping):
            yield Fault("is not a dict", f"its keys are {', '.join(sorted(known))}", f".{field}", entries)
            continue
        for key, each in entries.items():
            if key not in known:
                yield Fault("is unknown", f"the keys are {', '.join(sorted(known))}", f".{field}.{key}", each)
            elif not (isinstance(each, str) and _QUANTITY.fullmatch(each)):
                yield Fault("is not a quantity", 'write it like "500Mi", "5%" or "250m"', f".{field}.{key}", each)


def _kube_proxy_faults(value: Mapping[str, object]) -> Iterator[Fault]:
    address = value.get("metricsBindAddress", ":10249")
    # A node checks its kube-proxy at this port.
    if not str(address).endswith(":10249"):
        yield Fault("has another port than 10249", 'write it like "0.0.0.0:10249"', ".metricsBindAddress", address)


def containerd(value: object) -> str:
    if not isinstance(value, str):
        raise refused("is not a text", "write it as TOML, as containerd's own configuration is")
    try:
        read = tomllib.loads(value)
    except tomllib.TOMLDecodeError as error:
        raise Refused(Fault("is not TOML", "correct it", seen=str(error))) from error
    faults = [*_field_faults("containerd", read)]
    if read.get("version", 3) != 3:
        faults.append(Fault("is not 3", "write it as for containerd 2", ".version", read["version"]))
    if faults:
        raise Refused(*faults)
    return value
