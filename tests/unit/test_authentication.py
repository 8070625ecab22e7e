"""Issuers whose tokens the API accepts, and the roles of groups."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from kubekeel import render
from kubekeel.files import File
from kubekeel.parts import described, placeholder
from kubekeel.render import AUTHENTICATION, MANIFESTS
from tasks.settings import checks
from tests.clusters import cluster, faults

ISSUER: dict[str, Any] = {
    "issuer": {"url": "https://issuer.example", "audiences": ["kubernetes"]},
    "claimMappings": {
        "username": {"claim": "email", "prefix": "oidc:"},
        "groups": {"expression": "claims.roles.map(role, 'oidc:' + role)"},
    },
    "userValidationRules": [{"expression": "user.username != 'oidc:'", "message": "has no name"}],
}
MAPPINGS, ISSUED = ISSUER["claimMappings"], ISSUER["issuer"]


def with_issuer(**changes: object) -> list[dict[str, Any]]:
    issuer = copy.deepcopy(ISSUER)
    issuer.update(changes)
    return [issuer]


@pytest.mark.parametrize(
    ("authentication", "message"),
    [
        ("https://issuer.example", "authentication: is not a list (https://issuer.example)"),
        (["https://issuer.example"], "authentication[0]: is not a dict (https://issuer.example); its keys are issuer"),
        (with_issuer(jwks="x"), "authentication[0].jwks: is unknown (x); the keys are issuer, claimValidationRules"),
        (with_issuer(issuer={**ISSUED, "url": "http://a"}), "authentication[0].issuer.url: is not an https URL (http:"),
        (with_issuer(issuer={"audiences": ["a"]}), "authentication[0].issuer.url: is not an https URL ('')"),
        (with_issuer(issuer={**ISSUED, "audiences": []}), "authentication[0].issuer.audiences: is empty ([])"),
        (
            with_issuer(issuer={**ISSUED, "audiences": "kubernetes"}),
            "authentication[0].issuer.audiences: is not a list",
        ),
        (with_issuer(issuer={**ISSUED, "audiences": ["a", "b"]}), "authentication[0].issuer.audienceMatchPolicy: is"),
        (
            with_issuer(issuer={**ISSUED, "certificateAuthority": "/a"}),
            "authentication[0].issuer.certificateAuthority:",
        ),
        (with_issuer(claimMappings={}), "authentication[0].claimMappings.username: is missing"),
        (
            with_issuer(claimMappings={**MAPPINGS, "groups": {"claim": "roles"}}),
            "authentication[0].claimMappings.group",
        ),
        (
            with_issuer(claimMappings={**MAPPINGS, "groups": {"claim": "roles", "prefix": "system:"}}),
            "authentication[0].claimMappings.groups.prefix: is a prefix of the cluster's own names (system:)",
        ),
        (
            with_issuer(claimMappings={"username": {"claim": "sub", "expression": "claims.sub"}}),
            "authentication[0].claimMappings.username: has both a claim and an expression",
        ),
        (
            with_issuer(userValidationRules=[{"expression": True}]),
            "authentication[0].userValidationRules[0].expression: is not a text (True)",
        ),
        ([ISSUER, ISSUER], "authentication: has an issuer twice (https://issuer.example)"),
    ],
)
def test_a_wrong_issuer_is_refused(authentication: object, message: str) -> None:
    [fault] = faults(authentication=authentication)
    assert fault.startswith(message)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (["oidc:team"], "is not a dict"),
        ({"": "view"}, "has a group '' that is not a name"),
        ({"system:authenticated": "view"}, "has a group that is reserved for the cluster (system:authenticated)"),
        ({"oidc:team": ""}, "has no role for oidc:team"),
        ({"oidc:team": []}, "has no role for oidc:team"),
        ({"oidc:team": ["view", "a/b"]}, "has no role for oidc:team"),
    ],
)
def test_wrong_roles_of_groups_are_refused(roles: object, message: str) -> None:
    [fault] = faults(group_roles=roles)
    assert fault.startswith(f"group_roles: {message}")


def written(path: str, **settings: object) -> str:
    desired = cluster(**settings)
    entry = described(placeholder(desired.node("m"), desired))[path]
    assert isinstance(entry, File)
    return entry.content.decode()


def test_issuers_are_added_and_cannot_name_users_of_the_cluster_itself() -> None:
    before, after = (yaml.safe_load(written(AUTHENTICATION, authentication=each)) for each in ((), [ISSUER]))
    [issuer] = after.pop("jwt")
    assert after == before
    added = issuer["userValidationRules"][1:]
    assert {**issuer, "userValidationRules": issuer["userValidationRules"][:1]} == ISSUER
    assert [reserved for reserved in ("system:", "kubekeel:") if reserved in str(added)] == ["system:", "kubekeel:"]


def test_another_issuer_does_not_restart_the_api_server() -> None:
    pod = f"{MANIFESTS}/kube-apiserver.yaml"
    assert written(pod) == written(pod, authentication=[ISSUER])


def test_the_running_api_server_checks_issuers_before_they_are_written() -> None:
    with_one = cluster(authentication=[ISSUER])
    assert checks(placeholder(with_one.node("a"), with_one)).keys() == set()
    assert checks(placeholder(with_one.node("m"), with_one))["kube-apiserver"].files.keys() == {AUTHENTICATION}


def test_each_role_of_a_group_is_a_separate_file() -> None:
    groups = {"oidc:team": ["view", "edit"], "oidc:a/b": "view"}
    desired = cluster(group_roles=groups, artifact_source="source", dashboard=None)
    found = {
        name: yaml.safe_load(text)
        for name, text in render.addons(placeholder(desired.node("m"), desired)).items()
        if name.startswith("group-role-")
    }
    assert {(each["subjects"][0]["name"], each["roleRef"]["name"]) for each in found.values()} == {
        *(("oidc:team", role) for role in ("view", "edit")),
        ("oidc:a/b", "view"),
    }
    assert all(each["metadata"]["name"] == f"kubekeel:{name.removesuffix('.yaml')}" for name, each in found.items())
