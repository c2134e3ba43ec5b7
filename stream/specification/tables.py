"""The tables of `docs/`, made from the code: `python -m stream.specification.tables` writes each into its page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from stream.meta.actions import action_of
from stream.meta.errors import ROWS, ErrorRule
from stream.observe.instruments import CATALOG
from stream.settings import Settings

DOCS: Final = Path("docs")  # of the folder that the command runs in
NONE: Final = "-"


def error_table() -> str:
    """Every error type: what the worker does, whom it tells, whether a replay makes sense, what a person should do."""
    lines = [
        "| error type | codes | what the worker does | tells | replay | meaning | advice |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{row.name}` | {_codes(row)} | {action_of(row)} | {_tells(row)} | {row.replay} | {row.meaning} "
        f"| {row.advice} |"
        for row in ROWS
    ]
    return "\n".join(lines)


def settings_table() -> str:
    """Every setting with its default."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    lines += [
        f"| `{name.upper()}` | {_default(name, field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(lines)


def metrics_table() -> str:
    """Every metric that the worker exposes."""
    lines = ["| metric | kind | labels | meaning |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels) or NONE} | {metric.meaning} |"
        for metric in CATALOG
    ]
    return "\n".join(lines)


TABLES: Final[dict[str, Callable[[], str]]] = {
    "errors": error_table,
    "settings": settings_table,
    "metrics": metrics_table,
}


def rewritten(text: str) -> str:
    """The text with each table between `<!-- name -->` and `<!-- /name -->` made again."""
    return re.sub(
        r"<!-- (\w+) -->\n.*?\n<!-- /\1 -->",
        lambda found: f"<!-- {found[1]} -->\n{TABLES[found[1]]()}\n<!-- /{found[1]} -->",
        text,
        flags=re.DOTALL,
    )


def _codes(row: ErrorRule) -> str:
    """The codes, a run of them by its ends; then what is a subcode only."""
    codes, subcodes = _runs(row.codes), _runs(row.subcodes)
    return (f"{codes}; as subcode {subcodes}" if subcodes else codes) or NONE


def _runs(numbers: Sequence[int]) -> str:
    first = [number for number in numbers if number - 1 not in numbers]
    last = [number for number in numbers if number + 1 not in numbers]
    runs = zip(first, last, strict=True)
    return ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in runs)


def _tells(row: ErrorRule) -> str:
    return " and ".join([*["operator"] * row.alert, *["tenant"] * row.notify]) or NONE


def _default(name: str, field: FieldInfo) -> str:
    value = field.default
    if name == "tenant_service_url":
        return "required"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return NONE if value in (None, ()) else f"`{value}`"


def main() -> None:
    """Rewrite the pages of this checkout: `docs/errors.md` and so on."""
    for name in TABLES:
        page = DOCS / f"{name}.md"
        page.write_text(rewritten(page.read_text()))


if __name__ == "__main__":
    main()
