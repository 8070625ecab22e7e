"""From what was measured to docs/performance.md and its plot."""

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
    "first": "It brings more than kubeadm does: metrics-server alone serves only ten seconds after its start, with its "
    "first readings.",
    "scp": "pyinfra speaks SSH in one Python process: one core does for all hosts what scp does on all there are.",
    "hundred": "This computer plays all hosts as well: see the processor time it spent on that, which would be theirs.",
    "one more": "Up to its first connection the run spends as much processor time at 100 hosts as at 3; the rest comes "
    "with the hosts that this computer plays meanwhile.",
}


@dataclass(frozen=True)
class Target:
    """What was aimed at, what came of it, and why where it was missed."""

    what: str
    aim: str
    measured: str
    met: bool
    why: str = ""


def targets(first: First, kubeadm: Times, scale: tuple[Size, ...]) -> Iterator[Target]:
    """Every target, in the order of the table."""
    allowed = 1.25 * kubeadm.ready + first.split[TRANSFER]
    took = first.seconds + first.ready
    yield Target(
        "first deploy, bare hosts to all available",
        f"1.25 times kubeadm's {kubeadm.ready:.0f} s and the transfer: {allowed:.0f} s",
        f"{took:.0f} s",
        took <= allowed,
        _WHY["first"],
    )
    pace = first.sending.scp / first.sending.plain
    yield Target("sending the same bytes", "80 % of scp's pace", f"{pace:.0%}", pace >= 0.8, _WHY["scp"])
    yield Target("nothing to do, 3 hosts", "0 changes", str(first.again_changes), first.again_changes == 0)
    yield Target("", "12 remote commands a host", str(first.again_commands), first.again_commands <= 12)
    yield Target("", "5 s", f"{first.again_seconds:.1f} s", first.again_seconds <= 5)
    yield from _scale_targets(scale)


def _scale_targets(scale: tuple[Size, ...]) -> Iterator[Target]:
    by_hosts = {size.hosts: size for size in scale}
    ten, hundred = by_hosts[10], by_hosts[100]
    nothing = hundred.nothing.seconds
    yield Target("nothing to do, 100 hosts", "20 s", f"{nothing:.1f} s", nothing <= 20, _WHY["hundred"])
    small, large = (size.nothing.seconds / size.hosts for size in (ten, hundred))
    yield Target("a host's share of that", "no more at 100 than at 10", f"{large:.2f} s, {small:.2f} s", large <= small)
    memory = max(size.nothing.memory for size in scale)
    yield Target("memory of the control machine, 100 hosts", "500 MB", f"{memory / 1e6:.0f} MB", memory <= 500e6)
    adding = [size.adding for size in scale]
    yield Target(
        f"one host more, at {', '.join(str(size.hosts) for size in scale)}, with another one off",
        "the same within 20 %",
        ", ".join(f"{seconds:.1f} s" for seconds in adding),
        max(adding) <= 1.2 * min(adding),
        _WHY["one more"],
    )


def write(results: Results, docs: Path) -> None:
    """The page and its plot, once all parts were measured."""
    if not (results.first and results.kubeadm and results.scale):
        print("the page needs all parts; run `python3 -m bench` for those that are missing", flush=True)
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
        "one host more": {size.hosts: size.adding for size in scale},
    }
    return plot.draw(bars, lines)
