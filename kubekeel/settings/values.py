"""Parsers of settings: each takes a value of the inventory and returns the cluster's value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import TypeVar
from urllib.parse import urlsplit

from kubekeel.release import chosen, unfit
from kubekeel.settings import Fault, Refused, refused

Batch = int | str
"""A number of nodes, or a part of them like "20%"."""
REFUSE = "refuse"
"""The value of `unreachable` for a run that needs every host."""

T = TypeVar("T")

_ROLE_LABEL = "node-role.kubernetes.io/"
# kubelet sets these labels itself, and add-ons and topologies depend on them.
_OWN_LABELS = frozenset(
    {
        *(f"kubernetes.io/{name}" for name in ("arch", "hostname", "os")),
        *(f"beta.kubernetes.io/{name}" for name in ("arch", "os")),
    }
)
API_PORT = 6443
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# API servers' certificates have these names, and a kubelet's certificate has its node's name.
_API_NAMES = frozenset({"kubernetes", "localhost"})
_WITH_PORT = re.compile(r"(?:\[([^]]+)\]|([0-9.]+)):([0-9]{1,5})")
# A brace counts only as a separate word (caddyfile/lexer.go of coredns/caddy).
_COREFILE_WORD = re.compile(r'"(?:\\.|[^"\\])*"|#[^\n]*|\S+')
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def one_of(choices: Sequence[T], what: str = "") -> Callable[[object], T]:
    def parse(value: object) -> T:
        for choice in choices:
            if value == choice:
                return choice
        raise refused(f"{what}is unknown", f"take one of {', '.join(map(repr, choices))}")

    return parse


def version_of(component: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if why := unfit(component, value):
            raise refused(*why)
        return str(value)

    return parse


def versions(value: object) -> dict[str, str]:
    known = [name for name in chosen() if name != "kubernetes"]
    if not isinstance(value, Mapping):
        raise refused("is not a dict", 'write it like {"containerd": "v2.4.3"}')
    for name, version in value.items():
        if name not in known:
            other = "set kubernetes_version" if name == "kubernetes" else f"the components are {', '.join(known)}"
            raise refused(f"has a component {name!r} whose version cannot be set", other)
        if why := unfit(name, version):
            problem, remedy = why
            raise refused(f"has a version of {name} that {problem}", remedy)
    return dict(value)


def between(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if type(value) is int and least <= value <= most:
            return value
        raise refused("is out of range", f"take a whole number from {least} to {most}")

    return parse


def batch(value: object) -> Batch:
    if type(value) is int and value >= 1:
        return value
    if isinstance(value, str) and re.fullmatch(r"([1-9]\d?|100)%", value):
        return value
    raise refused("is neither a number of nodes nor a percentage", 'take a whole number from 1, or one like "20%"')


def part_of(part: Batch, whole: int) -> int:
    """Return the number of nodes for a part of `whole`: the number itself; at least one for a percentage."""
    return part if isinstance(part, int) else max(1, whole * int(part.removesuffix("%")) // 100)


def unreachable(value: object) -> Batch:
    if value == REFUSE:
        return REFUSE
    try:
        return batch(value)
    except Refused:
        remedy = f'take "{REFUSE}", a whole number from 1, or a percentage like "10%"'
        raise refused("does not say how many hosts may be unreachable", remedy) from None


def flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise refused("is neither true nor false", "take True or False")


def maintenance(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise refused("has a maintenance that is neither true nor false", "take True or False")


def label(value: object) -> str:
    if isinstance(value, str) and _LABEL.fullmatch(value):
        return value
    if value == "@local":
        raise refused("is not a DNS label", 'give this computer a name, and ssh_hostname = "127.0.0.1"')
    raise refused("is not a DNS label", "take lower case letters, digits and inner hyphens, 63 characters at most")


def node_name(value: object) -> str:
    name = label(value)
    if name in _API_NAMES:
        raise refused("has a name that the API uses", "take another one")
    return name


def is_domain(text: str) -> bool:
    return len(text) <= 253 and all(_LABEL.fullmatch(part) for part in text.split("."))


def domain(value: object) -> str:
    if isinstance(value, str) and is_domain(value):
        return value
    raise refused("is not a domain", "take lower case DNS labels joined by dots, like cluster.local")


def network(value: object) -> IPv4Network:
    remedy = "give an IPv4 network like 10.244.0.0/16"
    if not isinstance(value, str) or "/" not in value:
        raise refused("is not a network", remedy)
    try:
        network = IPv4Network(value, strict=False)
    except ValueError as error:
        raise refused("is not a network", remedy) from error
    if str(network) != value:
        raise refused("has host bits set or an unusual mask", f"write {network}")
    if reserved(network.network_address) or reserved(network.broadcast_address):
        raise refused("is in a reserved range", "take a private network like 10.244.0.0/16")
    return network


def reserved(address: IPv4Address) -> bool:
    return (
        address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or address.is_reserved
        or address in IPv4Network("0.0.0.0/8")
    )


def address(value: object) -> str:
    try:
        address = IPv4Address(value if isinstance(value, str) else "")
    except ValueError as error:
        raise refused("has no IPv4 address", "give the address at which other hosts reach it") from error
    if reserved(address):
        raise refused("has an address that no other host can reach", "give the address at which other hosts reach it")
    return str(address)


def node_port_addresses(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise refused("is not a list", 'write it like ("primary",) or ("192.168.1.0/24",)')
    if wrong := [each for each in value if each != "primary" and not _is_network(each)]:
        raise refused('has an entry that is neither a network nor "primary"', f"correct {wrong}")
    if "primary" in value and len(value) > 1:
        raise refused('has more than "primary"', 'keep only "primary", or only networks')
    return tuple(value)


def _is_network(value: object) -> bool:
    try:
        return isinstance(value, str) and "/" in value and str(IPv4Network(value)) == value
    except ValueError:
        return False


def vip(value: object) -> str | None:
    if value is None:
        return None
    try:
        return address(value)
    except Refused as error:
        raise refused("is not an IPv4 address", "give a free address in the masters' network") from error


def mirror(value: object) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise refused("names no mirror", "give the mirror's folder or base URL")


def web_server(value: object) -> str | None:
    """Return the base URL without a slash at its end; hosts read it, so it must not contain credentials."""
    if value is None:
        return None
    remedy = 'write it like "https://files.example.org/kubekeel"'
    if not isinstance(value, str) or not value.isprintable() or set(value) & set("\"'\\ ?#"):
        raise refused("is not a base URL", remedy)
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise refused("is not a base URL", remedy) from error
    if "@" in parts.netloc:
        raise Refused(
            Fault("has a user's name in it", f"{remedy}; allow the hosts by their addresses", seen="not shown")
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refused("is not a base URL", remedy)
    return value.rstrip("/")


def api_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise refused("is not a list", 'write it like ("api.example.org", "203.0.113.7")')
    wrong = [name for name in value if not is_api_name(name)]
    if wrong:
        raise refused("has an entry that is neither a DNS name nor an address", f"correct {wrong}")
    return tuple(value)


def is_api_name(name: object) -> bool:
    if not isinstance(name, str):
        return False
    try:
        ip_address(name)
    except ValueError:
        # No top-level domain is a number, so such a name is a mistyped address.
        return is_domain(name) and not name.rpartition(".")[2].isdigit()
    return True


def endpoint(value: object) -> str:
    """Return the endpoint with a port, 6443 by default; "" stays ""."""
    if value == "":
        return ""
    name, _, port = value.partition(":") if isinstance(value, str) else ("", "", "")
    remedy = 'write it like "api.example.org", or "203.0.113.7:443" with a port'
    if not is_api_name(name):
        raise refused("is neither a DNS name nor an IPv4 address", remedy)
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise refused("has a port that is not a number from 1 to 65535", remedy)
    return f"{name}:{port or API_PORT}"


def name_servers(value: object) -> tuple[str, ...]:
    remedy = 'write addresses like ["192.0.2.53", "192.0.2.54:5353"]'
    if not isinstance(value, (list, tuple)):
        raise refused("is not a list", remedy)
    # The limit of CoreDNS' forward.
    if len(value) > 15:
        raise refused("has more than 15 name servers", "take fewer")
    for server in value:
        try:
            known = _server_address(server if isinstance(server, str) else "")
        except ValueError as error:
            raise refused(f"has a name server {server!r} that is not an address", remedy) from error
        if known.is_loopback:
            raise refused(f"has a name server {server!r} on a loopback address, which leads pods to themselves", remedy)
    return tuple(value)


def _server_address(server: str) -> IPv4Address | IPv6Address:
    """Return the address without an optional port; ValueError if it is not an address."""
    if not (match := _WITH_PORT.fullmatch(server)):
        return ip_address(server)
    if not 0 < int(match[3]) < 65536:
        raise ValueError(server)
    return ip_address(match[1] or match[2])


def zones(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, Mapping):
        raise refused("is not a dict", 'write it like {"corp.example": ["192.0.2.53"]}')
    for zone, servers in value.items():
        if not (isinstance(zone, str) and is_domain(zone)):
            raise refused(f"has a zone {zone!r} that is not a domain", "take lower case DNS labels joined by dots")
        if not servers:
            raise refused(f"has no name server for {zone}", "name one, or leave the zone out")
    return {zone: name_servers(servers) for zone, servers in value.items()}


def known_hosts(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise refused("is not a dict", 'write it like {"mail.corp.example": "192.0.2.25"}')
    for name, known in value.items():
        if not (isinstance(name, str) and is_domain(name)):
            raise refused(f"has a name {name!r} that is not a DNS name", "take lower case DNS labels joined by dots")
        try:
            ip_address(known if isinstance(known, str) else "")
        except ValueError as error:
            raise refused(f"has no address for {name}", "give an IPv4 or IPv6 address") from error
    return dict(value)


def corefile(value: object) -> str:
    remedy = 'write servers like "corp.example:53 {\\n  forward . 192.0.2.60\\n}\\n"'
    if not isinstance(value, str):
        raise refused("is not text", remedy)
    depth = 0
    for word in _COREFILE_WORD.findall(value):
        depth += {"{": 1, "}": -1}.get(word, 0)
        if depth < 0:
            break
    if depth:
        raise refused("has braces that do not match", remedy)
    return value


def labels(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise refused("has labels that are not a dict", 'write them like {"disk": "ssd"}')
    for key, text in value.items():
        if not (isinstance(key, str) and isinstance(text, str) and is_label(key, text)):
            raise refused(f"has a malformed label {key!r}", "follow Kubernetes' syntax of labels")
        if key.startswith(_ROLE_LABEL):
            raise refused(f"has a role's label {key!r}", "put the host into groups instead")
        if key in _OWN_LABELS:
            raise refused(f"has a label that kubelet sets itself {key!r}", "remove it")
    return dict(value)


def annotated(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise refused("has annotations that are not a dict", 'write them like {"example.org/rack": "12"}')
    for key, text in value.items():
        if not (isinstance(key, str) and isinstance(text, str) and is_label(key, "")):
            raise refused(f"has a malformed annotation {key!r}", "follow Kubernetes' syntax of annotations")
        if re.fullmatch(r"(.+\.)?(kubernetes|k8s)\.io", key.rpartition("/")[0]):
            raise refused(f"has an annotation of Kubernetes' own {key!r}", "remove it")
    return dict(value)


def taints(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise refused("has taints that are not a dict", 'write them like {"dedicated:NoSchedule": "database"}')
    for taint, text in value.items():
        key, _, effect = taint.partition(":") if isinstance(taint, str) else ("", "", "")
        if not (isinstance(text, str) and is_label(key, text)):
            raise refused(f"has a malformed taint {taint!r}", "follow Kubernetes' syntax of taints")
        if effect not in _EFFECTS:
            raise refused(f"has a taint without an effect {taint!r}", f"write KEY:EFFECT, of {', '.join(_EFFECTS)}")
        if key.startswith((_ROLE_LABEL, "node.kubernetes.io/")):
            raise refused(f"has a taint of Kubernetes' own {taint!r}", "remove it; a master gets its own by its group")
    return dict(value)


def is_label(key: str, value: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return (
        (is_domain(prefix) if slash else True)
        and _QUALIFIED.fullmatch(name) is not None
        and (not value or _QUALIFIED.fullmatch(value) is not None)
    )
