"""Meta's versions of the Graph API, and the days on which they end. Older versions are refused.

From Meta's changelog of versions (developers.facebook.com/docs/graph-api/changelog/versions, read 2026-09). A version
that is newer than these is accepted.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

NEWEST: Final = "v26.0"
OLDEST_MAJOR: Final = 21  # v20.0 ended on 2026-09-24
WARN_BEFORE: Final = timedelta(days=90)

_ENDS: Final = {
    "v21.0": date(2027, 1, 21),
    "v22.0": date(2027, 5, 20),
    "v23.0": date(2027, 10, 8),
    "v24.0": date(2028, 2, 18),
    "v25.0": date(2028, 7, 29),
}


def ends_soon(version: str, today: date) -> date | None:
    """The day on which a version ends, if it is within three months or in the past."""
    day = _ENDS.get(version)
    return day if day and today >= day - WARN_BEFORE else None
