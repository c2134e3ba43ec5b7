"""Record what a command prints, as a picture: `record.py docs/demo.svg make demo`.

The command runs in a terminal of its own, and must end well. The picture is its text, readable in light and in dark,
with no script and nothing from another host. Of a run of lines of one kind the first and the last are shown, and of a
long text the beginning and the end; what is left out is marked.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final

COLUMNS: Final = 110
FONT: Final = 13  # pixels
ADVANCE: Final = 7.8  # pixels a character takes: 0.6 of the font
LINE: Final = 18  # pixels
MARGIN: Final = 16  # pixels
MOST_ROWS: Final = 46  # a screen
LAST_ROWS: Final = 19  # of them, those that end it
LEFT_OUT: Final = "  ⋮"

_ESCAPE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
_DIFFERS: Final = re.compile(r"\s*\d+|(?<=^dead-lettered: )\w+")  # between lines of one kind

STYLE: Final = f"""
text {{ font: {FONT}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre; fill: #1f2328; }}
.typed {{ font-weight: bold; }}
rect {{ fill: #f6f8fa; stroke: #d1d9e0; }}
@media (prefers-color-scheme: dark) {{
  text {{ fill: #e6edf3; }}
  rect {{ fill: #161b22; stroke: #3d444d; }}
}}
"""


def record(command: Sequence[str]) -> str:
    """Run a command in a terminal, and give what it printed.

    Raises:
        SystemExit: It did not end well.
    """
    os.environ |= {"COLUMNS": str(COLUMNS), "TERM": "dumb"}
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # under another make, `make` says more
        os.environ.pop(name, None)
    printed = bytearray()

    def read(terminal: int) -> bytes:
        part = os.read(terminal, 65536)
        printed.extend(part)
        return part

    if status := pty.spawn(list(command), read):
        sys.exit(f"{shlex.join(command)} ended with exit code {os.waitstatus_to_exitcode(status)}")
    return printed.decode()


def lines(printed: str) -> list[str]:
    """What a terminal shows in the end: no escape sequences, and of a line that is written again, its last state."""
    rows = _ESCAPE.sub("", printed).replace("\r\n", "\n").rstrip("\n").split("\n")
    return [row.rstrip("\r").rpartition("\r")[2] for row in rows]


def shortened(rows: Iterable[str]) -> list[str]:
    """The rows, of which those that differ from both neighbours in numbers, or in the error, only are left out."""
    rows = list(rows)
    shapes = [None, *(_DIFFERS.sub("#", row) if row.strip() else None for row in rows), None]
    short = []
    for row, (before, own, after) in zip(rows, zip(shapes, shapes[1:], shapes[2:], strict=False), strict=False):
        if not (own and before == own == after):
            short.append(row)
        elif short[-1] != LEFT_OUT:
            short.append(LEFT_OUT)
    return short


def one_screen(rows: list[str]) -> list[str]:
    """The rows, of which those that do not fit on a screen are left out before the last ones."""
    more = len(rows) - MOST_ROWS
    if more <= 0:
        return rows
    return [*rows[: MOST_ROWS - LAST_ROWS - 1], f"{LEFT_OUT} {more + 1} more lines", *rows[-LAST_ROWS:]]


def picture(typed: str, rows: Sequence[str]) -> str:
    """An SVG of a terminal in which a command was typed."""
    shown = [f"$ {typed}", *rows]
    width = round(2 * MARGIN + ADVANCE * max(map(len, shown)))
    height = 2 * MARGIN + LINE * len(shown)
    texts = "\n".join(_text(place, row) for place, row in enumerate(shown) if row)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">
<title>What {escape(typed)} prints</title>
<style>{STYLE}</style>
<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>
{texts}
</svg>
"""


def _text(place: int, row: str) -> str:
    kind = ' class="typed"' if not place else ""
    where = f'x="{MARGIN}" y="{MARGIN + LINE * place + FONT}" textLength="{ADVANCE * len(row):.1f}"'
    return f'<text{kind} {where} xml:space="preserve">{escape(row)}</text>'


def main(arguments: Sequence[str]) -> None:
    """Record a command into a file."""
    path, *command = arguments
    rows = lines(record(command))
    Path(path).write_text(picture(shlex.join(command), one_screen(shortened(rows))), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
