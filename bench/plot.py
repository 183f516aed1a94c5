"""A picture of how something grows: SVG, both axes logarithmic, nothing but text and lines.

Beside each curve stand two thin lines from its first point: as it would go if it were flat, and if
it grew as much as what it is drawn over.
"""

from collections.abc import Mapping, Sequence
from math import log10
from pathlib import Path
from typing import Final, NamedTuple

WIDTH: Final = 360
HEIGHT: Final = 260
LEFT: Final = 60
RIGHT: Final = 25
TOP: Final = 40
BOTTOM: Final = 35
STYLE: Final = (
    "text{font:12px sans-serif;fill:#555}path{fill:none;stroke:#888;stroke-width:1}"
    ".guide{stroke-dasharray:2 4}.curve{stroke:#1668a8;stroke-width:2}circle{fill:#1668a8}"
    ".name{font-weight:bold}"
)


class Curve(NamedTuple):
    """One panel."""

    name: str
    unit: str
    points: Mapping[int, float]
    """Value by size, both above zero, sizes ascending."""


def draw(path: Path, curves: Sequence[Curve]) -> None:
    """Write the panels beside each other."""
    panels = "".join(
        f'<g transform="translate({place * WIDTH} 0)">{_draw_panel(curve)}</g>'
        for place, curve in enumerate(curves)
    )
    size = f'width="{WIDTH * len(curves)}" height="{HEIGHT}"'
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        f"<style>{STYLE}</style>{panels}</svg>\n",
        encoding="utf-8",
    )


def _draw_panel(curve: Curve) -> str:
    sizes, values = list(curve.points), list(curve.points.values())
    growth = sizes[-1] / sizes[0]
    low, high = min(values) / 2, max(*values, values[0] * growth) * 1.5

    def at(size: float, value: float) -> tuple[float, float]:
        right = log10(size / sizes[0]) / log10(growth)
        up = log10(value / low) / log10(high / low)
        across = LEFT + right * (WIDTH - LEFT - RIGHT)
        return round(across, 1), round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1)

    def line(kind: str, points: Sequence[tuple[float, float]]) -> str:
        steps = " L".join(f"{x} {y}" for x, y in points)
        return f'<path class="{kind}" d="M{steps}"/>'

    spots = [at(size, value) for size, value in curve.points.items()]
    flat, steep = at(sizes[-1], values[0]), at(sizes[-1], values[0] * growth)
    corner = HEIGHT - BOTTOM
    parts = [
        f'<text class="name" x="{LEFT}" y="20">{curve.name}</text>',
        line("axis", [(LEFT, TOP), (LEFT, corner), (WIDTH - RIGHT, corner)]),
        line("guide", [spots[0], flat]),
        line("guide", [spots[0], steep]),
        line("curve", spots),
    ]
    for (x, y), size, value in zip(spots, sizes, values, strict=True):
        anchor = "end" if size == sizes[-1] else "middle" if size != sizes[0] else "start"
        parts += [
            f'<circle cx="{x}" cy="{y}" r="3"/>',
            f'<text x="{x}" y="{y - 9}" text-anchor="{anchor}">{value:,.0f} {curve.unit}</text>',
            f'<text x="{x}" y="{corner + 18}" text-anchor="{anchor}">{size:,}</text>',
        ]
    return "".join(parts)
