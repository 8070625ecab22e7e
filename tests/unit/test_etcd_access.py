"""etcd's roles and users: from whatever there is, the steps lead to what shall be, and nothing is granted beside it."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace

import pytest

from kubekeel.etcd_access import NETWORK, ROLES, USERS, Access, Permission, read, steps

BARE = Access()
DESCRIBED = Access(True, {user: frozenset({role}) for user, role in USERS.items()}, dict(ROLES))


def after(seen: Access) -> Access:
    """What the steps make of `seen`, by a model of etcdctl."""
    users = {name: set(roles) for name, roles in seen.users.items()}
    roles = {name: {permission.range: permission.kind for permission in has} for name, has in seen.roles.items()}
    enabled = seen.enabled
    for step in steps(seen):
        match step:
            case "auth", "enable":
                enabled = True
            case "role", "add", name:
                roles[name] = {}
            case "role", "grant-permission", name, kind, *keys:
                roles[name][tuple(keys)] = kind
            case "role", "revoke-permission", name, *keys:
                del roles[name][tuple(keys)]
            case "user", "add", name, "--no-password":
                users[name] = set()
            case "user", "grant-role", name, role:
                users[name].add(role)
            case "user", "revoke-role", name, role:
                users[name].remove(role)
            case _:
                raise AssertionError(step)
    return Access(
        enabled,
        {name: frozenset(has) for name, has in users.items()},
        {name: frozenset(Permission(kind, *keys) for keys, kind in has.items()) for name, has in roles.items()},
    )


EARLIER = replace(
    DESCRIBED,
    roles={**DESCRIBED.roles, "flannel": frozenset({Permission.of_prefix("readwrite", f"{NETWORK}/")})},
)
SEIZED = replace(DESCRIBED, users={**DESCRIBED.users, "flannel": frozenset({"flannel", "root"})})
WIDENED = replace(
    DESCRIBED,
    roles={**DESCRIBED.roles, "flannel": ROLES["flannel"] | {Permission.of_prefix("read", "/registry/")}},
)
WRITES_CONFIG = replace(
    DESCRIBED,
    roles={
        **DESCRIBED.roles,
        "flannel": frozenset(
            {Permission("readwrite", f"{NETWORK}/config"), Permission.of_prefix("readwrite", f"{NETWORK}/subnets")}
        ),
    },
)


@pytest.mark.parametrize("seen", [BARE, EARLIER, SEIZED, WIDENED, WRITES_CONFIG, replace(DESCRIBED, enabled=False)])
def test_the_steps_lead_to_the_described_access(seen: Access) -> None:
    assert steps(seen)
    assert after(seen) == DESCRIBED


def test_described_access_needs_no_step() -> None:
    assert steps(DESCRIBED) == []


def test_flannel_gets_its_new_permissions_before_it_loses_the_earlier_one() -> None:
    names = [step[1] for step in steps(EARLIER)]
    assert names == ["grant-permission", "grant-permission", "revoke-permission"]


def test_flannel_cannot_write_its_configuration() -> None:
    written = [permission for permission in ROLES["flannel"] if permission.kind != "read"]
    assert written == [Permission("readwrite", f"{NETWORK}/subnets", f"{NETWORK}/subnett")]


def test_access_is_read_from_what_etcdctl_prints() -> None:
    def encoded(text: str) -> str:
        return b64encode(text.encode()).decode()

    role = {
        "header": {},
        "perm": [
            {"key": encoded(f"{NETWORK}/config")},
            {"permType": 2, "key": encoded(f"{NETWORK}/subnets"), "range_end": encoded(f"{NETWORK}/subnett")},
        ],
    }
    lines = [
        "auth true",
        *(f"user {user} {json.dumps({'header': {}, 'roles': [role]})}" for user, role in USERS.items()),
        'role root {"header": {}}',
        f"role flannel {json.dumps(role)}",
        'network {"Network": "10.244.0.0/16"}',
    ]
    assert read(lines) == replace(DESCRIBED, network='{"Network": "10.244.0.0/16"}')
    assert read(["auth ", "user root ", "role flannel ", "network "]) == BARE
