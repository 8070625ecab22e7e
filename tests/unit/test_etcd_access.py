"""etcd's roles and users: from any state, the steps lead to the desired access and grant no more."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace

import pytest

from kubekeel.etcd_access import (
    LEASES,
    NETWORK,
    SHARED,
    Access,
    NoSubnet,
    Permission,
    Record,
    lease_key,
    plan,
    read,
    user_of,
    wanted,
    without,
    without_shared,
)
from tests.clusters import HOSTS, cluster

WANTED = wanted(cluster(), b'{"Network": "10.244.0.0/16"}\n')
SUBNETS = {"m": "10.244.1.0-24", "a": "10.244.2.0-24", "b": "10.244.3.0-24"}
READS = {Permission("read", f"{NETWORK}/config"), Permission("read", LEASES, f"{NETWORK}/subnett")}
OWN = {user_of(node): frozenset({*READS, Permission("write", lease_key(subnet))}) for node, subnet in SUBNETS.items()}
DESCRIBED = Access(
    answered=True,
    enabled=True,
    users={"root": frozenset({"root"}), "kube-apiserver": frozenset({"root"}), **{n: frozenset({n}) for n in OWN}},
    roles={"root": frozenset(), **OWN},
    network=WANTED.network,
    leases={SUBNETS[node]: WANTED.leases[node] for node in SUBNETS},
    record=Record(digest=WANTED.digest, subnets=SUBNETS),
)


def after(seen: Access, steps: tuple[tuple[str, ...], ...], record: Record | None) -> Access:
    """Return the access after the steps from `seen`, by a model of etcdctl."""
    users = {name: set(roles) for name, roles in seen.users.items()}
    roles = {name: {permission.range: permission.kind for permission in has} for name, has in seen.roles.items()}
    enabled, network, leases = seen.enabled, seen.network, dict(seen.leases)
    for step in steps:
        match step:
            case "auth", "enable":
                enabled = True
            case "role", "add", name:
                roles[name] = {}
            case "role", "delete", name:
                del roles[name]
            case "role", "grant-permission", name, kind, *keys:
                roles[name][tuple(keys)] = kind
            case "role", "revoke-permission", name, *keys:
                del roles[name][tuple(keys)]
            case "user", "add", name, "--no-password":
                users[name] = set()
            case "user", "delete", name:
                del users[name]
            case "user", "grant-role", name, role:
                users[name].add(role)
            case "user", "revoke-role", name, role:
                users[name].remove(role)
            case "put", key, value if key == f"{NETWORK}/config":
                network = value
            case "put", key, value if key.startswith(LEASES):
                leases[key.removeprefix(f"{LEASES}/")] = value
            case "del", key if key.startswith(LEASES):
                del leases[key.removeprefix(f"{LEASES}/")]
            case _:
                raise AssertionError(step)
    return Access(
        seen.answered,
        enabled,
        seen.revision,
        {name: frozenset(has) for name, has in users.items()},
        {name: frozenset(Permission(kind, *keys) for keys, kind in has.items()) for name, has in roles.items()},
        network,
        leases,
        record or seen.record,
    )


def carried_out(seen: Access) -> Access:
    made = plan(seen, WANTED)
    return after(seen, made.steps, made.record)


def of(**changed: frozenset[Permission]) -> dict[str, frozenset[Permission]]:
    return {**DESCRIBED.roles, **{user_of(node): has for node, has in changed.items()}}


ALL = frozenset({Permission.of_prefix("readwrite", f"{NETWORK}/")})
NEWER = replace(DESCRIBED, revision="9")
SEEN = {
    "nothing": Access(answered=True),
    "authentication is off": replace(NEWER, enabled=False),
    "a user has another role": replace(NEWER, users={**DESCRIBED.users, user_of("a"): frozenset({"root"})}),
    "a role may do more": replace(NEWER, roles=of(a=OWN[user_of("a")] | {Permission("read", "/registry/x")})),
    "a role may write all": replace(NEWER, roles=of(a=ALL)),
    "a role may write another lease": replace(NEWER, roles=of(a=OWN[user_of("b")])),
    "flannel's configuration is another": replace(NEWER, network="{}"),
    "a lease is missing": replace(NEWER, leases={}),
    "a lease is another node's": replace(NEWER, leases={**DESCRIBED.leases, SUBNETS["a"]: WANTED.leases["b"]}),
}


@pytest.mark.parametrize("case", SEEN)
def test_the_steps_lead_to_the_described_access(case: str) -> None:
    assert plan(SEEN[case], WANTED).steps
    assert replace(carried_out(SEEN[case]), revision="") == DESCRIBED


def test_described_access_needs_no_step_and_is_recorded_once() -> None:
    unrecorded = replace(NEWER, record=Record())
    made = plan(unrecorded, WANTED)
    assert (made.steps, made.record) == ((), DESCRIBED.record)
    recorded = replace(NEWER, users={}, roles={}, record=replace(DESCRIBED.record, revision="9"))
    assert (plan(recorded, WANTED).steps, plan(recorded, WANTED).record) == ((), None)


def test_a_node_may_write_its_own_lease_and_nothing_else() -> None:
    for node, subnet in SUBNETS.items():
        has = carried_out(Access(answered=True)).roles[user_of(node)]
        assert {permission for permission in has if permission.kind != "read"} == {
            Permission("write", lease_key(subnet))
        }


def test_a_subnet_in_use_is_not_assigned_again() -> None:
    strange = {"10.244.1.0-24": "no lease", "10.244.2.0-24": '{"PublicIP":"203.0.113.9"}'}
    assert carried_out(Access(answered=True, leases=strange)).record.subnets == {
        node: f"10.244.{number}.0-24" for number, node in enumerate(("m", "a", "b"), start=3)
    }


def test_a_node_with_two_leases_keeps_the_one_that_flanneld_uses() -> None:
    leases = {"10.244.7.0-24": WANTED.leases["a"], "10.244.8.0-24": WANTED.leases["a"]}
    assert carried_out(Access(answered=True, leases=leases)).record.subnets["a"] == "10.244.7.0-24"


def test_a_node_without_a_free_subnet_is_named() -> None:
    small = wanted(cluster(pod_network="10.244.0.0/24", node_subnet_length=26), b"{}")
    taken = Access(leases={"10.244.0.64-26": "", "10.244.0.128-26": ""})
    with pytest.raises(NoSubnet, match="a: there is no subnet left for it in pod_network"):
        plan(taken, small)


def test_a_node_missing_in_the_inventory_keeps_its_access() -> None:
    hosts = {name: HOSTS[name] for name in ("m", "a")}
    made = plan(DESCRIBED, wanted(cluster({"etcd": ["m"], "masters": ["m"], "minions": ["a"]}, hosts), b"{}"))
    assert made.record is not None
    assert made.record.subnets == SUBNETS


def test_the_user_of_earlier_versions_writes_leases_until_it_is_removed_last() -> None:
    wide = {"flannel": ALL}
    earlier = replace(
        Access(enabled=True, revision="5"),
        users={SHARED: frozenset({SHARED, "root"})},
        roles={"root": frozenset(), **wide},
    )
    then = carried_out(earlier)
    assert then.users[SHARED] == {SHARED}
    assert {permission.key: permission.kind for permission in then.roles[SHARED]} == {
        f"{NETWORK}/config": "read",
        LEASES: "readwrite",
    }
    assert then.shared
    ended = without_shared(then)
    last = after(then, ended.steps, ended.record)
    assert SHARED not in last.users.keys() | last.roles.keys()
    assert not last.shared
    assert without_shared(last).steps == ()


def test_the_access_of_a_removed_node_is_deleted() -> None:
    made = without("b", "192.0.2.3", DESCRIBED, WANTED)
    left = after(DESCRIBED, made.steps, made.record)
    assert user_of("b") not in left.users.keys() | left.roles.keys()
    assert left.leases.keys() == {SUBNETS["m"], SUBNETS["a"]}
    assert left.record.subnets == {node: SUBNETS[node] for node in ("m", "a")}
    assert without("b", "192.0.2.3", left, WANTED).steps == ()


def test_access_is_read_from_the_output_of_etcdctl() -> None:
    def encoded(text: str) -> str:
        return b64encode(text.encode()).decode()

    def printed(permission: Permission) -> dict[str, object]:
        kind = {"write": 1, "readwrite": 2}.get(permission.kind)
        return {
            "key": encoded(permission.key),
            **({"permType": kind} if kind else {}),
            **({"range_end": encoded(permission.range_end)} if permission.range_end else {}),
        }

    kvs = [{"key": encoded(lease_key(subnet)), "value": encoded(each)} for subnet, each in DESCRIBED.leases.items()]
    lines = [
        "answered",
        "auth true",
        "revision 17",
        f"granted 16 {WANTED.digest}",
        *(f"subnet {node} {subnet}" for node, subnet in SUBNETS.items()),
        f"network {WANTED.network}",
        f"leases {json.dumps({'header': {}, 'kvs': kvs})}",
        *(f"user {user} {json.dumps({'header': {}, 'roles': sorted(has)})}" for user, has in DESCRIBED.users.items()),
        *(f"role {role} {json.dumps({'perm': list(map(printed, has))})}" for role, has in DESCRIBED.roles.items()),
    ]
    assert read(lines) == replace(DESCRIBED, revision="17", record=Record("16", WANTED.digest, subnets=SUBNETS))
    assert read(["", "user root ", "role x ", "network ", "leases "]) == Access()
