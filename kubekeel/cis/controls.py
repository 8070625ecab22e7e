"""The benchmark's controls with their checks; the numbers are the benchmark's, the words are Kubekeel's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kubekeel.cis.checks import (
    ABSENT,
    LOOPBACK,
    NOT_ZERO,
    SET,
    STRONG,
    Check,
    Paths,
    Wanted,
    administrators,
    anonymous,
    anyone,
    arguments,
    at_argument,
    at_least,
    at_least_or_unset,
    at_path,
    client_authority,
    differs_from,
    each,
    equals,
    equals_or_unset,
    escalating,
    every,
    has,
    if_any,
    kubelet_unit,
    lacks,
    manifest,
    modes,
    mounted_by_default,
    mounted_unasked,
    own_authority,
    owners,
    pods,
    privileged,
    providers,
    proxy_kubeconfig,
    running,
    served,
    setting,
    used_by_default,
    wildcard,
    within,
)

Scope = Literal["masters", "etcd", "kubelets", "proxies", "cluster"]


@dataclass(frozen=True)
class Control:
    """A control for the hosts of `scope`; `note` says why it is open by choice, or how to check it by hand."""

    id: str
    text: str
    scope: Scope
    check: Check | None = None
    scored: bool = False
    note: str = ""


def _scored(number: str, scope: Scope, text: str, check: Check) -> Control:
    return Control(number, text, scope, check, scored=True)


def _tested(number: str, scope: Scope, text: str, check: Check, note: str = "") -> Control:
    return Control(number, text, scope, check, note=note)


def _manual(number: str, text: str, note: str) -> Control:
    return Control(number, text, "cluster", note=note)


_API, _MANAGER, _SCHEDULER = "kube-apiserver", "kube-controller-manager", "kube-scheduler"


def _api(number: str, text: str, wanted: Wanted, *names: str) -> Control:
    return _scored(number, "masters", f"API server: {text}", arguments(_API, wanted, *names))


def _api_tested(number: str, text: str, wanted: Wanted, name: str, note: str = "") -> Control:
    return _tested(number, "masters", f"API server: {text}", arguments(_API, wanted, name), note)


def _etcd(number: str, text: str, wanted: Wanted, *names: str) -> Control:
    return _scored(number, "etcd", f"etcd: {text}", arguments("etcd", wanted, *names))


def _serving(number: str, text: str, wanted: Wanted, path: str, flag: str) -> Control:
    return _scored(number, "kubelets", f"kubelet: {text}", served(setting("kubelet", wanted, path, flag)))


def _kubelet_tested(number: str, text: str, wanted: Wanted, path: str, flag: str) -> Control:
    return _tested(number, "kubelets", f"kubelet: {text}", setting("kubelet", wanted, path, flag))


def _kept(
    numbers: tuple[str, str], scope: Scope, what: str, paths: Paths, where: Callable[[Check], Check] = every
) -> tuple[Control, Control]:
    """Return the pair of controls that root owns a file, and that only root may read it."""
    return (
        _scored(numbers[0], scope, f"{what}: only its owner may read it", where(modes(paths, 0o600))),
        _scored(numbers[1], scope, f"{what}: root owns it", where(owners(paths))),
    )


_PKI = "/etc/kubernetes/pki"
_CNI = within("/etc/cni/net.d/", "/var/lib/cni/networks/")


def _of_network(check: Check) -> Check:
    """Check the pod network's files: a node has none before its network is there, or if it runs static pods alone."""
    return running("kubelet", if_any(_CNI, check))


_PLUGINS, _OFF = "enable-admission-plugins", "disable-admission-plugins"
_BASELINE = "Pod Security admission at baseline refuses it outside kube-system"
_ROLES = "only administrators and Kubernetes' own roles may; check the roles that you add"
_RESTRICTED = "baseline permits it; label a namespace pod-security.kubernetes.io/enforce=restricted to refuse it"
_YOURS = "depends on what you run"

CONTROLS = (
    *_kept(("1.1.1", "1.1.2"), "masters", "API server's manifest", manifest(_API)),
    *_kept(("1.1.3", "1.1.4"), "masters", "Controller manager's manifest", manifest(_MANAGER)),
    *_kept(("1.1.5", "1.1.6"), "masters", "Scheduler's manifest", manifest(_SCHEDULER)),
    *_kept(("1.1.7", "1.1.8"), "etcd", "etcd's settings", at_path("/etc/etcd/etcd.conf")),
    _tested(
        "1.1.9", "kubelets", "Pod network's files: only their owner may read them", _of_network(modes(_CNI, 0o600))
    ),
    _tested("1.1.10", "kubelets", "Pod network's files: root owns them", _of_network(owners(_CNI))),
    _scored(
        "1.1.11", "etcd", "etcd's data: only their owner may read them", modes(at_argument("etcd", "data-dir"), 0o700)
    ),
    _scored(
        "1.1.12", "etcd", "etcd's data: the user etcd owns them", owners(at_argument("etcd", "data-dir"), "etcd:etcd")
    ),
    *_kept(("1.1.13", "1.1.14"), "masters", "Administrator's kubeconfig", within("/etc/kubernetes/", end="admin.conf")),
    *_kept(("1.1.15", "1.1.16"), "masters", "Scheduler's kubeconfig", at_argument(_SCHEDULER, "kubeconfig")),
    *_kept(("1.1.17", "1.1.18"), "masters", "Controller manager's kubeconfig", at_argument(_MANAGER, "kubeconfig")),
    _scored("1.1.19", "kubelets", "Keys, certificates and their folder: root owns them", owners(within(_PKI))),
    _tested("1.1.20", "kubelets", "Certificates: only root may write them", modes(within(_PKI, end=".crt"), 0o644)),
    _tested("1.1.21", "kubelets", "Private keys: only root may read them", modes(within(_PKI, end=".key"), 0o600)),
    _tested(
        "1.2.1",
        "masters",
        "API server: anonymous requests are refused",
        running(_API, anonymous),
        "the kubelet's probes use these three paths without a certificate; all other paths refuse anonymous requests",
    ),
    _api("1.2.2", "no file of static tokens", ABSENT, "token-auth-file"),
    _api_tested("1.2.3", "services may not claim external addresses", has("DenyServiceExternalIPs"), _PLUGINS),
    _api(
        "1.2.4", "authenticates to kubelets with a certificate", SET, "kubelet-client-certificate", "kubelet-client-key"
    ),
    _api("1.2.5", "verifies kubelets' certificates", SET, "kubelet-certificate-authority"),
    _api("1.2.6", "does not authorize everything", lacks("AlwaysAllow"), "authorization-mode"),
    _api("1.2.7", "limits nodes to their own objects", has("Node"), "authorization-mode"),
    _api("1.2.8", "authorizes by roles", has("RBAC"), "authorization-mode"),
    _api_tested("1.2.9", "limits the rate of events", has("EventRateLimit"), _PLUGINS),
    _api("1.2.10", "does not admit everything", lacks("AlwaysAdmit"), _PLUGINS),
    _api_tested(
        "1.2.11",
        "pulls the image of every pod again",
        has("AlwaysPullImages"),
        _PLUGINS,
        "the cluster's own images are not in a registry, and a cluster must work without a registry",
    ),
    _api("1.2.12", "gives pods service accounts", lacks("ServiceAccount"), _OFF),
    _api("1.2.13", "refuses new objects in namespaces that are being deleted", lacks("NamespaceLifecycle"), _OFF),
    _api("1.2.14", "lets nodes change only themselves and their pods", has("NodeRestriction"), _PLUGINS),
    _api("1.2.15", "profiling is off", equals("false"), "profiling"),
    _api("1.2.16", "keeps an audit log", SET, "audit-log-path"),
    _api("1.2.17", "keeps the audit log a month", at_least(30), "audit-log-maxage"),
    _api("1.2.18", "keeps ten audit logs", at_least(10), "audit-log-maxbackup"),
    _api("1.2.19", "keeps 100 MB in an audit log", at_least(100), "audit-log-maxsize"),
    _manual("1.2.20", "API server: how long a request may last", "Kubernetes' default, a minute, stands"),
    _api("1.2.21", "refuses tokens of deleted service accounts", equals_or_unset("true"), "service-account-lookup"),
    _api("1.2.22", "has a separate key for service accounts' tokens", SET, "service-account-key-file"),
    _api("1.2.23", "authenticates to etcd with a certificate", SET, "etcd-certfile", "etcd-keyfile"),
    _api("1.2.24", "serves with TLS", SET, "tls-cert-file", "tls-private-key-file"),
    _api("1.2.25", "verifies clients' certificates", SET, "client-ca-file"),
    _api("1.2.26", "verifies etcd's certificate", SET, "etcd-cafile"),
    _api_tested("1.2.27", "encrypts data in etcd", SET, "encryption-provider-config"),
    _tested("1.2.28", "masters", "API server: encrypts with a strong cipher", running(_API, providers)),
    _api_tested("1.2.29", "offers strong TLS suites only", STRONG, "tls-cipher-suites"),
    _api("1.2.30", "does not extend the life of tokens", equals("false"), "service-account-extend-token-expiration"),
    _tested(
        "1.3.1",
        "masters",
        "Controller manager: removes ended pods",
        arguments(_MANAGER, SET, "terminated-pod-gc-threshold"),
    ),
    *(
        _scored(f"1.3.{number}", "masters", f"Controller manager: {text}", arguments(_MANAGER, wanted, name))
        for number, text, wanted, name in (
            (2, "profiling is off", equals("false"), "profiling"),
            (3, "gives each controller its own account", equals("true"), "use-service-account-credentials"),
            (4, "signs service accounts' tokens", SET, "service-account-private-key-file"),
            (5, "gives pods the cluster's authority", SET, "root-ca-file"),
            (
                6,
                "lets kubelets renew their certificates",
                lacks("RotateKubeletServerCertificate=false"),
                "feature-gates",
            ),
            (7, "listens on the loopback address only", equals_or_unset("127.0.0.1"), "bind-address"),
        )
    ),
    _scored("1.4.1", "masters", "Scheduler: profiling is off", arguments(_SCHEDULER, equals("false"), "profiling")),
    _scored(
        "1.4.2",
        "masters",
        "Scheduler: listens on the loopback address only",
        arguments(_SCHEDULER, equals_or_unset("127.0.0.1"), "bind-address"),
    ),
    _etcd("2.1", "serves clients with TLS", SET, "cert-file", "key-file"),
    _etcd("2.2", "requires certificates from clients", equals("true"), "client-cert-auth"),
    _etcd("2.3", "does not use self-signed certificates", equals_or_unset("false"), "auto-tls"),
    _etcd("2.4", "speaks to peers with TLS", SET, "peer-cert-file", "peer-key-file"),
    _etcd("2.5", "requires certificates from peers", equals("true"), "peer-client-cert-auth"),
    _etcd("2.6", "does not use self-signed certificates for peers", equals_or_unset("false"), "peer-auto-tls"),
    _tested("2.7", "etcd", "etcd: has its own authority", running("etcd", own_authority)),
    _manual(
        "3.1.1",
        "People do not use client certificates",
        "administrators do, for a year, in a group that can be unbound; for many people use an identity provider",
    ),
    _manual(
        "3.1.2", "People do not use service accounts' tokens", "Kubekeel makes none for them; check whom you gave one"
    ),
    _manual("3.1.3", "People do not use bootstrap tokens", "the API server accepts none"),
    _tested("3.2.1", "masters", "API server: has an audit policy", arguments(_API, SET, "audit-policy-file")),
    _manual(
        "3.2.2",
        "The audit policy covers what matters",
        "it logs who touched a secret or config map, changes of roles in full, and of all else that it was done",
    ),
    *_kept(("4.1.1", "4.1.2"), "kubelets", "kubelet's unit", kubelet_unit),
    _tested("4.1.3", "proxies", "kube-proxy's kubeconfig: only its owner may read it", modes(proxy_kubeconfig, 0o600)),
    _tested("4.1.4", "proxies", "kube-proxy's kubeconfig: root owns it", owners(proxy_kubeconfig)),
    *_kept(("4.1.5", "4.1.6"), "kubelets", "kubelet's kubeconfig", at_argument("kubelet", "kubeconfig"), served),
    _tested(
        "4.1.7", "kubelets", "kubelet's authority: only its owner may write it", served(modes(client_authority, 0o644))
    ),
    _tested("4.1.8", "kubelets", "kubelet's authority: root owns it", served(owners(client_authority))),
    *_kept(("4.1.9", "4.1.10"), "kubelets", "kubelet's configuration", at_argument("kubelet", "config")),
    _serving(
        "4.2.1", "anonymous requests are refused", equals(False), "authentication.anonymous.enabled", "anonymous-auth"
    ),
    _serving(
        "4.2.2",
        "asks the API server for authorization",
        differs_from("AlwaysAllow"),
        "authorization.mode",
        "authorization-mode",
    ),
    _serving("4.2.3", "verifies clients' certificates", SET, "authentication.x509.clientCAFile", "client-ca-file"),
    _kubelet_tested("4.2.4", "has no read-only port", equals_or_unset(0), "readOnlyPort", "read-only-port"),
    _kubelet_tested(
        "4.2.5",
        "ends idle streams",
        NOT_ZERO,
        "streamingConnectionIdleTimeout",
        "streaming-connection-idle-timeout",
    ),
    _scored(
        "4.2.6",
        "kubelets",
        "kubelet: keeps its iptables rules in place",
        setting("kubelet", equals_or_unset(True), "makeIPTablesUtilChains", "make-iptables-util-chains"),
    ),
    _tested(
        "4.2.7",
        "kubelets",
        "kubelet: uses the name of its host",
        arguments("kubelet", ABSENT, "hostname-override"),
        "the host has another name in the inventory",
    ),
    _kubelet_tested(
        "4.2.8", "limits the rate of events that it records", at_least_or_unset(1), "eventRecordQPS", "event-qps"
    ),
    _tested(
        "4.2.9",
        "kubelets",
        "kubelet: serves with a certificate of the cluster's authority",
        served(
            every(
                setting("kubelet", SET, "tlsCertFile", "tls-cert-file"),
                setting("kubelet", SET, "tlsPrivateKeyFile", "tls-private-key-file"),
            )
        ),
    ),
    _scored(
        "4.2.10",
        "kubelets",
        "kubelet: its client certificate may be renewed",
        setting("kubelet", equals_or_unset(True), "rotateCertificates", "rotate-certificates"),
    ),
    _tested(
        "4.2.11",
        "kubelets",
        "kubelet: its serving certificate may be renewed",
        every(
            arguments("kubelet", lacks("RotateKubeletServerCertificate=false"), "feature-gates"),
            setting("kubelet", equals_or_unset(True), "featureGates.RotateKubeletServerCertificate"),
        ),
    ),
    _tested(
        "4.2.12",
        "kubelets",
        "kubelet: offers strong TLS suites only",
        served(setting("kubelet", STRONG, "tlsCipherSuites", "tls-cipher-suites")),
    ),
    _kubelet_tested("4.2.13", "limits the processes of a pod", at_least(1), "podPidsLimit", "pod-max-pids"),
    _kubelet_tested(
        "4.2.14", "filters the system calls of every container", equals(True), "seccompDefault", "seccomp-default"
    ),
    _scored(
        "4.3.1",
        "proxies",
        "kube-proxy: serves its metrics on the loopback address only",
        setting("kube-proxy", LOOPBACK, "metricsBindAddress", "metrics-bind-address"),
    ),
    _tested(
        "5.1.1",
        "cluster",
        "Nobody but system:masters is bound to cluster-admin",
        each("clusterrolebindings", administrators),
        "administrators are a group, whose binding can be deleted; system:masters cannot be revoked, and is empty",
    ),
    _tested("5.1.2", "cluster", "Not everyone may read secrets", anyone("list secrets")),
    _tested(
        "5.1.3",
        "cluster",
        "No role but Kubernetes' own has wildcards",
        every(each("roles", wildcard), each("clusterroles", wildcard)),
    ),
    _tested("5.1.4", "cluster", "Not everyone may create pods", anyone("create pods")),
    _tested(
        "5.1.5",
        "cluster",
        "Default service accounts have no rights and mount no token",
        every(
            each("rolebindings", used_by_default),
            each("clusterrolebindings", used_by_default),
            each("serviceaccounts", mounted_by_default),
        ),
        "they have no rights, but Kubernetes mounts their tokens, as manifests from elsewhere expect",
    ),
    _tested("5.1.6", "cluster", "Pods mount only the tokens that they ask for", mounted_unasked),
    _manual(
        "5.1.7", "Nobody is in system:masters", "no certificate of it is stored; the first run uses one and deletes it"
    ),
    _manual("5.1.8", "Few may bind, impersonate or escalate", _ROLES),
    _manual("5.1.9", "Few may create persistent volumes", _ROLES),
    _manual("5.1.10", "Few may reach nodes through the API", f"the API servers and metrics; else {_ROLES}"),
    _manual("5.1.11", "Few may approve signing requests", _ROLES),
    _manual("5.1.12", "Few may change webhooks", _ROLES),
    _manual("5.1.13", "Few may create service accounts' tokens", _ROLES),
    _manual("5.2.1", "Something decides which pods are admitted", "Pod Security admission does, at baseline"),
    _tested("5.2.2", "cluster", "No pod has privileged containers", each("pods", privileged)),
    _tested("5.2.3", "cluster", "No pod sees its host's processes", pods(1, "hostPID")),
    _tested("5.2.4", "cluster", "No pod shares its host's IPC", pods(2, "hostIPC")),
    _tested(
        "5.2.5",
        "cluster",
        "No pod shares its host's network",
        pods(3, "hostNetwork"),
        "the control plane's pods do, since they must serve before there is a pod network",
    ),
    _tested("5.2.6", "cluster", "No container may escalate its privileges", each("pods", escalating)),
    _manual("5.2.7", "No container runs as root", _RESTRICTED),
    _manual("5.2.8", "No container may send raw packets", _RESTRICTED),
    _manual("5.2.9", "No container has capabilities", _RESTRICTED),
    _manual("5.2.10", "No Windows container runs as a host process", _BASELINE),
    _manual("5.2.11", "No pod mounts its host's folders", _BASELINE),
    _manual("5.2.12", "No pod uses its host's ports", _BASELINE),
    _manual(
        "5.3.1", "The pod network enforces network policies", "flannel does not; set network_policy if you need them"
    ),
    _manual("5.3.2", "Every namespace has network policies", "see 5.3.1"),
    _manual("5.4.1", "Secrets are mounted, not put into the environment", _YOURS),
    _manual("5.4.2", "Secrets are kept outside the cluster", _YOURS),
    _manual(
        "5.5.1", "Only images of known origin run", "the cluster's own are pinned by digest; no webhook checks others"
    ),
    _manual("5.6.1", "Namespaces separate different tenants", _YOURS),
    _manual("5.6.2", "Pods have the runtime's seccomp profile", "the kubelet gives it to all that do not name one"),
    _manual("5.6.3", "Pods and containers have a security context", _YOURS),
    _manual("5.6.4", "The default namespace is not used", _YOURS),
)
