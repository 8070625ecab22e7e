"""The checks of controls: each returns "" if the evidence passes, else the fault with the value seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from kubekeel.cis.evidence import Evidence, FileSeen

_STRONG_SUITES = {
    *("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"),
    *(
        f"TLS_ECDHE_{key}_WITH_{cipher}"
        for key in ("ECDSA", "RSA")
        for cipher in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305")
    ),
}


# Conditions for a value. None means not set.


@dataclass(frozen=True)
class Wanted:
    text: str
    holds: Callable[[Any], bool]

    def fault(self, subject: str, value: Any) -> str:
        if self.holds(value):
            return ""
        return f"{subject} {self.text} ({'not set' if value is None else value})"


def _listed(value: Any) -> set[str]:
    return set(value) if isinstance(value, list) else set(str(value or "").split(","))


SET = Wanted("must be set", lambda value: value not in (None, ""))
ABSENT = Wanted("must not be set", lambda value: value is None)
NOT_ZERO = Wanted("must not be 0", lambda value: str(value) not in ("0", "0s"))
LOOPBACK = Wanted("must be on the loopback address", lambda value: str(value or "127.").startswith("127."))
STRONG = Wanted("must have strong suites only", lambda value: bool(value) and _listed(value) <= _STRONG_SUITES)


def equals(wanted: object) -> Wanted:
    return Wanted(f"must be {wanted}", lambda value: value == wanted)


def equals_or_unset(wanted: object) -> Wanted:
    return Wanted(f"must be {wanted} or unset", lambda value: value in (wanted, None))


def differs_from(unwanted: object) -> Wanted:
    return Wanted(f"must not be {unwanted}", lambda value: value != unwanted)


def at_least(least: int) -> Wanted:
    return Wanted(f"must be {least} or more", lambda value: str(value).isdigit() and int(value) >= least)


def at_least_or_unset(least: int) -> Wanted:
    return Wanted(f"must be {least} or more, or unset", lambda value: value is None or at_least(least).holds(value))


def has(item: str) -> Wanted:
    return Wanted(f"must have {item}", lambda value: item in _listed(value))


def lacks(item: str) -> Wanted:
    return Wanted(f"must not have {item}", lambda value: item not in _listed(value))


# Checks: "" if evidence passes, else the fault with the value seen.

Check = Callable[[Evidence], str]


def every(*checks: Check) -> Check:
    return lambda evidence: "; ".join(filter(None, (check(evidence) for check in checks)))


def running(component: str, check: Check) -> Check:
    return lambda evidence: check(evidence) if component in evidence.arguments else f"{component} does not run"


def arguments(component: str, wanted: Wanted, *names: str) -> Check:
    def check(name: str) -> Check:
        return lambda evidence: wanted.fault(f"{component} --{name}", evidence.argument(component, name))

    return running(component, every(*map(check, names)))


def setting(component: str, wanted: Wanted, path: str, flag: str | None = None) -> Check:
    """Check a value in a component's configuration file, or the flag of the same meaning, which overrides it."""

    def check(evidence: Evidence) -> str:
        if flag and (flagged := evidence.argument(component, flag)) is not None:
            return wanted.fault(f"{component} --{flag}", yaml.safe_load(flagged))
        value = evidence.configuration(component)
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return wanted.fault(f"{component} {path}", value)

    return running(component, check)


def served(check: Check) -> Check:
    """Check what the kubelet needs in a cluster; passes for that of an unregistered master, which has no server."""
    return lambda evidence: "" if evidence.configuration("kubelet").get("enableServer") is False else check(evidence)


Paths = Callable[[Evidence], Iterable[str]]


def modes(paths: Paths, at_most: int) -> Check:
    def fault(path: str, seen: FileSeen) -> str:
        return f"{path} must have mode {at_most:o} or less ({seen.mode:o})" if seen.mode & ~at_most else ""

    return _files(paths, fault)


def owners(paths: Paths, owner: str = "root:root") -> Check:
    return _files(paths, lambda path, seen: "" if seen.owner == owner else f"{path} must be {owner}'s ({seen.owner})")


def _files(paths: Paths, fault: Callable[[str, FileSeen], str]) -> Check:
    def check(evidence: Evidence) -> str:
        found = list(paths(evidence))
        if not found:
            return "no evidence: no such file was seen"
        faults = (
            fault(path, evidence.files[path]) if path in evidence.files else f"{path} is missing" for path in found
        )
        return "; ".join(filter(None, faults))

    return check


def if_any(paths: Paths, check: Check) -> Check:
    """Check files that a host may lack."""
    return lambda evidence: check(evidence) if any(paths(evidence)) else ""


def at_path(path: str) -> Paths:
    return lambda _evidence: [path]


def at_argument(component: str, name: str) -> Paths:
    return lambda evidence: filter(None, [evidence.argument(component, name)])


def within(*folders: str, end: str = "") -> Paths:
    def paths(evidence: Evidence) -> list[str]:
        return [path for path in evidence.files if path.startswith(folders) and path.endswith(end)]

    return paths


def manifest(component: str) -> Paths:
    return lambda evidence: [f"{evidence.configuration('kubelet').get('staticPodPath')}/{component}.yaml"]


def kubelet_unit(evidence: Evidence) -> Iterable[str]:
    return [evidence.kubelet_unit]


def client_authority(evidence: Evidence) -> Iterable[str]:
    authentication = evidence.configuration("kubelet").get("authentication", {})
    return filter(None, [authentication.get("x509", {}).get("clientCAFile")])


def proxy_kubeconfig(evidence: Evidence) -> Iterable[str]:
    connection = evidence.configuration("kube-proxy").get("clientConnection", {})
    return filter(None, [connection.get("kubeconfig")])


def anonymous(evidence: Evidence) -> str:
    if evidence.argument("kube-apiserver", "anonymous-auth") == "false":
        return ""
    path = evidence.argument("kube-apiserver", "authentication-config") or ""
    anonymous = (evidence.configurations.get(path) or {}).get("anonymous") or {"enabled": True}
    if not anonymous.get("enabled"):
        return ""
    paths = [condition["path"] for condition in anonymous.get("conditions", ())]
    return f"anonymous requests are answered at {', '.join(paths) or 'every path'}"


def providers(evidence: Evidence) -> str:
    weak = set(evidence.providers) - {"aescbc", "kms", "secretbox"}
    if evidence.providers and not weak:
        return ""
    return f"the first provider must be aescbc, kms or secretbox ({', '.join(sorted(weak)) or 'none'})"


def own_authority(evidence: Evidence) -> str:
    path = evidence.argument("etcd", "trusted-ca-file")
    if not path:
        return "etcd --trusted-ca-file must be set (not set)"
    clients = {*at_argument("kube-apiserver", "client-ca-file")(evidence), *client_authority(evidence)}
    shared = [other for other in clients if evidence.digests.get(other) == evidence.digests.get(path, path)]
    return f"{path} must not be the cluster's authority ({', '.join(shared)})" if shared else ""


# Checks of Kubernetes objects.


def each(kind: str, fault: Callable[[tuple[str, ...]], str]) -> Check:
    """Check all objects of a kind; their first field is their name."""

    def check(evidence: Evidence) -> str:
        if kind not in evidence.rows:
            return f"{kind} could not be listed"
        faulty = [f"{row[0].removeprefix('/')} ({fault(row)})" for row in evidence.rows[kind] if fault(row)]
        return ", ".join(faulty)

    return check


def administrators(binding: tuple[str, ...]) -> str:
    name, role, subjects = binding
    return f"for {subjects.strip()}" if role == "cluster-admin" and name != "/cluster-admin" else ""


def wildcard(role: tuple[str, ...]) -> str:
    # Kubernetes' own roles are exempt: Kubernetes would recreate them.
    _, bootstrapping, rules = role
    return "*" if not bootstrapping and '"*"' in rules else ""


def mounted_by_default(account: tuple[str, ...]) -> str:
    name, automount = account
    return "mounts its token" if name.endswith("/default") and automount != "false" else ""


def used_by_default(binding: tuple[str, ...]) -> str:
    defaults = [subject for subject in binding[2].split() if subject.startswith("ServiceAccount:")]
    return ", ".join(subject for subject in defaults if subject.endswith(":default"))


def mounted_unasked(evidence: Evidence) -> str:
    automount = {account[0]: account[1] for account in evidence.rows.get("serviceaccounts", ())}

    def fault(pod: tuple[str, ...]) -> str:
        name, _, _, _, requested, account, _ = pod
        full = f"{name.partition('/')[0]}/{account}"
        # Static pods have no account.
        unasked = account and not requested and automount.get(full) != "false"
        return f"mounts the token of {account} without asking" if unasked else ""

    return each("pods", fault)(evidence)


def pods(position: int, says: str) -> Check:
    return each("pods", lambda pod: says if pod[position] == "true" else "")


def privileged(pod: tuple[str, ...]) -> str:
    return "privileged" if any(container.startswith("true/") for container in pod[6].split()) else ""


def escalating(pod: tuple[str, ...]) -> str:
    # Not set means allowed.
    return "may escalate" if not all(container.endswith("/false") for container in pod[6].split()) else ""


def anyone(action: str) -> Check:
    return each("anyone", lambda row: "anyone may" if row[0] == action and row[1] != "no" else "")
