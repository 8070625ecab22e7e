"""The settings of the user's images, of registries and of proxies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from kubekeel.settings import Fault, Refused, group_of, optional, refused, required
from kubekeel.settings.values import flag

ANY = "*"
"""The name for all registries without an entry."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:\d{1,5})?")


def path(value: object) -> str:
    if isinstance(value, str) and value and value.isprintable():
        return value
    raise refused("is not the name of a file", "give one, from the folder of the inventory")


def user(value: object) -> str:
    if isinstance(value, str) and value.isprintable() and ":" not in value:
        return value
    raise refused("is not a user's name", "write it without a colon")


def _mirrors(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise refused("is not a list", 'write it like ["https://mirror.example:5000"]')
    if wrong := [each for each in value if not _is_url(each)]:
        raise refused("has an entry that is not the URL of a host", f"correct {', '.join(map(_shown, wrong))}")
    return tuple(each.rstrip("/") for each in value)


def _is_url(value: object) -> bool:
    if not (isinstance(value, str) and value.isprintable() and not set(value) & set("\"'\\ ")):
        return False
    parts = urlsplit(value)
    # Credentials have no place in files that people read.
    return parts.scheme in ("http", "https") and _NAME.fullmatch(parts.netloc) is not None and not parts.query


def _shown(value: object) -> str:
    return re.sub(r"//[^/@]*@", "//...@", str(value))


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Access to one registry; its mirrors come first, each by its own entry."""

    mirrors: tuple[str, ...] = optional(_mirrors, ())
    ca: str = optional(path, "")
    username: str = optional(user, "")
    password_file: str = optional(path, "")
    plain_http: bool = optional(flag, False)


_registry = group_of(Registry)


def registries(value: object) -> dict[str, Registry]:
    if not isinstance(value, Mapping):
        raise refused("is not a dict", 'write it like {"docker.io": {"mirrors": ["https://mirror.example:5000"]}}')
    found, faults = {}, []
    for name, entry in value.items():
        try:
            found[name] = _read(name, entry)
        except Refused as refusal:
            faults += [_without_passwords(name, entry, fault) for fault in refusal.faults]
    if faults:
        raise Refused(*faults)
    return found


def _without_passwords(name: object, entry: object, fault: Fault) -> Fault:
    """Return a registry's fault without passwords, wherever users put them."""
    seen = fault.seen
    if fault.problem == "is unknown":
        seen = "not shown"
    elif seen is ...:
        seen = ", ".join(map(str, entry)) if isinstance(entry, Mapping) else entry
    return replace(fault, at=f".{name}{fault.at}", seen=_shown(seen))


def _read(name: object, entry: object) -> Registry:
    if not (isinstance(name, str) and (name == ANY or _NAME.fullmatch(name))):
        raise refused("is not a registry", 'write it like "docker.io", "registry.example:5000", or "*" for all others')
    registry = _registry(entry)
    if bool(registry.username) != bool(registry.password_file):
        raise refused("has only one of username and password_file", "give both, or neither")
    if name == ANY and registry != Registry(mirrors=registry.mirrors):
        raise refused("has more than mirrors for every registry", "move the rest to entries of single registries")
    if registry.plain_http and registry.ca:
        raise refused("has both ca and plain_http", "remove one of them")
    return registry


@dataclass(frozen=True, kw_only=True)
class Archives:
    """Archives of images, by a pattern of file names; a full node removes images that are not `pinned`."""

    files: str = required(path, "")
    pinned: bool = optional(flag, True)


_archives = group_of(Archives)


def archives(value: object) -> tuple[Archives, ...]:
    if not isinstance(value, (list, tuple)):
        raise refused("is not a list", 'write it like ["images/*.tar"]')
    found, faults = [], []
    for number, entry in enumerate(value):
        try:
            found.append(_archives({"files": entry} if isinstance(entry, str) else entry))
        except Refused as refusal:
            faults += [fault.within(f"[{number}]", entry) for fault in refusal.faults]
    if faults:
        raise Refused(*faults)
    return tuple(found)


def proxy(value: object) -> str:
    if value == "":
        return ""
    parts = (
        urlsplit(value) if isinstance(value, str) and value.isprintable() and not set(value) & set(" \"'\\") else None
    )
    if parts and parts.scheme in ("http", "https") and parts.hostname:
        return str(value)
    raise Refused(Fault("is not the URL of a proxy", 'write it like "http://proxy.example:3128"', seen=_shown(value)))


def no_proxy(value: object) -> str:
    if isinstance(value, str) and value.isprintable() and not set(value) & set(" \"'\\"):
        return value.strip(",")
    raise refused("is not a list of names and networks", 'write it like ".example.org,192.0.2.0/24"')
