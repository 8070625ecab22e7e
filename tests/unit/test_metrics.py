"""The metrics of components, and who may read them from other hosts if a setting allows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubekeel import parts, render, users
from kubekeel.cis.described import opened
from kubekeel.cluster import Cluster
from kubekeel.files import File, Tree
from kubekeel.pki import Pki
from kubekeel.preflight import packages
from kubekeel.preflight.network import reached
from kubekeel.render import Target
from tests.clusters import GROUPS, HOSTS, cluster, faults

OPEN = cluster(metrics=True)
COMPANIONS = {"kube-controller-manager": 10257, "kube-scheduler": 10259}
RELAYS = {"etcd": 2381, "kube-proxy": 10249}


def target(name: str, of: Cluster = OPEN) -> Target:
    return parts.placeholder(of.node(name), of)


def tree(name: str, of: Cluster = OPEN) -> Tree:
    return parts.described(target(name, of))


def text(files: Tree, path: str) -> str:
    entry = files[path]
    assert isinstance(entry, File)
    return entry.content.decode()


def pod(name: str, of: Cluster = OPEN) -> dict[str, object]:
    (container,) = yaml.safe_load(text(tree("m", of), f"/etc/kubernetes/manifests/{name}.yaml"))["spec"]["containers"]
    assert isinstance(container, dict)
    return container


@pytest.mark.parametrize("name", COMPANIONS)
def test_controller_manager_and_scheduler_serve_metrics_on_the_node_s_address(name: str) -> None:
    container = pod(name)
    folder = f"/etc/kubernetes/{name}"
    assert {
        "--bind-address=192.0.2.1",
        f"--tls-cert-file={folder}/metrics.crt",
        f"--tls-private-key-file={folder}/metrics.key",
        f"--authentication-kubeconfig={folder}/kubeconfig",
        f"--authorization-kubeconfig={folder}/kubeconfig",
    } <= {*container["command"]}  # type: ignore[misc]
    probes = json.dumps([container["startupProbe"], container["livenessProbe"]])
    assert probes.count('"host": "192.0.2.1"') == 2
    assert text(tree("m"), f"{folder}/metrics.key") == ""
    assert [each for each in pod(name, cluster())["command"] if "metrics" in each or "tls-cert" in each] == []  # type: ignore[attr-defined]
    assert "--bind-address=127.0.0.1" in pod(name, cluster())["command"]  # type: ignore[operator]


@pytest.mark.parametrize("name", RELAYS)
def test_etcd_and_kube_proxy_stay_on_loopback_behind_a_relay_with_tls(name: str) -> None:
    unit = text(tree("a"), f"/etc/systemd/system/kubekeel-{name}-metrics.service")
    (listens,) = (line for line in unit.splitlines() if "OPENSSL-LISTEN" in line)
    assert listens.strip().startswith(f"OPENSSL-LISTEN:{RELAYS[name]},pf=ip4,bind=192.0.2.2,")
    assert ",verify=1,openssl-commonname=kubekeel-metrics,openssl-min-proto-version=TLS1.2," in listens
    assert f"TCP4:127.0.0.1:{RELAYS[name]}" in unit
    assert "DynamicUser=true" in unit
    assert "--listen-metrics-urls=http://127.0.0.1:2381 " in text(tree("a"), "/etc/systemd/system/etcd.service")
    assert "metricsBindAddress: 127.0.0.1:10249" in text(tree("a"), "/var/lib/kube-proxy/config.yaml")


def test_without_the_setting_there_is_no_listener_role_or_certificate(tmp_path: Path) -> None:
    plain = cluster()
    assert not [path for name in HOSTS for path in tree(name, plain) if path.endswith("metrics.service")]
    assert "metrics.yaml" not in render.addons(target("m", cluster(dashboard=None)))
    pki = Pki.open(tmp_path, plain)
    assert "metrics" not in {row.name for row in pki.report()}
    assert opened(plain) == []


def test_the_role_of_a_reader_allows_only_metrics() -> None:
    role, binding = yaml.safe_load_all(
        render.addons(target("m", cluster(metrics=True, dashboard=None)))["metrics.yaml"]
    )
    assert role["rules"] == [
        {"nonResourceURLs": ["/metrics", "/metrics/*"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
    ]
    assert binding["roleRef"]["name"] == role["metadata"]["name"] == "kubekeel:metrics"
    assert [(each["kind"], each["name"]) for each in binding["subjects"]] == [("Group", "kubekeel:metrics")]


def test_the_reader_has_a_client_certificate_and_each_node_a_server_s(tmp_path: Path) -> None:
    pki = Pki.open(tmp_path, OPEN)
    reader = x509.load_pem_x509_certificate(pki.control("metrics").cert)
    assert reader.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "kubekeel-metrics"
    assert reader.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "kubekeel:metrics"
    assert [*reader.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value] == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    own = x509.load_pem_x509_certificate(pki.leaf("a", "metrics").cert)
    assert [*own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value] == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert reader.issuer == own.issuer == x509.load_pem_x509_certificate(pki.authority("ca")).subject
    pki.save()
    assert (tmp_path / "control/metrics.key").stat().st_mode & 0o777 == 0o600


def test_a_user_cannot_take_the_name_or_group_of_the_reader() -> None:
    arguments = {"user": "kubekeel-metrics", "groups": "kubekeel:metrics"}
    assert [line.partition(" (")[0] for line in users.faults(arguments, cluster())] == [
        "--data user: is a name that the cluster uses itself",
        "--data groups: is reserved for the cluster",
    ]


def test_hosts_have_only_the_ports_and_packages_that_the_setting_needs() -> None:
    only_etcd = cluster(GROUPS | {"minions": ["a"]}, metrics=True)
    for name, of, ports in (
        ("m", OPEN, [2381, 10249, 10257, 10259]),
        ("a", OPEN, [2381, 10249]),
        ("b", only_etcd, [2381]),
    ):
        more = {*reached(of.node(name), of)} - {*reached(cluster().node(name), cluster())}
        assert sorted(port for _, port, _ in more) == ports
        assert packages(of.node(name), of)["socat"] == "socat"
    assert "socat" not in packages(cluster().node("m"), cluster())
    alone = cluster(GROUPS | {"etcd": ["a"]}, metrics=True, register_masters=False)
    assert "socat" not in packages(alone.node("m"), alone)


def test_a_run_names_what_the_setting_opens() -> None:
    assert [line.partition(";")[0] for line in opened(OPEN)] == [
        "m: kube-controller-manager --bind-address must be 127.0.0.1 or unset (192.0.2.1)",
        "m: kube-scheduler --bind-address must be 127.0.0.1 or unset (192.0.2.1)",
    ]


def test_another_address_of_metrics_conflicts_with_the_setting() -> None:
    assert [
        *faults(
            hosts=HOSTS | {"a": {"address": "192.0.2.2", "kube_proxy": {"metricsBindAddress": "0.0.0.0:10249"}}},
            metrics=True,
            kube_scheduler={"bind-address": "0.0.0.0"},
        )
    ] == [
        "kube_scheduler.bind-address: conflicts with metrics, which sets it (0.0.0.0); remove it, or metrics",
        "a: kube_proxy.metricsBindAddress: conflicts with metrics, which sets it (0.0.0.0:10249); remove it, or"
        " metrics",
    ]
    assert [*faults(metrics="yes")] == ["metrics: is neither true nor false (yes); take True or False"]
