"""The evidence that the audit collects from hosts that pass the benchmark."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

from kubekeel.cis import Evidence
from kubekeel.cluster import load
from tests.settings import SETTINGS

CLUSTER = load(
    {"masters": ["m"], "etcd": ["e"], "minions": ["w"]},
    {"m": {"address": "192.0.2.1"}, "e": {"address": "192.0.2.2"}, "w": {"address": "192.0.2.3"}},
    {**SETTINGS, "artifact_source": "source", "dashboard": None},
)
SUITES = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
KUBELET = """
staticPodPath: /etc/kubernetes/manifests
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}
authorization: {mode: Webhook}
readOnlyPort: 0
streamingConnectionIdleTimeout: 4h
eventRecordQPS: 50
tlsCertFile: /etc/kubernetes/pki/kubelet-server.crt
tlsPrivateKeyFile: /etc/kubernetes/pki/kubelet-server.key
tlsCipherSuites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]
podPidsLimit: 4096
seccompDefault: true
"""
PROXY = """
metricsBindAddress: 127.0.0.1:10249
clientConnection: {kubeconfig: /etc/kubernetes/kube-proxy.conf}
"""
AUTHENTICATION = """
anonymous: {enabled: true, conditions: [{path: /livez}]}
"""
ARGUMENTS = {
    "/usr/bin/etcd": """
        --data-dir=/var/lib/etcd --trusted-ca-file=/etc/etcd/pki/ca.crt
        --cert-file=/s.crt --key-file=/s.key --client-cert-auth=true
        --peer-cert-file=/p.crt --peer-key-file=/p.key --peer-client-cert-auth
    """,
    "kube-apiserver": f"""
        --authentication-config=/etc/kubernetes/authentication.yaml --authorization-mode=Node,RBAC
        --enable-admission-plugins=NodeRestriction,EventRateLimit,DenyServiceExternalIPs,AlwaysPullImages
        --kubelet-client-certificate=/k.crt --kubelet-client-key=/k.key --kubelet-certificate-authority=/ca.crt
        --profiling=false --audit-policy-file=/a.yaml --audit-log-path=/a.log
        --audit-log-maxage=30 --audit-log-maxbackup 10 --audit-log-maxsize=100
        --service-account-key-file=/sa.pub --service-account-extend-token-expiration=false
        --etcd-certfile=/e.crt --etcd-keyfile=/e.key --etcd-cafile=/e-ca.crt
        --tls-cert-file=/t.crt --tls-private-key-file=/t.key --tls-cipher-suites={SUITES}
        --client-ca-file=/etc/kubernetes/pki/ca.crt --encryption-provider-config=/encryption.yaml
    """,
    "kube-controller-manager": """
        --kubeconfig=/etc/kubernetes/controller-manager.conf --profiling=false --bind-address=127.0.0.1
        --terminated-pod-gc-threshold=1000 --use-service-account-credentials=true
        --service-account-private-key-file=/sa.key --root-ca-file=/ca.crt
    """,
    "kube-scheduler": "--kubeconfig=/etc/kubernetes/scheduler.conf --profiling=false --bind-address=127.0.0.1",
    "kubelet": "--config=/var/lib/kubelet/config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf",
    "kube-proxy": "--config=/var/lib/kube-proxy/config.yaml",
    "etcd": "gateway start",
    "sleep": "kubelet",
}
FILES = {
    "600 root:root": [
        *(f"/etc/kubernetes/manifests/kube-{pod}.yaml" for pod in ("apiserver", "controller-manager", "scheduler")),
        *(f"/etc/kubernetes/{name}.conf" for name in ("admin", "controller-manager", "scheduler", "kubelet")),
        *("/etc/kubernetes/kube-proxy.conf", "/etc/kubernetes/pki/sa.key", "/etc/etcd/etcd.conf"),
        *("/var/lib/kubelet/config.yaml", "/etc/systemd/system/kubelet.service", "/etc/cni/net.d/10.conflist"),
    ],
    "644 root:root": ["/etc/kubernetes/pki/ca.crt"],
    "755 root:root": ["/etc/kubernetes/pki"],
    "700 etcd:etcd": ["/var/lib/etcd"],
}
OBJECTS = """
clusterrolebindings /cluster-admin|cluster-admin|Group::system:masters
rolebindings kube-system/dns|dns|ServiceAccount:kube-system:dns
clusterroles /cluster-admin|rbac-defaults|[{"verbs":["*"]}]
roles kube-system/dns||[{"verbs":["get"]}]
serviceaccounts default/default|false
serviceaccounts kube-system/dns|
pods kube-system/dns-1||||true|dns|false/false /false
pods kube-system/kube-apiserver-m|||||| /false
anyone list secrets|no
anyone create pods|no
"""


def evidence_lines() -> list[str]:
    arguments = {command: text.split() for command, text in ARGUMENTS.items()}
    objects = [line.partition(" ") for line in OBJECTS.strip().splitlines()]
    return [
        *("\t".join(["process", command, *words, ""]) for command, words in arguments.items()),
        *(f"file\t{seen}\t{path}".replace(" ", "\t") for seen, paths in FILES.items() for path in paths),
        *(
            f"configuration\t{path}\t{b64encode(text.encode()).decode()}"
            for path, text in (
                ("/var/lib/kubelet/config.yaml", KUBELET),
                ("/var/lib/kube-proxy/config.yaml", PROXY),
                ("/etc/kubernetes/authentication.yaml", AUTHENTICATION),
            )
        ),
        *("digest\taa\t/etc/etcd/pki/ca.crt", "digest\tbb\t/etc/kubernetes/pki/ca.crt"),
        *("provider\tsecretbox", "unit\t/etc/systemd/system/kubelet.service"),
        *(f"listed\t{kind}" for kind in dict.fromkeys(kind for kind, _, _ in objects)),
        *(f"{kind}\t{fields.replace('|', chr(9))}" for kind, _, fields in objects),
    ]


GOOD = Evidence.read(evidence_lines())


def with_configuration(component: str, **settings: object) -> Evidence:
    path = GOOD.argument(component, "config")
    changed = {**GOOD.configurations[path], **settings}
    return replace(GOOD, configurations={**GOOD.configurations, path: changed})
