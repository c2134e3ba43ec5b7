"""A bar chart as a picture that is readable in light and in dark, with no script and nothing from another host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 760  # pixels, as all below
NAMES: Final = 250
BARS: Final = 400
ROW: Final = 26
TOP: Final = 48
MARGIN: Final = 16
BASELINE: Final = 17  # of a row's text, from its top

STYLE: Final = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
.title { font-weight: bold; }
.note { font-size: 12px; fill: #59636e; }
.back { fill: #ffffff; stroke: #d1d9e0; }
.bar { fill: #9aa4af; } .ours { fill: #1a7f37; } .promises { fill: #57606a; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .note { fill: #9198a1; }
  .back { fill: #0d1117; stroke: #3d444d; }
  .bar { fill: #656c76; } .ours { fill: #3fb950; } .promises { fill: #9198a1; }
}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One worker.

    Attributes:
        name: As it is shown.
        value: Its length, and what is written behind it.
        kind: `ours`, `promises` or `bar`: its colour.
    """

    name: str
    value: float
    kind: str


def draw(title: str, note: str, bars: Sequence[Bar]) -> str:
    """The chart: the shortest bar on top."""
    longest = max(bar.value for bar in bars)
    rows = [_row(bar, TOP + ROW * place, longest) for place, bar in enumerate(sorted(bars, key=lambda bar: bar.value))]
    height = TOP + ROW * len(bars) + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="back" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
            f'<text class="title" x="{MARGIN}" y="20">{escape(title)}</text>',
            f'<text class="note" x="{MARGIN}" y="37">{escape(note)}</text>',
            *rows,
            "</svg>\n",
        ]
    )


def _row(bar: Bar, top: int, longest: float) -> str:
    length = round(BARS * bar.value / longest)
    return (
        f'<text x="{NAMES - 8}" y="{top + BASELINE}" text-anchor="end">{escape(bar.name)}</text>'
        f'<rect class="{bar.kind}" x="{NAMES}" y="{top + 4}" width="{length}" height="{ROW - 8}" rx="2"/>'
        f'<text x="{NAMES + length + 8}" y="{top + BASELINE}">{bar.value:.2f}</text>'
    )
