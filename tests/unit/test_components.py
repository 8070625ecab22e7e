"""Components get the user's arguments and fields, which override Kubekeel's."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from typing import Any

import pytest
import yaml

from kubekeel import components
from kubekeel.cis.described import evidence, opened
from kubekeel.cluster import Node
from kubekeel.files import File, Tree, watched
from kubekeel.parts import described, placeholder
from kubekeel.render import KUBELET_FOLDER, MANIFESTS
from tasks.settings import checks
from tests.clusters import HOSTS, cluster, faults, of_host

OWN = f"{KUBELET_FOLDER}/50-kubekeel.conf"


def tree(name: str = "m", hosts: dict[str, dict[str, object]] = HOSTS, **settings: object) -> Tree:
    desired = cluster(hosts=hosts, **settings)
    return described(placeholder(desired.node(name), desired))


def text(files: Tree, path: str) -> str:
    entry = files[path]
    assert isinstance(entry, File)
    return entry.content.decode()


def content(files: Tree, path: str) -> Any:
    return yaml.safe_load(text(files, path))


def arguments(files: Tree, component: str) -> list[str]:
    return list(evidence(files).arguments[component])


@pytest.mark.parametrize(
    ("setting", "component"),
    [
        ("kube_apiserver", "kube-apiserver"),
        ("kube_controller_manager", "kube-controller-manager"),
        ("kube_scheduler", "kube-scheduler"),
        ("etcd", "etcd"),
    ],
)
def test_an_argument_is_added_or_replaces_the_one_of_its_name(setting: str, component: str) -> None:
    before = arguments(tree(), component)
    ours = next(each.partition("=")[0].removeprefix("--") for each in before if each.startswith("--tls-min-version="))
    changes = {ours: "VersionTLS13", "v": 4, "more": ["a b", "c"], "on": True}
    after = arguments(tree(**{setting: changes}), component)
    assert [each for each in before if not each.startswith("--tls-min-version=")] == after[: len(before) - 1]
    added = " ".join(after[len(before) - 1 :])
    assert added == "--tls-min-version=VersionTLS13 --v=4 --more=a b --more=c --on=true"


def test_a_host_s_argument_overrides_the_cluster_s_on_that_host_only() -> None:
    hosts = HOSTS | {"a": HOSTS["a"] | {"etcd": {"heartbeat-interval": 500}}}
    changes: dict[str, object] = {"heartbeat-interval": 300, "log-level": "warn"}
    assert arguments(tree("a", hosts, etcd=changes), "etcd")[-2:] == ["--heartbeat-interval=500", "--log-level=warn"]
    assert arguments(tree("b", hosts, etcd=changes), "etcd")[-2:] == ["--heartbeat-interval=300", "--log-level=warn"]


def test_an_argument_of_etcd_removes_its_variable_since_etcd_refuses_both() -> None:
    assert "ETCD_HEARTBEAT_INTERVAL" in text(tree(), "/etc/etcd/etcd.conf")
    changed = text(tree(etcd={"heartbeat-interval": 300}), "/etc/etcd/etcd.conf")
    assert "ETCD_HEARTBEAT_INTERVAL" not in changed
    assert "ETCD_ELECTION_TIMEOUT" in changed


def test_systemd_passes_an_argument_on_unchanged() -> None:
    unit = text(tree(etcd={"experimental": 'a "b" %n $HOME \\c'}), "/etc/systemd/system/etcd.service")
    assert unit.splitlines()[unit.splitlines().index("ExecStartPost=+/bin/rm -f /etc/etcd/first-start.conf") - 1] == (
        r'  "--experimental=a \"b\" %%n $$HOME \\c"'
    )


def test_every_component_of_kubernetes_gets_the_feature_gates() -> None:
    files = tree("m", feature_gates={"B": False, "A": True})
    for component in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        assert arguments(files, component)[-1] == "--feature-gates=A=true,B=false"
    assert content(files, OWN)["featureGates"] == {"A": True, "B": False}
    assert content(files, "/var/lib/kube-proxy/config.yaml")["featureGates"] == {"A": True, "B": False}
    assert arguments(files, "etcd") == arguments(tree(), "etcd")


def test_a_host_s_kubelet_fields_override_the_cluster_s_in_a_separate_file() -> None:
    hosts = HOSTS | {"a": HOSTS["a"] | {"kubelet": {"maxPods": 30, "evictionHard": {"nodefs.available": "5%"}}}}
    changes: dict[str, object] = {"maxPods": 50, "evictionHard": {"memory.available": "200Mi"}}
    files = tree("a", hosts, kubelet=changes)
    assert content(files, OWN) == {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "maxPods": 30,
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "5%"},
    }
    assert files["/var/lib/kubelet/config.yaml"] == tree("a")["/var/lib/kubelet/config.yaml"]
    assert content(tree("b", hosts, kubelet=changes), OWN)["maxPods"] == 50
    assert f"--config-dir={KUBELET_FOLDER}" in arguments(files, "kubelet")


@pytest.mark.parametrize(("length", "pods"), [(24, 110), (25, 110), (26, 61), (27, 29), (28, 13)])
def test_a_node_takes_no_more_pods_than_its_subnet_has_addresses(length: int, pods: int) -> None:
    configuration = content(tree("a", node_subnet_length=length), "/var/lib/kubelet/config.yaml")
    assert configuration["maxPods"] == pods


def test_fields_of_kube_proxy_are_merged_into_its_configuration() -> None:
    path = "/var/lib/kube-proxy/config.yaml"
    files = tree("a", kube_proxy={"nftables": {"syncPeriod": "1m"}}, node_port_addresses=["192.0.2.0/24"])
    added = {"nftables": {"syncPeriod": "1m"}, "nodePortAddresses": ["192.0.2.0/24"]}
    assert content(files, path) == {**content(tree("a"), path), **added}


def test_containerd_imports_the_cluster_s_the_host_s_and_other_files() -> None:
    runtime = '[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.gpu]\nruntime_type = "io.containerd.runc.v2"'
    files = tree("a", HOSTS | {"a": HOSTS["a"] | {"containerd": runtime}}, containerd="oom_score = -500")
    imports = tomllib.loads(text(files, "/etc/containerd/config.toml"))["imports"]
    assert imports == ["/etc/containerd/conf.d/*.toml"]
    pieces = [tomllib.loads(text(files, f"/etc/containerd/conf.d/{name}.toml")) for name in ("50-cluster", "60-host")]
    assert pieces == [{"version": 3, "oom_score": -500}, {"version": 3, **tomllib.loads(runtime)}]
    assert tomllib.loads(text(tree("b"), "/etc/containerd/conf.d/60-host.toml")) == {"version": 3}


def test_unsetting_a_field_restarts_its_component() -> None:
    assert {OWN, "/etc/containerd/conf.d/50-cluster.toml", "/etc/containerd/conf.d/60-host.toml"} <= watched(tree("a"))


def test_reserved_memory_grows_with_the_host_and_is_more_with_etcd() -> None:
    def reserved(name: str, mebibytes: int) -> tuple[str, str]:
        desired = cluster({"etcd": ["m"], "masters": ["m"], "minions": ["a", "b"]})
        target = placeholder(desired.node(name), desired)
        target = replace(target, machine=replace(target.machine, memory=mebibytes))
        config = content(described(target), "/var/lib/kubelet/config.yaml")
        return config["kubeReserved"]["memory"], config["systemReserved"]["memory"]

    assert reserved("m", 1700) == ("192Mi", "300Mi")
    assert reserved("a", 700) == ("128Mi", "100Mi")
    assert reserved("a", 3900) == reserved("a", 4000) == ("320Mi", "100Mi")
    assert reserved("a", 256_000) == ("1024Mi", "100Mi")


def test_pods_of_unreachable_nodes_keep_kubernetes_default_time_unless_set() -> None:
    assert not [each for each in arguments(tree(), "kube-apiserver") if "toleration-seconds" in each]
    changed = arguments(tree(kube_apiserver={"default-unreachable-toleration-seconds": 30}), "kube-apiserver")
    assert changed[-1] == "--default-unreachable-toleration-seconds=30"


@pytest.mark.parametrize(
    ("setting", "value", "fault"),
    [
        ("kube_apiserver", [], "kube_apiserver: is not a dict ([])"),
        (
            "kube_apiserver",
            {"--v": 4},
            "kube_apiserver.--v: is not the name of an argument (4); write it without dashes",
        ),
        ("kube_apiserver", {"etcd-servers": "x"}, "kube_apiserver.etcd-servers: cannot be set here (x); remove it"),
        ("kube_apiserver", {"secure-port": 1}, "kube_apiserver.secure-port: cannot be set here (1); remove it"),
        ("kube_apiserver", {"client-ca-file": "x"}, "kube_apiserver.client-ca-file: cannot be set here (x); remove it"),
        (
            "kube_apiserver",
            {"feature-gates": "A=true"},
            "kube_apiserver.feature-gates: cannot be set here (A=true); set ",
        ),
        (
            "kube_apiserver",
            {"oidc-client-id": "x"},
            "kube_apiserver.oidc-client-id: cannot be set here (x); set authent",
        ),
        (
            "kube_apiserver",
            {"anonymous-auth": True},
            "kube_apiserver.anonymous-auth: cannot be set here (True); remove",
        ),
        ("kube_apiserver", {"v": None}, "kube_apiserver.v: is not the value of an argument (None); give a text"),
        ("kube_apiserver", {"v": []}, "kube_apiserver.v: is not the value of an argument ([]); give a text"),
        ("kube_apiserver", {"v": "1\n2"}, "kube_apiserver.v: is not the value of an argument ('1\\n2'); give a text"),
        ("kube_controller_manager", {"kubeconfig": "x"}, "kube_controller_manager.kubeconfig: cannot be set here (x)"),
        ("kube_scheduler", {"leader-elect": False}, "kube_scheduler.leader-elect: cannot be set here (False); remove"),
        ("etcd", {"data-dir": "/x"}, "etcd.data-dir: cannot be set here (/x); remove it"),
        ("etcd", {"peer-trusted-ca-file": "/x"}, "etcd.peer-trusted-ca-file: cannot be set here (/x); remove it"),
        ("kubelet", {"staticPodPath": "/x"}, "kubelet.staticPodPath: cannot be set here (/x); remove it"),
        (
            "kubelet",
            {"authentication": {"x509": {}}},
            "kubelet.authentication.x509: cannot be set here ({}); remove it",
        ),
        ("kubelet", {"featureGates": {}}, "kubelet.featureGates: cannot be set here ({}); set feature_gates"),
        ("kubelet", {"evictionHard": {"memory": "1"}}, "kubelet.evictionHard.memory: is unknown (1); the keys are "),
        ("kubelet", {"kubeReserved": {"cpu": 1}}, "kubelet.kubeReserved.cpu: is not a quantity (1); write it like"),
        ("kubelet", {"systemReserved": "1Gi"}, "kubelet.systemReserved: is not a dict (1Gi); its keys are cpu"),
        ("kubelet", {"maxPods": {1}}, "kubelet.maxPods: is not a text, a number, a list or a dict ({1})"),
        ("kubelet", {"maxPods": 254}, "kubelet.maxPods: is more than the 253 addresses that a node has for pods (254)"),
        ("kube_proxy", {"mode": "ipvs"}, "kube_proxy.mode: cannot be set here (ipvs); set kube_proxy_mode"),
        (
            "kube_proxy",
            {"nodePortAddresses": []},
            "kube_proxy.nodePortAddresses: cannot be set here ([]); set node_port",
        ),
        ("kube_proxy", {"metricsBindAddress": "0.0.0.0"}, "kube_proxy.metricsBindAddress: has another port than 10249"),
        ("feature_gates", {"A": "true"}, "feature_gates.A: is not a feature gate (true); give its name, and True or"),
        ("node_port_addresses", "primary", "node_port_addresses: is not a list (primary); write it like"),
        (
            "node_port_addresses",
            ["10.0.0.1/8"],
            'node_port_addresses: has an entry that is neither a network nor "primary"',
        ),
        ("containerd", {"a": 1}, "containerd: is not a text ({'a': 1}); write it as TOML"),
        ("containerd", "root = '/x'", "containerd.root: cannot be set here (/x); remove it"),
        (
            "containerd",
            "version = 2",
            "containerd.version: is not 3 (2); write it as for containerd 2",
        ),
    ],
)
def test_fields_that_kubekeel_sets_or_no_component_takes_are_refused(setting: str, value: object, fault: str) -> None:
    (found,) = faults(**{setting: value})
    assert found.startswith(fault)


def test_malformed_toml_is_refused_with_its_position() -> None:
    (found,) = faults(containerd="[plugins")
    assert re.fullmatch(r"containerd: is not TOML \(.*at end of document\)\); correct it", found)


def test_faults_in_the_settings_of_a_host_name_it() -> None:
    found = of_host(kubelet={"port": 1, "maxPods": 300}, etcd={"name": "x"})
    assert found == (
        "a: etcd.name: cannot be set here (x); remove it; only Kubekeel sets it",
        "a: kubelet.port: cannot be set here (1); remove it; only Kubekeel sets it",
    )
    (found_alone,) = of_host(kubelet={"maxPods": 300})
    assert found_alone.startswith("a: kubelet.maxPods: is more than the 253 addresses")


def test_a_setting_against_the_benchmark_is_applied_and_named_with_its_hosts() -> None:
    anonymous = {"authentication": {"anonymous": {"enabled": True}}}
    hosts = HOSTS | {"a": HOSTS["a"] | {"kubelet": {"readOnlyPort": 10255}}}
    found = opened(cluster(hosts=hosts, kubelet=anonymous, kube_apiserver={"profiling": True, "event-ttl": "2h"}))
    assert [line.partition(";")[0] for line in found] == [
        "m: kube-apiserver --profiling must be false (true)",
        "m, a, b: kubelet authentication.anonymous.enabled must be False (True)",
        "a: kubelet readOnlyPort must be 0 or unset (10255)",
    ]
    assert "control 1.2.15" in found[0]
    assert opened(cluster()) == opened(cluster(kubelet={"maxPods": 50})) == []


def test_only_components_with_settings_check_them() -> None:
    def checked(name: str, **settings: object) -> set[str]:
        desired = cluster({"etcd": ["m"], "masters": ["m"], "minions": ["a", "b"]}, **settings)
        return set(checks(placeholder(desired.node(name), desired)))

    assert checked("m") == checked("a") == set()
    assert checked("m", etcd={"log-level": "warn"}) == {"etcd"}
    assert checked("a", etcd={"log-level": "warn"}) == set()
    assert checked("a", kubelet={"maxPods": 50}, containerd="oom_score = 0") == {"kubelet", "containerd"}
    assert checked("a", feature_gates={"A": True}) == {"kubelet", "kube-proxy"}
    assert checked("m", kube_scheduler={"v": 4}) == {"kube-scheduler's arguments"}


def test_a_manifest_is_valid_with_any_argument() -> None:
    files = tree(kube_apiserver={"event-ttl": '"1h": {x}'})
    assert content(files, f"{MANIFESTS}/kube-apiserver.yaml")["spec"]["containers"][0]["command"][-1] == (
        '--event-ttl="1h": {x}'
    )
    assert json.dumps('--event-ttl="1h": {x}') in text(files, f"{MANIFESTS}/kube-apiserver.yaml")


def test_dicts_are_merged_and_other_values_are_replaced() -> None:
    assert components.merged({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "d": {"e": 1}}) == {
        "a": {"b": 1, "c": [2]},
        "d": {"e": 1},
    }


def test_a_node_with_settings_is_hashable() -> None:
    node = Node("a", "192.0.2.1", kubelet={"maxPods": 5})
    assert {node: 1}[Node("a", "192.0.2.1", kubelet={"maxPods": 5})] == 1
