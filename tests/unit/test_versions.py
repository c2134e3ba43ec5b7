"""A version of the Graph API is warned of from three months before its end, and after it."""

from __future__ import annotations

from datetime import date

import pytest

from stream.meta.versions import NEWEST, ends_soon


@pytest.mark.parametrize(
    ("version", "today", "ends"),
    [
        ("v21.0", date(2026, 10, 22), None),
        ("v21.0", date(2026, 10, 23), date(2027, 1, 21)),
        ("v21.0", date(2030, 1, 1), date(2027, 1, 21)),
        (NEWEST, date(2030, 1, 1), None),
        ("v99.0", date(2030, 1, 1), None),
    ],
)
def test_the_end_of_a_version_is_told_in_time(version: str, today: date, ends: date | None) -> None:
    assert ends_soon(version, today) == ends
