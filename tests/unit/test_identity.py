"""The record that a host keeps about its cluster, and the hosts that a run recognizes by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes

from kubekeel.cluster import Cluster
from kubekeel.identity import (
    Identity,
    Keys,
    begun,
    described,
    fingerprints,
    lost_data,
    misfits,
    moved_members,
    shown,
    strangers,
    written,
)
from kubekeel.pki import AUTHORITIES, Pki
from tests.unit.keys import CLUSTER, certificate_of

PKI = Pki.open(Path("/nowhere"), CLUSTER)
KEYS = replace(PKI.known(), missing=())
NOTHING = Keys(Path("/nowhere"), missing=("ca.key",))
MASTER, MINION = (described(node, CLUSTER, KEYS.authorities) for node in CLUSTER.nodes)
HOSTS = {"m": MASTER, "w": MINION}
OTHER = replace(Pki.open(Path("/other"), CLUSTER).known(), missing=())
BUNDLE = {name: KEYS.authorities[name] | OTHER.authorities[name] for name in AUTHORITIES}
BARE = Identity()


def test_a_written_record_is_read_back() -> None:
    assert shown(written(MASTER)) == MASTER
    assert shown(written(replace(MASTER, kubernetes="", kubekeel="", served=False))).served is False


def test_a_record_is_stable_and_holds_no_secret() -> None:
    assert written(MASTER) == written(described(CLUSTER.nodes[0], CLUSTER, dict(reversed(KEYS.authorities.items()))))
    record_fields = json.loads(written(MASTER))
    ca = certificate_of(PKI.authority("ca")).fingerprint(hashes.SHA256()).hex()
    assert record_fields["authorities"]["ca"] == [ca]
    assert record_fields["networks"] == {
        "pod_network": "10.244.0.0/16",
        "node_subnet_length": "24",
        "service_network": "10.96.0.0/16",
        "cluster_domain": "cluster.test",
        "pod_network_provider": "flannel",
        "flannel_backend": "vxlan",
    }
    assert (record_fields["cluster"], record_fields["node"], record_fields["address"]) == ("test", "m", "192.0.2.1")
    assert record_fields["roles"] == ["etcd", "masters"]
    assert record_fields["kubernetes"] == "v1.37.2"


def test_a_record_keeps_the_old_versions_and_roles_until_a_deploy_is_finished() -> None:
    before = replace(MINION, kubernetes="v1.36.3", kubekeel="0.0.9", roles=frozenset({"etcd", "minions"}))
    under_way = begun(MINION, before)
    assert (under_way.kubernetes, under_way.kubekeel) == ("v1.36.3", "0.0.9")
    assert under_way.roles == {"etcd", "minions"}
    assert begun(MINION, MINION) == MINION
    assert not begun(MINION, BARE).served


def certificates(pki: Pki) -> list[tuple[str, bytes]]:
    return [(name, pki.authority(name)) for name in AUTHORITIES]


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'{"cluster": "test"}', b"\x00\xff"])
def test_a_host_without_a_valid_record_is_recognized_by_its_other_files(record: bytes) -> None:
    host = shown(record, certificates(PKI), {"key1": "digest"}, "w", served=True)
    assert (host.cluster, host.node, host.served) == ("test", "w", True)
    assert host.authorities == KEYS.authorities
    assert host.encryption_keys == {"key1": "digest"}
    assert host.networks == {}


def test_a_certificate_missing_in_the_record_counts_too() -> None:
    other = Pki.open(Path("/other"), CLUSTER)
    host = shown(written(MINION), [("ca", other.authority("ca")), ("etcd-ca", b"damaged")])
    assert host.authorities["ca"] == KEYS.authorities["ca"] | fingerprints(other.authority("ca"))
    assert host.authorities["etcd-ca"] == KEYS.authorities["etcd-ca"]


def test_each_certificate_of_a_bundle_counts() -> None:
    other = Pki.open(Path("/other"), CLUSTER)
    both = PKI.authority("ca") + other.authority("ca")
    assert fingerprints(both) == fingerprints(PKI.authority("ca")) | fingerprints(other.authority("ca"))


def test_a_master_shows_its_service_account_keys_and_its_authorities_of_clients() -> None:
    other, made = Pki.open(Path("/other"), CLUSTER), datetime(2026, 11, 24, 12, 5, tzinfo=UTC)
    pki = Pki.open(Path("/nowhere"), CLUSTER, made).with_user("jane", (), 30)
    clients = pki.authority("ca") + pki.users_authority
    both = pki.service_account_key.cert + other.service_account_key.cert
    host = shown(written(MASTER), service_accounts=both, clients=clients)
    assert host.service_account_keys == pki.known().service_account_keys | other.known().service_account_keys
    assert host.client_authorities["users-ca"] == "2026-11-24T12:00:00Z"
    damaged = shown(written(MASTER), service_accounts=both[:-40], clients=b"damaged")
    assert damaged.service_account_keys == pki.known().service_account_keys
    assert damaged.client_authorities == {}
    assert host.without_clients() == MASTER


# Strangers

KNOWN: dict[str, tuple[Mapping[str, Identity], Keys]] = {
    "bare hosts and no keys": ({"m": BARE, "w": BARE}, NOTHING),
    "bare hosts": ({"m": BARE, "w": BARE}, KEYS),
    "hosts of this cluster": (HOSTS, KEYS),
    "one host of several": ({"w": MINION}, KEYS),
    "a host that trusts an earlier authority": ({"w": MINION}, replace(KEYS, authorities=BUNDLE)),
    "hosts in the middle of a rotation": (
        {"w": replace(MINION, authorities=BUNDLE)},
        replace(KEYS, authorities=BUNDLE),
    ),
    "the same service-account key": (
        {"m": replace(MASTER, service_account_keys=KEYS.service_account_keys)},
        KEYS,
    ),
    "masters before and after each step of a service-account key's rotation": (
        {
            "m": replace(MASTER, service_account_keys=KEYS.service_account_keys),
            "w": replace(MASTER, service_account_keys=KEYS.service_account_keys | OTHER.service_account_keys),
        },
        replace(KEYS, service_account_keys=KEYS.service_account_keys | OTHER.service_account_keys),
    ),
    "an authority of clients that was replaced since": (
        {"m": replace(MASTER, client_authorities={"users-ca": "2026-11-24T11:59:59Z"})},
        replace(KEYS, client_authorities={"users-ca": "2026-11-24T12:00:00Z"}),
    ),
    "an authority of clients that the settings end": (
        {"m": replace(MASTER, client_authorities={"signing-ca": "2026-11-24T12:00:00Z"})},
        KEYS,
    ),
    "the same encryption key": ({"m": replace(MASTER, encryption_keys=KEYS.encryption_keys)}, KEYS),
    "an earlier encryption key": (
        {"m": replace(MASTER, encryption_keys={"key1": "of before"})},
        replace(KEYS, encryption_keys={"key2": "of now"}),
    ),
}


@pytest.mark.parametrize("case", KNOWN)
def test_a_run_recognizes(case: str) -> None:
    identities, keys = KNOWN[case]
    assert strangers(CLUSTER, identities, keys) == []


UNKNOWN: dict[str, tuple[Mapping[str, Identity], Keys, str]] = {
    "hosts of a cluster, and no keys": (
        HOSTS,
        NOTHING,
        "m, w: belongs to a cluster whose keys are not here (ca sha256:",
    ),
    "a host with nothing but its name, and no keys": (
        {"w": Identity(node="w")},
        NOTHING,
        "w: belongs to a cluster whose keys are not here (w; /nowhere/ca.key is missing); use that cluster's state",
    ),
    "a host of another cluster": (
        {**HOSTS, "w": replace(MINION, cluster="prod", authorities=OTHER.authorities)},
        KEYS,
        f"w: belongs to a cluster whose keys are not here (ca sha256:{min(OTHER.authorities['ca'])[:16]} of prod;"
        " /nowhere/ca.crt is another); use",
    ),
    "another authority of etcd only": (
        {"w": replace(MINION, authorities={**KEYS.authorities, "etcd-ca": OTHER.authorities["etcd-ca"]})},
        KEYS,
        "w: belongs to a cluster whose keys are not here"
        f" (etcd-ca sha256:{min(OTHER.authorities['etcd-ca'])[:16]} of test; /nowhere/etcd-ca.crt is another)",
    ),
    "a newer authority": (
        {"w": replace(MINION, authorities=BUNDLE)},
        KEYS,
        "w: belongs to a cluster whose keys are not here (ca sha256:",
    ),
    "a newer encryption key": (
        {"m": replace(MASTER, encryption_keys={**KEYS.encryption_keys, "key10": "new"})},
        replace(KEYS, encryption_keys={**KEYS.encryption_keys, "key9": "old"}),
        "m: has an encryption key unknown here (key10; not in /nowhere/encryption.key); that file is an old copy: use",
    ),
    "another encryption key of the same name": (
        {"m": replace(MASTER, encryption_keys={"key1": "unlike"})},
        KEYS,
        "m: has an encryption key unknown here (key1; ",
    ),
    "a newer service-account key": (
        {"m": replace(MASTER, service_account_keys=OTHER.service_account_keys)},
        KEYS,
        f"m: has a service-account key unknown here (sha256:{min(OTHER.service_account_keys)}; not in"
        " /nowhere/service-account.pub); that file is an old copy: use the state directory in which the key was last",
    ),
    "a new service-account key in the middle of a rotation": (
        {"m": replace(MASTER, service_account_keys=KEYS.service_account_keys | OTHER.service_account_keys)},
        KEYS,
        f"m: has a service-account key unknown here (sha256:{min(OTHER.service_account_keys)}; ",
    ),
    "a users' authority, and none here": (
        {"m": replace(MASTER, client_authorities={"users-ca": "2026-11-24T12:00:00Z"})},
        KEYS,
        "m: has a client authority unknown here (users-ca of 2026-11-24T12:00:00Z; /nowhere/users-ca.crt is older"
        " or missing); that file is an old copy: use the state directory in which the authority was made",
    ),
    "a newer users' authority": (
        {"m": replace(MASTER, client_authorities={"users-ca": "2026-11-24T12:00:00Z"})},
        replace(KEYS, client_authorities={"users-ca": "2026-11-24T11:59:59Z"}),
        "m: has a client authority unknown here (users-ca of 2026-11-24T12:00:00Z; ",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_run_does_not_recognize(case: str) -> None:
    identities, keys, expected = UNKNOWN[case]
    [line] = strangers(CLUSTER, identities, keys)
    assert line.startswith(expected)


def test_a_host_is_confirmed_by_the_digits_shown_or_by_the_whole_digest() -> None:
    digest = min(KEYS.authorities["ca"])
    assert MASTER.has(f"sha256:{digest[:16]}")
    assert MASTER.has(digest)
    for wrong in ("", "sha256:", digest[:15], f"sha256:{min(OTHER.authorities['ca'])[:16]}"):
        assert not MASTER.has(wrong)
    assert not BARE.has(f"sha256:{digest[:16]}")


# Misfits

CHANGED: dict[str, tuple[dict[str, object], str]] = {
    "cluster_name": ({"name": "prod"}, "m, w: cluster_name cannot change after the first deploy (test, not prod);"),
    "node_subnet_length": (
        {"node_subnet_length": 25},
        "m, w: node_subnet_length cannot change after the first deploy (24, not 25); set it back in group_data",
    ),
    "flannel_backend": (
        {"flannel_backend": "host-gw"},
        "m, w: flannel_backend cannot change after the first deploy (vxlan, not host-gw);",
    ),
}


@pytest.mark.parametrize("setting", CHANGED)
def test_a_fixed_setting_cannot_change_after_the_first_deploy(setting: str) -> None:
    changes, expected = CHANGED[setting]
    now = replace(CLUSTER, **changes)  # type: ignore[arg-type]
    [line] = misfits(now, HOSTS, KEYS)
    assert line.startswith(expected)


def test_other_settings_may_change() -> None:
    now = replace(
        CLUSTER, kubernetes_version="v1.36.3", kube_proxy_mode="iptables", extra_api_names=(), renew_before_days=3
    )
    assert misfits(now, {**HOSTS, "w": replace(MINION, kubernetes="v1.35.0", kubekeel="0.0.1")}, KEYS) == []


def test_settings_that_a_host_shows_count_without_a_record() -> None:
    settings = {"pod_network": "10.244.0.0/16", "cluster_domain": "cluster.test"}
    now = replace(CLUSTER, cluster_domain="k8s.test", flannel_backend="host-gw")
    earlier = shown(b"", certificates(PKI), node="w", networks=settings)
    [line] = misfits(now, {"w": earlier}, KEYS)
    assert line.startswith("w: cluster_domain cannot change after the first deploy (cluster.test, not k8s.test);")
    recorded = shown(written(MINION), certificates(PKI), networks={"cluster_domain": "edited.test"})
    assert recorded.networks == MINION.networks
    assert misfits(now, {"w": shown(b"", networks=settings)}, KEYS) == []


def test_a_node_cannot_change_its_name() -> None:
    [line] = misfits(CLUSTER, {"w": replace(MINION, node="worker")}, KEYS)
    assert line.startswith(
        "w: is node worker of this cluster, and a node's name cannot change (192.0.2.2); name it worker again;"
    )
    assert "--data node=worker), then deploy it as w" in line


def test_settings_of_unknown_hosts_are_not_compared() -> None:
    other = replace(MINION, cluster="prod", node="x", authorities=OTHER.authorities)
    assert misfits(CLUSTER, {"w": other}, KEYS) == []


# etcd


def test_a_member_keeps_its_address_and_other_hosts_may_change_theirs() -> None:
    elsewhere = {name: replace(each, address="192.0.2.77") for name, each in HOSTS.items()}
    [line] = moved_members(CLUSTER, elsewhere)
    assert line.startswith(
        "m: is a member of etcd at another address (192.0.2.77, not 192.0.2.1); give it that address"
    )
    assert moved_members(CLUSTER, HOSTS) == []
    assert moved_members(CLUSTER, {"m": BARE, "w": BARE}) == []


def lost(identities: Mapping[str, Identity], *blank: str, cluster: Cluster = CLUSTER, elsewhere: str = "") -> list[str]:
    return lost_data(cluster, identities, blank, elsewhere)


def test_no_etcd_is_founded_where_a_cluster_has_served() -> None:
    [line] = lost({"m": BARE, "w": MINION}, "m", "w")
    assert line == (
        "m: no etcd data, although the cluster has served (deployed: w); restore the cluster from a backup:"
        " actions/restore.py; to begin with an empty etcd, which ends everything that runs now, --data confirm=test"
    )
    assert lost({"m": MASTER}, "m")
    assert lost({"m": BARE}, "m", elsewhere="w")


def test_an_interrupted_first_deploy_may_continue() -> None:
    interrupted = {name: begun(each, BARE) for name, each in HOSTS.items()}
    assert lost(interrupted, "m", "w") == []
    # Its keys are here, although it was out of order then.
    assert lost({"m": interrupted["m"]}, "m", elsewhere="w") == []


def test_lost_data_is_refused_only_if_no_member_has_data() -> None:
    assert lost(HOSTS, "w") == []
    both = replace(CLUSTER, nodes=tuple(replace(node, roles=node.roles | {"etcd"}) for node in CLUSTER.nodes))
    assert lost(HOSTS, "m", cluster=both) == []
    [line] = lost(HOSTS, "m", "w", cluster=both)
    assert line.startswith("m, w: no etcd data")


def test_an_encryption_key_is_recorded_by_part_of_its_digest() -> None:
    [(name, digest)] = KEYS.encryption_keys.items()
    assert (name, len(digest)) == ("key1", 16)
    assert digest != sha256(PKI.encryption_keys[0].secret.encode()).hexdigest()[:16]
