"""Which versions run on a host, and what is known of each component: what runs, what is described, what can be had."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kubekeel.artifacts.supply import LOCAL_REGISTRY
from kubekeel.needs import STATIC_PODS
from kubekeel.release import Component

UNITS = ("etcd", "containerd", "kubelet")
"""Those of systemd's units whose programs are asked by every look."""

_MORE = ("flanneld", "kube-proxy")
_TOOLS = ("runc", "bridge", "crictl")
_IMAGES = ("coredns", "metrics-server")
_ASKED = frozenset({*UNITS, *_MORE, *_TOOLS, *_IMAGES, *STATIC_PODS})
# "Kubernetes v1.37.2", "etcd Version: 3.7.3": the first thing that looks like a version.
_SHOWN = "grep -oE '[0-9]+[.][0-9]+[.][0-9]+' | head -n 1"


def look(units: Iterable[str] = UNITS) -> str:
    """Shell lines that print "runs NAME VERSION": of units that run, and of what a master's manifests name.

    The program is asked that runs, which may not be the one any more that is there to be started.
    """
    return f"""
for unit in {" ".join(units)}; do
  process=$(systemctl show -p MainPID --value $unit.service)
  [ "${{process:-0}}" = 0 ] || echo "runs $unit v$(timeout 10 /proc/$process/exe --version | {_SHOWN})"
done
sed -n 's|^ *image: .*/\\(kube-[a-z-]*\\):\\(v[0-9.]*\\)$|runs \\1 \\2|p' /etc/kubernetes/manifests/*.yaml
"""


def whole_look() -> str:
    """The same, of everything that has a version."""
    return f"""
{look((*UNITS, *_MORE))}
for tool in {" ".join(_TOOLS)}; do
  [ ! -x /opt/kubekeel/bin/$tool ] || echo "runs $tool v$(/opt/kubekeel/bin/$tool --version 2>&1 | {_SHOWN})"
done
/opt/kubekeel/bin/ctr -n k8s.io images ls -q | sed -n 's|^{LOCAL_REGISTRY}/\\([a-z-]*\\):\\(v[0-9.]*\\)$|runs \\1 \\2|p'
"""


def read(lines: Iterable[str]) -> dict[str, str]:
    """By name the versions that a look printed, with or without its first word; "" where one could not be told."""
    told = (line.removeprefix("runs ").split() for line in lines if line)
    return {name: "" if version == "v" else version for name, version in told}


@dataclass(frozen=True)
class Known:
    """A component's version as it is described, with the hosts by the version that they run, and what can be had."""

    component: str
    described: str
    running: Mapping[str, tuple[str, ...]]
    available: tuple[str, ...]


def known(
    components: Iterable[Component], running: Mapping[str, Mapping[str, str]], available: Mapping[str, tuple[str, ...]]
) -> Iterator[Known]:
    """What is known of each of these components; `running` is by host, as `read` gave it, `available` by component."""
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
