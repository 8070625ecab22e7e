"""Plots as SVG, without a library: it only draws bars and lines."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

WIDTH, HEIGHT = 860, 560
COLOURS = {
    "checking": "#8d99ae",
    "transfer": "#3d7ea6",
    "configuration": "#2a9d8f",
    "waiting": "#e9a23b",
    "kubeadm": "#6d597a",
}
_LEFT, _RIGHT = 130, 40
_LINE_COLOURS = ("#2a9d8f", "#6d597a", "#e76f51", "#3d7ea6")
_APART = 24


def draw(bars: Mapping[str, Mapping[str, float]], lines: Mapping[str, Mapping[int, float]]) -> str:
    """Return an SVG: above, stacked bars of seconds by kind; below, lines of seconds over numbers of hosts."""
    parts = [*_bars(bars), *_lines(lines)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="13">\n<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _bars(bars: Mapping[str, Mapping[str, float]]) -> list[str]:
    scale = (WIDTH - _LEFT - _RIGHT) / _nice(max(sum(parts.values()) for parts in bars.values()))
    drawn = [_text(_LEFT, 24, "First deploy of three machines: seconds", weight="bold")]
    for row, (name, parts) in enumerate(bars.items()):
        x, y = float(_LEFT), 44 + row * 42
        drawn.append(_text(_LEFT - 10, y + 20, name, anchor="end"))
        for kind, seconds in parts.items():
            drawn.append(
                f'<rect x="{x:.1f}" y="{y}" width="{seconds * scale:.1f}" height="30" fill="{COLOURS[kind]}"/>'
            )
            x += seconds * scale
        drawn.append(_text(x + 6, y + 20, f"{sum(parts.values()):.0f} s"))
    kinds = [kind for kind in COLOURS if any(kind in parts for parts in bars.values())]
    for place, kind in enumerate(kinds):
        x, y = _LEFT + place * 130, 44 + len(bars) * 42 + 6
        drawn.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{COLOURS[kind]}"/>')
        drawn.append(_text(x + 18, y + 11, kind))
    return drawn


def _lines(lines: Mapping[str, Mapping[int, float]]) -> list[str]:
    top, bottom = 220, HEIGHT - 60
    hosts = sorted({size for points in lines.values() for size in points})
    most = _nice(max(seconds for points in lines.values() for seconds in points.values()))
    across = (WIDTH - _LEFT - _RIGHT - 120) / max(hosts)
    down = (bottom - top) / most
    drawn = [
        _text(_LEFT, top - 16, "Runs over many hosts: seconds", weight="bold"),
        f'<path d="M{_LEFT} {top} V{bottom} H{_LEFT + max(hosts) * across:.1f}" fill="none" stroke="black"/>',
    ]
    for step in range(5):
        seconds = most * step / 4
        drawn.append(_text(_LEFT - 10, bottom - seconds * down + 4, f"{seconds:g}", anchor="end"))
    for size, before in zip(hosts, (-max(hosts), *hosts), strict=False):
        if (size - before) * across >= _APART:
            drawn.append(_text(_LEFT + size * across, bottom + 20, str(size), anchor="middle"))
    drawn.append(_text(_LEFT + max(hosts) * across + 14, bottom + 20, "hosts"))
    for colour, (name, points) in zip(_LINE_COLOURS, lines.items(), strict=False):
        places = [(_LEFT + size * across, bottom - seconds * down) for size, seconds in sorted(points.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        drawn.append(_text(places[-1][0] + 10, places[-1][1] + 4, name, fill=colour))
    return drawn


def _nice(most: float) -> float:
    """Return the next round number from `most` on, for the end of an axis."""
    size = 1.0
    while True:
        for step in (1, 2, 4):
            if size * step >= most:
                return size * step
        size *= 10


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal", fill: str = "black") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{fill}">'
        f"{escape(text)}</text>"
    )
