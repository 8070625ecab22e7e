"""An inventory is accepted, or refused with all its faults."""

from __future__ import annotations

import runpy
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from kubekeel.cluster import ROLES, InventoryError, load
from tests.clusters import GROUPS, HOSTS, cluster, faults, of_host
from tests.settings import SETTINGS

PROJECT = Path(__file__).resolve().parents[2]


def test_the_example_inventory_is_a_cluster() -> None:
    inventory = runpy.run_path(str(PROJECT / "inventory.py"))
    settings = runpy.run_path(str(PROJECT / "group_data" / "all.py"))
    example = load(
        {role: [name for name, _ in inventory[role]] for role in ROLES},
        {name: data for role in ROLES for name, data in inventory[role]},
        {name: value for name, value in settings.items() if name != "os" and not name.startswith("__")},
    )
    assert [(node.name, node.address) for node in example.nodes] == [
        ("master", "192.168.1.165"),
        ("minion1", "192.168.1.166"),
        ("minion2", "192.168.1.167"),
    ]
    assert [node.name for node in example.etcd] == ["master", "minion1", "minion2"]
    assert [node.name for node in example.masters] == ["master"]
    assert [node.name for node in example.minions] == ["minion1", "minion2"]


def test_nodes_keep_the_inventory_s_order_and_know_their_roles() -> None:
    nodes = cluster().nodes
    assert [node.name for node in nodes] == ["m", "a", "b"]
    assert [node.roles for node in nodes] == [{"etcd", "masters"}, {"etcd", "minions"}, {"etcd", "minions"}]
    assert cluster().node("a") == nodes[1]
    with pytest.raises(KeyError, match="c"):
        cluster().node("c")


def test_service_addresses_and_etcd_urls_follow_from_the_inventory() -> None:
    assert cluster().api_service_address == "10.96.0.1"
    assert cluster().dns_address == "10.96.0.10"
    assert cluster().etcd_endpoints == "https://192.0.2.1:2379,https://192.0.2.2:2379,https://192.0.2.3:2379"
    assert (
        cluster().etcd_initial_cluster == "m=https://192.0.2.1:2380,a=https://192.0.2.2:2380,b=https://192.0.2.3:2380"
    )


def test_a_cluster_is_immutable_and_hashable() -> None:
    with pytest.raises(FrozenInstanceError, match="name"):
        cluster().name = "other"  # type: ignore[misc]
    labelled = cluster(hosts=HOSTS | {"a": HOSTS["a"] | {"labels": {"disk": "ssd"}}})
    assert len({cluster(), cluster(), labelled}) == 2


def test_arch_is_amd64_by_default() -> None:
    mixed = cluster(hosts=HOSTS | {"a": HOSTS["a"] | {"arch": "arm64"}})
    assert [node.arch for node in mixed.nodes] == ["amd64", "arm64", "amd64"]


def test_data_for_pyinfra_is_ignored() -> None:
    hosts = {name: data | {"ssh_user": "root", "ssh_port": 22, "_sudo": True} for name, data in HOSTS.items()}
    assert cluster(hosts=hosts, ssh_known_hosts_file="known_hosts", _sudo=True) == cluster()


@pytest.mark.parametrize(
    ("source", "chosen", "dashboard"),
    [
        ("upstream", "auto", "headlamp"),
        ("mirror", "auto", "headlamp"),
        ("source", "auto", None),
        ("source", "kube-web-view", "kube-web-view"),
        ("source", "headlamp", "headlamp"),
        ("upstream", None, None),
    ],
)
def test_the_dashboard_follows_the_source_unless_set(source: str, chosen: str | None, dashboard: str | None) -> None:
    made = cluster(artifact_source="auto", dashboard=chosen).supplied_from(source)
    assert (made.artifact_source, made.dashboard) == (source, dashboard)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (GROUPS | {"master": ["a"]}, "group master: is unknown (a); did you mean masters?"),
        (GROUPS | {"pool": ["a"]}, "group pool: is unknown (a); the groups are etcd, masters, minions"),
        ({"etcd": ["m", "a", "b"], "minions": ["m", "a", "b"]}, "masters: has no host"),
        ({"masters": ["m"], "minions": ["a", "b"]}, "etcd: has no host"),
        ({"etcd": ["m"], "masters": ["m"], "minions": ["a"]}, "b: is in no group; put it into"),
    ],
)
def test_unknown_and_missing_groups_are_refused(groups: dict[str, list[str]], message: str) -> None:
    [fault] = faults(groups)
    assert fault.startswith(message)


def test_two_members_of_etcd_are_accepted() -> None:
    assert [node.name for node in cluster(GROUPS | {"etcd": ["m", "a"]}).etcd] == ["m", "a"]


def test_a_cluster_without_any_registered_node_is_refused() -> None:
    alone = {"etcd": ["m"], "masters": ["m"]}
    hosts = {"m": HOSTS["m"]}
    assert cluster(alone, hosts).register_masters
    [fault] = faults(alone, hosts, register_masters=False)
    assert "minions: has no host" in fault


@pytest.mark.parametrize("name", ["Master", "m_1", "m.example.org", "-m", "m-", "m" * 64, "@local", ""])
def test_a_name_that_is_not_a_dns_label_is_refused(name: str) -> None:
    groups = GROUPS | {"minions": ["a", "b", name]}
    [fault] = faults(groups, HOSTS | {name: {"address": "192.0.2.9"}})
    assert fault.startswith(f"{name}: is not a DNS label")


def test_pyinfras_name_of_this_computer_is_refused_with_the_way_to_name_it() -> None:
    [fault] = faults(GROUPS | {"minions": ["a", "b", "@local"]}, HOSTS | {"@local": {"address": "192.0.2.9"}})
    assert fault.endswith('; give this computer a name, and ssh_hostname = "127.0.0.1"')


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (None, "a: has no IPv4 address (None)"),
        ("", "a: has no IPv4 address ('')"),
        ("192.0.2", "a: has no IPv4 address (192.0.2)"),
        ("192.0.2.256", "a: has no IPv4 address (192.0.2.256)"),
        ("a.example.org", "a: has no IPv4 address"),
        ("2001:db8::1", "a: has no IPv4 address"),
        (3221225985, "a: has no IPv4 address"),
        ("127.0.0.1", "a: has an address that no other host can reach"),
        ("169.254.1.1", "a: has an address that no other host can reach"),
        ("224.0.0.1", "a: has an address that no other host can reach"),
        ("255.255.255.255", "a: has an address that no other host can reach"),
        ("0.0.0.0", "a: has an address that no other host can reach"),
        ("192.0.2.1", "m, a: have the same address (192.0.2.1)"),
        ("10.244.3.4", "a: has an address within pod_network 10.244.0.0/16 (10.244.3.4)"),
        ("10.96.3.4", "a: has an address within service_network 10.96.0.0/16 (10.96.3.4)"),
    ],
)
def test_a_wrong_address_is_refused(address: object, message: str) -> None:
    [fault] = of_host(address=address)
    assert fault.startswith(message)


def test_a_missing_address_is_refused() -> None:
    assert [fault[:23] for fault in faults(hosts=HOSTS | {"a": {}})] == ["a: has no IPv4 address "]


def test_unknown_keys_are_refused_with_a_suggestion() -> None:
    assert of_host(adress="192.0.2.7") == ("a: unknown key (adress); did you mean address?",)
    assert of_host(colour="red") == ("a: unknown key (colour); remove it",)
    assert of_host(pod_network="10.0.0.0/8") == (
        "a: pod_network is a setting of the whole cluster; set it in group_data/all.py",
    )
    assert faults(pod_netwrk="10.0.0.0/8") == ("pod_netwrk: unknown setting; did you mean pod_network?",)
    assert faults(arch="arm64") == ("arch: belongs to a host; set it in the host's own dict",)


@pytest.mark.parametrize("name", ["kubernetes", "localhost"])
def test_a_host_with_a_name_of_the_api_is_refused(name: str) -> None:
    [fault] = faults(GROUPS | {"minions": ["a", "b", name]}, HOSTS | {name: {"address": "192.0.2.4"}})
    assert fault.startswith(f"{name}: has a name that the API uses ({name})")


def test_the_address_that_masters_share_names_the_api_and_no_host() -> None:
    assert cluster(api_vip="192.0.2.100", extra_api_names=("api.example",)).api_names == ("api.example", "192.0.2.100")
    for address, message in (
        ("192.0.2.1", "m, api_vip: have the same address (192.0.2.1)"),
        ("10.244.3.4", "api_vip: has an address within pod_network 10.244.0.0/16 (10.244.3.4)"),
        ("api.example", "api_vip: is not an IPv4 address (api.example)"),
        ("127.0.0.1", "api_vip: is not an IPv4 address (127.0.0.1)"),
    ):
        [fault] = faults(api_vip=address)
        assert fault.startswith(message)


def test_an_extra_api_name_that_names_a_minion_is_refused() -> None:
    assert cluster(extra_api_names=("m",)).extra_api_names == ("m",)
    [fault] = faults(extra_api_names=("api.example.org", "b"))
    assert fault.startswith("extra_api_names: holds the name of a host that is not a master (b)")


def test_an_unknown_arch_is_refused() -> None:
    [fault] = of_host(arch="x86_64")
    assert fault.startswith("a: has an arch that is unknown (x86_64)")


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"disk": "ssd"},
        {"example.org/disk": ""},
        {"topology.kubernetes.io/zone": "Z_1.a"},
        {"a" * 63: "b" * 63},
    ],
)
def test_valid_labels_are_accepted(labels: dict[str, str]) -> None:
    assert cluster(hosts=HOSTS | {"a": HOSTS["a"] | {"labels": labels}}).node("a").labels == labels


@pytest.mark.parametrize(
    "labels",
    [
        {"-disk": "ssd"},
        {"disk": "s s"},
        {"a" * 64: ""},
        {"disk": "b" * 64},
        {"/disk": "ssd"},
        {"Example.org/disk": "ssd"},
        {"disk": 3},
        {3: "disk"},
        ["disk"],
        "disk=ssd",
        {"node-role.kubernetes.io/control-plane": ""},
        {"kubernetes.io/hostname": "a"},
        {"beta.kubernetes.io/os": "linux"},
    ],
)
def test_malformed_and_reserved_labels_are_refused(labels: object) -> None:
    [fault] = of_host(labels=labels)
    assert fault.startswith("a: has ")
    assert "label" in fault


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"annotations": "rack"}, "a: has annotations that are not a dict (rack)"),
        ({"annotations": {"rack no": "1"}}, "a: has a malformed annotation 'rack no'"),
        ({"annotations": {"kubernetes.io/x": "1"}}, "a: has an annotation of Kubernetes' own 'kubernetes.io/x'"),
        ({"taints": ["dedicated"]}, "a: has taints that are not a dict (['dedicated'])"),
        ({"taints": {"dedicated": "db"}}, "a: has a taint without an effect 'dedicated'"),
        ({"taints": {"dedicated:Never": "db"}}, "a: has a taint without an effect 'dedicated:Never'"),
        ({"taints": {"a b:NoSchedule": ""}}, "a: has a malformed taint 'a b:NoSchedule'"),
        ({"taints": {"node-role.kubernetes.io/x:NoSchedule": ""}}, "a: has a taint of Kubernetes' own"),
    ],
)
def test_wrong_annotations_and_taints_are_refused(data: dict[str, object], message: str) -> None:
    [fault] = of_host(**data)
    assert fault.startswith(message)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("cluster_name", "My Cluster", "is not a DNS label (My Cluster)"),
        (
            "kubernetes_version",
            "1.37.2",
            'is not a version (1.37.2); write "v1.37.2"',
        ),
        ("kubernetes_version", 1.37, "is not a version (1.37)"),
        ("kubernetes_version", "v1.38.0", "is newer than Kubekeel supports (v1.38.0); take a patch release of 1.37"),
        ("kubernetes_version", "v1.34.9", "is older than Kubekeel supports (v1.34.9); take a patch release of 1.37"),
        ("versions", "v2.4.3", "is not a dict (v2.4.3); write it like"),
        ("versions", {"containerd": "v2.5.0"}, "has a version of containerd that is newer than Kubekeel supports"),
        ("versions", {"etcd": "v3.5.24"}, "has a version of etcd that is older than Kubekeel supports"),
        ("versions", {"runc": 1.5}, "has a version of runc that is not a version"),
        ("versions", {"docker": "v1.2.3"}, "has a component 'docker' whose version cannot be set"),
        ("upgrade_batch", 0, "is neither a number of nodes nor a percentage (0)"),
        ("upgrade_batch", "0%", "is neither a number of nodes nor a percentage (0%)"),
        ("upgrade_batch", "101%", "is neither a number of nodes nor a percentage (101%)"),
        ("upgrade_batch", True, "is neither a number of nodes nor a percentage (True)"),
        ("drain", "major", "is unknown (major); take one of 'minor', 'always', 'never'"),
        ("drain_timeout", 5, "is out of range (5)"),
        ("versions", {"kubernetes": "v1.37.2"}, "has a component 'kubernetes' whose version cannot be set"),
        ("artifact_source", "internet", "is unknown (internet)"),
        ("artifact_mirror", 3, "names no mirror (3)"),
        ("flannel_backend", "ipsec", "is unknown (ipsec); take one of 'vxlan', 'host-gw'"),
        ("kube_proxy_mode", "ipvs", "is unknown (ipvs); take one of 'nftables', 'iptables', None"),
        ("dashboard", "lens", "is unknown (lens)"),
        ("register_masters", "yes", "is neither true nor false (yes)"),
        ("register_masters", 1, "is neither true nor false (1)"),
        ("sign_client_certificates", "jane", "is neither true nor false (jane)"),
        ("cluster_domain", "Cluster.Local", "is not a domain (Cluster.Local)"),
        ("cluster_domain", "cluster.local.", "is not a domain (cluster.local.)"),
        ("cluster_domain", ".".join(["a" * 60] * 5), "is not a domain"),
        ("renew_before_days", 0, "is out of range (0)"),
        ("renew_before_days", 365, "is out of range (365)"),
        ("renew_before_days", True, "is out of range (True)"),
        ("renew_before_days", "30", "is out of range (30)"),
        ("node_subnet_length", 30, "is out of range (30)"),
        ("node_subnet_length", "/24", "is out of range (/24)"),
        (
            "api_endpoint",
            "api_1.example.org",
            "is neither a DNS name nor an IPv4 address (api_1.example.org)",
        ),
        ("api_endpoint", "api.example.org:http", "has a port that is not a number from 1 to 65535"),
        ("api_endpoint", "b:6443", "holds the name of a host that is not a master (b)"),
        ("extra_api_names", "api.example.org", "is not a list (api.example.org)"),
        ("extra_api_names", ("api.example.org", "192.0.2.300"), "has an entry that is neither"),
        ("extra_api_names", ("api_1",), "has an entry that is neither"),
        ("extra_api_names", (3,), "has an entry that is neither"),
        ("pod_network", "10.244.0.0", "is not a network (10.244.0.0)"),
        ("pod_network", "10.244.0.0/33", "is not a network (10.244.0.0/33)"),
        ("pod_network", "10.244/16", "is not a network (10.244/16)"),
        ("pod_network", 10, "is not a network (10)"),
        (
            "pod_network",
            "10.244.1.0/16",
            "has host bits set or an unusual mask (10.244.1.0/16); write 10.244.0.0/16",
        ),
        ("pod_network", "127.0.0.0/8", "is in a reserved range (127.0.0.0/8)"),
        ("pod_network", "224.0.0.0/8", "is in a reserved range (224.0.0.0/8)"),
        ("dns", ["192.0.2.53"], "is not a dict (['192.0.2.53']); its keys are upstreams, zones, hosts, corefile"),
        ("service_network", "10.96.0.0/29", "has an unsuitable size (10.96.0.0/29)"),
        ("service_network", "10.0.0.0/11", "has an unsuitable size (10.0.0.0/11)"),
        ("service_network", "10.244.128.0/20", "overlaps pod_network 10.244.0.0/16 (10.244.128.0/20)"),
    ],
)
def test_a_wrong_setting_is_refused(setting: str, value: object, message: str) -> None:
    [fault] = faults(**{setting: value})
    assert fault.startswith(f"{setting}: {message}")


@pytest.mark.parametrize(
    ("dns", "message"),
    [
        ({"upstream": ["192.0.2.53"]}, "dns.upstream: is unknown (['192.0.2.53']); the keys are upstreams, zones"),
        ({"upstreams": "192.0.2.53"}, "dns.upstreams: is not a list (192.0.2.53); write addresses like"),
        ({"upstreams": ["dns.corp"]}, "dns.upstreams: has a name server 'dns.corp' that is not an address"),
        ({"upstreams": ["127.0.0.1"]}, "dns.upstreams: has a name server '127.0.0.1' on a loopback address"),
        ({"upstreams": ["192.0.2.53:0"]}, "dns.upstreams: has a name server '192.0.2.53:0' that is not an address"),
        ({"upstreams": ["192.0.2.53"] * 16}, "dns.upstreams: has more than 15 name servers"),
        ({"zones": {"local": ["192.0.2.53"]}}, "dns.zones: has a zone that would answer for the cluster's own names"),
        ({"zones": {"svc.cluster.local": ["192.0.2.53"]}}, "dns.zones: has a zone that would answer for the cluster"),
        ({"zones": {"Corp": ["192.0.2.53"]}}, "dns.zones: has a zone 'Corp' that is not a domain"),
        ({"zones": {"corp": []}}, "dns.zones: has no name server for corp"),
        ({"hosts": {"a b": "192.0.2.25"}}, "dns.hosts: has a name 'a b' that is not a DNS name"),
        ({"hosts": {"a": "mail"}}, "dns.hosts: has no address for a"),
        ({"corefile": ["corp.example"]}, "dns.corefile: is not text (['corp.example'])"),
        ({"corefile": "corp.example {\n  log\n"}, "dns.corefile: has braces that do not match"),
        ({"corefile": "} corp.example {\n"}, "dns.corefile: has braces that do not match"),
        ({"replicas": 0}, "dns.replicas: is out of range (0)"),
    ],
)
def test_wrong_dns_settings_are_refused(dns: object, message: str) -> None:
    [fault] = faults(dns=dns)
    assert fault.startswith(message)


def test_unusual_but_valid_dns_settings_are_accepted() -> None:
    servers = ("192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353")
    zones = {"mylocal": ["192.0.2.53"], "2.0.192.in-addr.arpa": ["192.0.2.53"]}
    corefile = 'corp.example {\n  # } no brace\n  template IN TXT { # one\n    answer "{{ .Name }} {"\n  }\n}\n'
    taken = cluster(dns={"upstreams": servers, "zones": zones, "corefile": corefile}).dns
    assert (taken.upstreams, taken.corefile) == (servers, corefile)


@pytest.mark.parametrize("setting", sorted(SETTINGS.keys() - {"state_dir"}))
def test_a_missing_setting_is_refused(setting: str) -> None:
    rest = {name: value for name, value in SETTINGS.items() if name != setting}
    with pytest.raises(InventoryError) as refused:
        load(GROUPS, HOSTS, rest)
    assert refused.value.faults == (f"{setting}: is missing; set it in group_data/all.py",)


@pytest.mark.parametrize(
    ("endpoint", "expected"), [("", ""), ("203.0.113.7", "203.0.113.7:6443"), ("api:443", "api:443")]
)
def test_an_endpoint_has_a_port_and_is_a_name_of_the_api(endpoint: str, expected: str) -> None:
    made = cluster(api_endpoint=endpoint, extra_api_names=("other",))
    assert made.api_endpoint == expected
    assert made.api_names == ("other", *filter(None, [expected.partition(":")[0]]))


def test_the_source_mirror_needs_a_mirror() -> None:
    assert cluster(artifact_source="mirror", artifact_mirror="https://example.org/kk").artifact_mirror
    [fault] = faults(artifact_source="mirror")
    assert fault.startswith("artifact_mirror: names no mirror (None)")


def test_the_pod_network_must_have_a_subnet_for_each_host() -> None:
    assert cluster(pod_network="10.244.0.0/22").node_subnet_length == 24
    four = GROUPS | {"minions": ["a", "b", "c"]}
    [fault] = faults(four, HOSTS | {"c": {"address": "192.0.2.4"}}, pod_network="10.244.0.0/22")
    assert fault.startswith("node_subnet_length: leaves too few subnets in 10.244.0.0/22 for 4 hosts (24)")
    # flannel needs at least four subnets.
    [fault] = faults({"etcd": ["m"], "masters": ["m"]}, {"m": HOSTS["m"]}, pod_network="10.244.0.0/23")
    assert "for 1 hosts" in fault


def test_names_and_addresses_are_accepted_as_extra_api_names() -> None:
    names = ("api.example.org", "203.0.113.7", "2001:db8::1")
    assert cluster(extra_api_names=list(names)).extra_api_names == names


def test_all_faults_are_named_at_once() -> None:
    found = faults(
        {"workers": ["m", "A"]},
        {"m": {"address": "192.0.2.1"}, "A": {"address": "192.0.2.1", "arch": "vax", "adress": ""}},
        kubernetes_version="latest",
        pod_network="10.96.0.0/12",
        pods="x",
    )
    subjects = sorted(fault.partition(":")[0] for fault in found)
    assert subjects == sorted(
        [
            "group workers",
            "masters",
            "etcd",
            "A",
            "A",
            "A",
            "m, A",
            "kubernetes_version",
            "service_network",
            "pods",
        ]
    )
