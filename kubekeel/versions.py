"""The versions that run on a host, and each component's running, described and available versions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kubekeel.artifacts.supply import LOCAL_REGISTRY
from kubekeel.needs import STATIC_PODS
from kubekeel.release import Component
from kubekeel.render import BIN

UNITS = ("etcd", "containerd", "kubelet")
"""The systemd units; every look reads their versions."""

_MORE = ("flanneld", "kube-proxy")
_TOOLS = ("runc", "bridge", "crictl")
_IMAGES = ("coredns", "metrics-server")
_ASKED = frozenset({*UNITS, *_MORE, *_TOOLS, *_IMAGES, *STATIC_PODS})
# The first version in lines like "Kubernetes v1.37.2" and "etcd Version: 3.7.3".
_SHOWN = "awk 'match($0, /[0-9]+[.][0-9]+[.][0-9]+/) {print substr($0, RSTART, RLENGTH); exit}'"


def look(units: Iterable[str] = UNITS) -> str:
    """Return shell lines that print "runs NAME VERSION" for running units and for images in a master's manifests.

    They ask the running program, which may differ from the installed one; "stopped NAME VERSION" is of an installed one
    that does not run.
    """
    return f"""
set -- $(systemctl show -p MainPID --value {" ".join(f"{unit}.service" for unit in units)})
for unit in {" ".join(units)}; do
  word=runs program=/proc/${{1:-0}}/exe
  [ "${{1:-0}}" != 0 ] || word=stopped program={BIN}/$unit
  [ ! -x "$program" ] || echo "$word $unit v$(timeout 10 "$program" --version | {_SHOWN})"
  [ $# = 0 ] || shift
done
sed -n 's|^ *image: .*/\\(kube-[a-z-]*\\):\\(v[0-9.]*\\)$|runs \\1 \\2|p' /etc/kubernetes/manifests/*.yaml
"""


def whole_look() -> str:
    """Return the same shell lines for every component that has a version."""
    return f"""
{look((*UNITS, *_MORE))}
for tool in {" ".join(_TOOLS)}; do
  [ ! -x {BIN}/$tool ] || echo "runs $tool v$({BIN}/$tool --version 2>&1 | {_SHOWN})"
done
{BIN}/ctr -n k8s.io containers ls |
  sed -nE 's#.* {LOCAL_REGISTRY}/({"|".join(_IMAGES)}):(v[0-9.]*) .*#runs \\1 \\2#p'
"""


def read(lines: Iterable[str]) -> dict[str, str]:
    """Return the running versions that a look printed, by name; "runs" may be missing; "" is an unknown version."""
    printed = (line.removeprefix("runs ").split() for line in lines if line and not line.startswith("stopped "))
    return {name: "" if version == "v" else version for name, version in printed}


@dataclass(frozen=True)
class Known:
    """A component's described version, the hosts by running version, and the available versions."""

    component: str
    described: str
    running: Mapping[str, tuple[str, ...]]
    available: tuple[str, ...]


def known(
    components: Iterable[Component], running: Mapping[str, Mapping[str, str]], available: Mapping[str, tuple[str, ...]]
) -> Iterator[Known]:
    """Yield the versions of these components; `running` is by host, from `read`, `available` by component."""
    for component in components:
        names = {binary.name for binary in component.binaries} & _ASKED
        hosts: defaultdict[str, list[str]] = defaultdict(list)
        for host, versions in running.items():
            for version in sorted({versions[name] for name in names & versions.keys()} - {""}):
                hosts[version].append(host)
        yield Known(
            component.name,
            component.version,
            {version: tuple(each) for version, each in sorted(hosts.items())},
            available.get(component.name, ()),
        )
