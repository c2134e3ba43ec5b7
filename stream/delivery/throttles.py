"""What a refusal for too many sends slows down: a number, a pair, or all of a tenant. Pure."""

from __future__ import annotations

from typing import Final

from stream.meta.failure import Failure
from stream.traffic.paces import NUMBER, PAIR, TENANT
from stream.traffic.slow_downs import SlowDown

# Meta counts these calls by the hour, for the app (of which a tenant's token is) or for the business account. It says
# when it takes calls again in a header, which is not always there.
APP_CODES: Final = frozenset({4, 17, 341, 613})
ACCOUNT_CODES: Final = frozenset({80007, 80008})
APP_PAUSE_S: Final = 60.0
ACCOUNT_PAUSE_S: Final = 300.0
LONGEST_PAUSE_S: Final = 3_600.0  # Meta counts by the hour, so an estimate of more is no help
GROUP_CODE: Final = 131208  # of one group, which has no limit of its own here: its message backs off


def slow_down_for(failure: Failure) -> SlowDown | None:
    """What a failure asks for; `None` if it is not about the rate of sends."""
    if failure.rule.name == "PAIR_RATE_LIMIT":
        return SlowDown("back_off", PAIR)
    if failure.rule.name != "RATE_LIMIT" or failure.code == GROUP_CODE:
        return None
    if failure.code in APP_CODES:
        return SlowDown("pause", TENANT, _pause_s(failure, APP_PAUSE_S))
    if failure.code in ACCOUNT_CODES:
        return SlowDown("pause", TENANT, _pause_s(failure, ACCOUNT_PAUSE_S))
    return SlowDown("cut", NUMBER)


def _pause_s(failure: Failure, usual_s: float) -> float:
    return min(failure.regain_access_s or usual_s, LONGEST_PAUSE_S)
