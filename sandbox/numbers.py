"""Magic numbers: recipients whose digits say what the Graph API simulator does with their messages.

Country code 999 is not assigned. A leading + is accepted, and any digits may follow as a suffix, so that each
script has as many recipients as a test needs. Scripts with a count keep it for each full number.

  number                                   what happens
  ---------------------------------------  ---------------------------------------------------------------------
  9991 CCCCCCC ...                         always error C (7 digits, zero-padded): a code, or a subcode beside code 100
  9992 N CCCCCCC ...                       error C for the first N requests of this number, then success
  9993 N SSS ...                           HTTP status S with an HTML body N times (9 = always), then success
  9994 MMMMM ...                           success, answered after M milliseconds (5 digits)
  9995 N 0 ...                             connection reset, message not taken, N times (9 = always), then success
  9995 N 1 ...                             the same, but the message is taken before the reset
  9995 N 2 ...                             the same, but the connection is cut in the middle of the answer
  9996 1 ...                               success with message_status held_for_quality_assessment
  9996 2 ...                               HTTP 200 without messages
  9996 3 ...                               HTTP 200 that is not JSON
  9996 4 ...                               error 100 whose error_data is a plain string
  9996 5 ...                               HTTP 400 with code 0 and a message
  9996 6 ...                               HTTP 429, Retry-After: 2, code 130429 once, then success
  9996 7 ...                               HTTP 400, code 130429 once, then success
  anything else                            success

Examples: 999101310561 is always refused with 131056, 9993250017 gets 500, 500, success, 9995110001 is taken and
answered with a reset once, so a resend is a duplicate.
"""

from __future__ import annotations

import re
from itertools import cycle, repeat
from typing import TYPE_CHECKING

from sandbox.graph_errors import places
from sandbox.steps import Accept, Delay, Drop, Fail, Reply, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ALWAYS = 9

HTML = "<!DOCTYPE html><html><head><title>Error</title></head><body>Sorry, something went wrong.</body></html>"

VARIANTS: dict[int, Iterable[Step]] = {
    1: repeat(Accept("held_for_quality_assessment")),
    2: repeat(Reply(200, {"messaging_product": "whatsapp", "contacts": []})),
    3: repeat(Reply(200, HTML)),
    4: repeat(Reply(400, {"error": {"message": "(#100) Invalid parameter", "code": 100, "error_data": "Bad value"}})),
    5: repeat(Reply(400, {"error": {"message": "Something is wrong", "type": "OAuthException", "code": 0}})),
    6: (Fail(130429, http_status=429, headers={"Retry-After": "2"}),),
    7: (Fail(130429, http_status=400),),
}


def _times(count: int, step: Step) -> Iterable[Step]:
    return repeat(step) if count == ALWAYS else repeat(step, count)


_RULES: list[tuple[re.Pattern[str], Callable[..., Iterable[Step]]]] = [
    (re.compile(r"9991(\d{7})"), lambda error: repeat(Fail(*places(error)))),
    (re.compile(r"9992(\d)(\d{7})"), lambda count, error: repeat(Fail(*places(error)), count)),
    (re.compile(r"9993(\d)(\d{3})"), lambda count, status: _times(count, Reply(status, HTML))),
    (re.compile(r"9994(\d{5})"), lambda milliseconds: cycle((Delay(milliseconds / 1000), Accept()))),
    (re.compile(r"9995(\d)([012])"), lambda count, mode: _times(count, Drop(mode))),
    (re.compile(r"9996([1-7])"), lambda kind: VARIANTS[kind]),
]


def digits(recipient: str) -> str:
    """A recipient as scripts know it: a phone number without its plus, anything else as it is."""
    return recipient.removeprefix("+")


def steps_for(recipient: str) -> Iterator[Step] | None:
    """The script that a number asks for, or None when it is no magic number."""
    for pattern, script in _RULES:
        if match := pattern.match(recipient):
            return iter(script(*map(int, match.groups())))
    return None
