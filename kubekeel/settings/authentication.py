"""The settings for issuers of tokens that the API accepts, and for the roles of groups."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from kubekeel.settings import Fault, Refused, refused

RESERVED = ("system:", "kubekeel:")
"""The prefixes of names with rights of their own."""

_RULE = {"expression": str, "message": str}
# apiserver.config.k8s.io/v1, type JWTAuthenticator: a list here has the shape of its elements.
_ISSUER: Mapping[str, Any] = {
    "issuer": {
        **dict.fromkeys(("url", "discoveryURL", "certificateAuthority", "audienceMatchPolicy"), str),
        "audiences": [str],
    },
    "claimValidationRules": [{"claim": str, "requiredValue": str, **_RULE}],
    "claimMappings": {
        "username": {"claim": str, "prefix": str, "expression": str},
        "groups": {"claim": str, "prefix": str, "expression": str},
        "uid": {"claim": str, "expression": str},
        "extra": [{"key": str, "valueExpression": str}],
    },
    "userValidationRules": [_RULE],
}


def authentication(value: object) -> tuple[str, ...]:
    """Return each issuer as JSON, which can be compared and hashed."""
    if not isinstance(value, (list, tuple)):
        raise refused("is not a list", 'write it like [{"issuer": {"url": "https://...", "audiences": ["..."]}, ...}]')
    faults = [fault for number, issuer in enumerate(value) for fault in _issuer_faults(f"[{number}]", issuer)]
    if faults:
        raise Refused(*faults)
    urls = [issuer["issuer"]["url"] for issuer in value]
    if twice := sorted({url for url in urls if urls.count(url) > 1}):
        raise refused(f"has an issuer twice ({', '.join(twice)})", "put both into one, with all audiences")
    return tuple(json.dumps(issuer, sort_keys=True) for issuer in value)


def _issuer_faults(at: str, issuer: object) -> Iterator[Fault]:
    faults = list(_shape_faults(at, issuer, _ISSUER))
    yield from faults
    if faults or not isinstance(issuer, Mapping):
        return
    who, mappings = issuer.get("issuer", {}), issuer.get("claimMappings", {})
    for field in ("url", "discoveryURL"):
        url = who.get(field, "" if field == "url" else "https://x")
        if urlsplit(url).scheme != "https" or not urlsplit(url).hostname:
            yield Fault("is not an https URL", "give the issuer's URL, as in its tokens", f"{at}.issuer.{field}", url)
    audiences = who.get("audiences", ())
    if not audiences:
        yield Fault(
            "is empty", "name the tokens' audience, such as the client's ID", f"{at}.issuer.audiences", audiences
        )
    elif len(audiences) > 1 and who.get("audienceMatchPolicy") != "MatchAny":
        remedy = 'set it to "MatchAny", as Kubernetes requires for several audiences'
        yield Fault("is not set", remedy, f"{at}.issuer.audienceMatchPolicy", who.get("audienceMatchPolicy"))
    if "certificateAuthority" in who and not _is_pem(who["certificateAuthority"]):
        yield Fault("holds no certificate", "give the text of its PEM file", f"{at}.issuer.certificateAuthority")
    if not mappings.get("username"):
        yield Fault("is missing", "name the claim with the user's name", f"{at}.claimMappings.username")
    for name in ("username", "groups"):
        yield from _mapping_faults(f"{at}.claimMappings.{name}", mappings.get(name, {}))


def _mapping_faults(at: str, mapping: Mapping[str, str]) -> Iterator[Fault]:
    if "claim" in mapping and "expression" in mapping:
        yield Fault("has both a claim and an expression", "keep one of them", at, dict(mapping))
    elif "claim" in mapping and "prefix" not in mapping:
        yield Fault("has no prefix", 'add one like "oidc:" to distinguish its names', at, dict(mapping))
    if mapping.get("prefix", "").startswith(RESERVED):
        yield Fault(
            "is a prefix of the cluster's own names", 'take one like "oidc:"', f"{at}.prefix", mapping["prefix"]
        )


def _shape_faults(at: str, value: object, shape: Any) -> Iterator[Fault]:
    """Yield keys that Kubernetes does not know there, and values of other types."""
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            yield Fault("is not a dict", f"its keys are {', '.join(shape)}", at, value)
            return
        for key, each in value.items():
            if key not in shape:
                yield Fault("is unknown", f"the keys are {', '.join(shape)}", f"{at}.{key}", each)
            else:
                yield from _shape_faults(f"{at}.{key}", each, shape[key])
    elif isinstance(shape, list):
        if not isinstance(value, (list, tuple)):
            yield Fault("is not a list", "write it in brackets", at, value)
            return
        for number, each in enumerate(value):
            yield from _shape_faults(f"{at}[{number}]", each, shape[0])
    elif not isinstance(value, shape):
        yield Fault("is not a text", "write it in quotes", at, value)


def _is_pem(text: str) -> bool:
    try:
        return bool(x509.load_pem_x509_certificates(text.encode()))
    except ValueError:
        return False


def group_roles(value: object) -> dict[str, tuple[str, ...]]:
    """Return the ClusterRoles of each group."""
    if not isinstance(value, Mapping):
        raise refused("is not a dict", 'write it like {"oidc:team": "edit"}')
    found = {}
    for group, roles in value.items():
        named: Sequence[object] = roles if isinstance(roles, (list, tuple)) else (roles,)
        if not (isinstance(group, str) and group and group.isprintable()):
            raise refused(f"has a group {group!r} that is not a name", "write it as tokens and certificates have it")
        if group.startswith(RESERVED):
            raise refused(f"has a group that is reserved for the cluster ({group})", "take another name")
        if not named or not all(isinstance(role, str) and role and not set(role) & set("/%") for role in named):
            raise refused(f"has no role for {group}", 'name a ClusterRole, such as "view", "edit" or "admin"')
        found[group] = tuple(map(str, named))
    return found
