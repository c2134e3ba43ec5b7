"""The tables of docs/ are the code's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.meta.errors import ROWS
from stream.observe.instruments import CATALOG
from stream.settings import Settings
from stream.specification.tables import TABLES, rewritten

DOCS = Path(__file__).parents[2] / "docs"
NAMES = {
    "errors": [row.name for row in ROWS],
    "settings": [field.upper() for field in Settings.model_fields],
    "metrics": [metric.name for metric in CATALOG],
}


@pytest.mark.parametrize("name", TABLES)
def test_a_pages_table_is_made_from_the_code_and_shows_every_row(name: str) -> None:
    text = (DOCS / f"{name}.md").read_text()
    assert rewritten(text) == text, "run: make docs"
    assert [each for each in NAMES[name] if f"| `{each}` |" not in text] == []
