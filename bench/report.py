"""Write docs/performance.md and its plot from the measurements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2

from bench import plot
from bench.first import First
from bench.kubeadm import Times
from bench.record import TRANSFER, WAITING
from bench.results import Results
from bench.scale import Size

_TEMPLATE = "performance.md.j2"
_WHY = {
    "first": "Kubekeel installs more than kubeadm: metrics-server alone serves only ten seconds after its start, with "
    "its first readings.",
    "scp": "pyinfra uses one Python process, so one core, for the SSH connections to all hosts. scp uses all cores.",
    "hundred": "This computer also runs all the hosts: the table below shows the processor time that they took.",
    "one more": "Until its first connection, the run takes as much processor time at 100 hosts as at 3. The rest is "
    "the time of the hosts, which run on this computer, too.",
}


@dataclass(frozen=True)
class Target:
    """A target, the result, and the reason if the result misses it."""

    what: str
    aim: str
    measured: str
    met: bool
    why: str = ""


def targets(first: First, kubeadm: Times, scale: tuple[Size, ...]) -> Iterator[Target]:
    """Yield every target, in the order of the table."""
    allowed = 1.25 * kubeadm.ready + first.split[TRANSFER]
    took = first.seconds + first.ready
    yield Target(
        "first deploy, until everything is available",
        f"1.25 times kubeadm's {kubeadm.ready:.0f} s and the transfer: {allowed:.0f} s",
        f"{took:.0f} s",
        took <= allowed,
        _WHY["first"],
    )
    pace = first.sending.scp / first.sending.plain
    yield Target("sending the same bytes", "80 % of scp's speed", f"{pace:.0%}", pace >= 0.8, _WHY["scp"])
    yield Target("nothing to do, 3 hosts: changes", "0", str(first.again_changes), first.again_changes == 0)
    yield Target(
        "nothing to do, 3 hosts: remote commands per host", "12", str(first.again_commands), first.again_commands <= 12
    )
    yield Target("nothing to do, 3 hosts: time", "5 s", f"{first.again_seconds:.1f} s", first.again_seconds <= 5)
    yield from _scale_targets(scale)


def _scale_targets(scale: tuple[Size, ...]) -> Iterator[Target]:
    by_hosts = {size.hosts: size for size in scale}
    ten, hundred = by_hosts[10], by_hosts[100]
    nothing = hundred.nothing.seconds
    yield Target("nothing to do, 100 hosts", "20 s", f"{nothing:.1f} s", nothing <= 20, _WHY["hundred"])
    small, large = (size.nothing.seconds / size.hosts for size in (ten, hundred))
    yield Target("the same, per host", "not more than with 10 hosts", f"{large:.2f} s, {small:.2f} s", large <= small)
    memory = max(size.nothing.memory for size in scale)
    yield Target("memory of the control machine, 100 hosts", "500 MB", f"{memory / 1e6:.0f} MB", memory <= 500e6)
    adding = [size.adding for size in scale]
    yield Target(
        f"one host added, at {', '.join(str(size.hosts) for size in scale)} hosts, with another one off",
        "the same within 20 %",
        ", ".join(f"{seconds:.1f} s" for seconds in adding),
        max(adding) <= 1.2 * min(adding),
        _WHY["one more"],
    )


def write(results: Results, docs: Path) -> None:
    """Write the page and its plot, if all parts are measured."""
    if not (results.first and results.kubeadm and results.scale):
        print("the page needs all parts; run `python3 -m bench` to measure the missing ones", flush=True)
        return
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    templates.filters["mb"] = lambda size: f"{size / 1e6:.1f}"
    text = templates.get_template(_TEMPLATE).render(
        results=results,
        first=results.first,
        kubeadm=results.kubeadm,
        scale=results.scale,
        targets=list(targets(results.first, results.kubeadm, results.scale)),
    )
    (docs / "performance.md").write_text(text)
    (docs / "images").mkdir(exist_ok=True)
    (docs / "images" / "performance.svg").write_text(_plot(results.first, results.kubeadm, results.scale))


def _plot(first: First, kubeadm: Times, scale: tuple[Size, ...]) -> str:
    ours = {**first.split, WAITING: first.split[WAITING] + first.ready}
    bars = {"Kubekeel": ours, "kubeadm": {"kubeadm": kubeadm.ready}}
    lines = {
        "nothing to do": {size.hosts: size.nothing.seconds for size in scale},
        "one file changed": {size.hosts: size.one_file.seconds for size in scale},
        "one host added": {size.hosts: size.adding for size in scale},
    }
    return plot.draw(bars, lines)
