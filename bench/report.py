"""Write docs/performance.md and its plot from the measurements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import jinja2

from bench import plot
from bench.first import First
from bench.kubeadm import Times
from bench.pull import Pull
from bench.record import CHECKING, CONFIGURATION, TRANSFER, WAITING
from bench.results import Results
from bench.scale import Scale, Size
from bench.upgrade import Away

_TEMPLATE = "performance.md.j2"
COMPUTED = 1000
"""The number of hosts for which the page has computed values."""


@dataclass(frozen=True)
class Target:
    """A target, the result, and the reason if the result misses it."""

    what: str
    aim: str
    measured: str
    met: bool
    why: str = ""


def targets(first: First, kubeadm: Times, scale: Scale, pull: Pull, upgrade: Away) -> Iterator[Target]:
    """Yield every target, in the order of the table."""
    yield from _nothing_targets(first, scale)
    yield from _transfer_targets(first, pull)
    yield _first_target(first, kubeadm)
    yield from _scale_targets(scale)
    yield Target(
        f"one master, {upgrade.old} to {upgrade.new}: time without the API",
        f"kubeadm's: {upgrade.kubeadm:.1f} s",
        f"{upgrade.kubekeel:.1f} s",
        upgrade.kubekeel <= upgrade.kubeadm,
    )


def _nothing_targets(first: First, scale: Scale) -> Iterator[Target]:
    hundred = _at(scale, 100)
    yield Target(
        "nothing to do: changes",
        "0",
        f"{first.again_changes} at 3 hosts, {hundred.nothing.changes} at 100",
        first.again_changes == hundred.nothing.changes == 0,
    )
    yield Target(
        "nothing to do: remote commands per host",
        "3",
        f"{first.again_commands} at 3 hosts, {hundred.nothing.commands} at 100",
        max(first.again_commands, hundred.nothing.commands) <= 3,
    )
    rest = " The rest is the time of the hosts' two looks, one after the other; the hosts share its cores."
    yield _beside_bare(3, first.again_seconds, first.bare_seconds, _took(first.again_cpu) + rest)
    quiet = hundred.nothing
    hosts = f" The hosts, which share its cores, took {quiet.machines_cpu:.1f} s."
    yield _beside_bare(100, quiet.seconds, hundred.bare, _took(quiet.control_cpu) + hosts)


def _took(cpu: float) -> str:
    return f"The control machine took {cpu:.1f} s of processor time; the profile below shows for which functions."


def _beside_bare(hosts: int, seconds: float, bare: float, why: str) -> Target:
    return Target(
        f"nothing to do, {hosts} hosts: time",
        f"2 times `pyinfra exec -- true`: {2 * bare:.1f} s",
        f"{seconds:.1f} s, {seconds / bare:.1f} times",
        seconds <= 2 * bare,
        why,
    )


def _transfer_targets(first: First, pull: Pull) -> Iterator[Target]:
    pace = first.sending.scp / first.sending.plain
    yield Target(
        "sending the same bytes to 3 hosts",
        "90 % of scp's pace",
        f"{pace:.1%}",
        pace >= 0.9,
        "pyinfra uses one Python process, so one core, for the SSH connections to all hosts. scp uses all cores.",
    )
    yield Target(
        "hosts fetch the files: bytes from the control machine",
        "1 MB per host",
        f"{pull.sent / 1e6:.2f} MB",
        pull.sent < 1e6,
    )
    fetched = pull.curl / pull.seconds
    yield Target(
        f"hosts fetch the files, {pull.hosts} hosts at once",
        "90 % of plain curl's pace",
        f"{fetched:.0%}",
        fetched >= 0.9,
        "The hosts and the web server share the cores of this computer. To compute the SHA-256 of the files, without"
        f" any download, the hosts need {pull.checking:.1f} s. Plain curl computes none.",
    )


def _first_target(first: First, kubeadm: Times) -> Target:
    took = first.seconds + first.ready
    transfer = first.split[TRANSFER]
    return Target(
        "first deploy, until everything is available",
        f"kubeadm's time with everything in place: {kubeadm.ready:.1f} s",
        f"{took:.1f} s, {took / kubeadm.ready:.2f} times",
        took <= kubeadm.ready,
        f"Of Kubekeel's time, {transfer:.1f} s are the transfer, which kubeadm's time does not contain. The other"
        f" {took - transfer:.1f} s are checks ({first.split[CHECKING]:.1f} s), configuration"
        f" ({first.split[CONFIGURATION]:.1f} s) and waiting ({first.split[WAITING] + first.ready:.1f} s). In this"
        " time Kubekeel installs more than kubeadm: two more etcd members, a dashboard, and metrics-server, which"
        " serves ten seconds after its start at the earliest.",
    )


def _scale_targets(scale: Scale) -> Iterator[Target]:
    ten, hundred = _at(scale, 10), _at(scale, 100)
    small, large = (size.nothing.seconds / size.hosts for size in (ten, hundred))
    yield Target(
        "nothing to do, 100 hosts: time per host", "not more than with 10 hosts", f"{large:.2f} s, {small:.2f} s",
        large <= small,
    )  # fmt: skip
    largest = scale.sizes[-1]
    memory = max(size.nothing.memory for size in scale.sizes)
    yield Target(
        f"memory of the control machine, {largest.hosts} hosts", "500 MB", f"{memory / 1e6:.0f} MB", memory <= 500e6
    )
    adding = [size.adding for size in scale.sizes]
    yield Target(
        f"one host added, at {', '.join(str(size.hosts) for size in scale.sizes)} hosts, with another one off",
        "the same within 20 %",
        ", ".join(f"{seconds:.1f} s" for seconds in adding),
        max(adding) <= 1.2 * min(adding),
        "The run reads and checks the whole inventory, and makes the keys of the new host, before its first connection."
        " The rest is the time of that host, and of the first one, which run on this computer, too.",
    )


def _at(scale: Scale, hosts: int) -> Size:
    return next(size for size in scale.sizes if size.hosts == hosts)


def write(results: Results, docs: Path) -> None:
    """Write the page and its plot, if all parts are measured."""
    if not (results.first and results.kubeadm and results.scale and results.pull and results.upgrade):
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
    templates.filters["values"] = lambda size: lambda name: attrgetter(name)(size)
    templates.filters["computed_values"] = lambda scale: lambda name: scale.computed(COMPUTED, attrgetter(name))
    text = templates.get_template(_TEMPLATE).render(
        results=results,
        first=results.first,
        kubeadm=results.kubeadm,
        scale=results.scale,
        pull=results.pull,
        computed=COMPUTED,
        targets=list(targets(results.first, results.kubeadm, results.scale, results.pull, results.upgrade)),
    )
    (docs / "performance.md").write_text(text)
    (docs / "images").mkdir(exist_ok=True)
    (docs / "images" / "performance.svg").write_text(_plot(results.first, results.kubeadm, results.scale))


def _plot(first: First, kubeadm: Times, scale: Scale) -> str:
    ours = {**first.split, WAITING: first.split[WAITING] + first.ready}
    bars = {"Kubekeel": ours, "kubeadm": {"kubeadm": kubeadm.ready}}
    lines = {
        "nothing to do": {size.hosts: size.nothing.seconds for size in scale.sizes},
        "... its own part": {size.hosts: size.nothing.control_cpu for size in scale.sizes},
        "one file changed": {size.hosts: size.one_file.seconds for size in scale.sizes},
        "one host added": {size.hosts: size.adding for size in scale.sizes},
    }
    return plot.draw(bars, lines)
