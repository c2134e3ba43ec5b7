"""`stream explain`: what an error of Meta's leads to, and why, by the table that decides. It needs no server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

import orjson
import typer

from stream.meta.actions import action_of
from stream.meta.classifier import MetaErrorClassifier
from stream.meta.errors import BY_CODE, BY_SUBCODE, ERROR_TABLE, ErrorRule
from stream.operations.exits import ExitCode
from stream.operations.output import Json, say

BAD_REQUEST: Final = 400  # what Meta answers most refusals with

_YES_NO: Final = {True: "yes", False: "no"}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an error leads to.

    Attributes:
        row: The row of the error table.
        because: What chose the row.
    """

    row: ErrorRule
    because: str

    def to_json(self) -> dict[str, Any]:
        """The object that scripts get."""
        row = self.row
        return {
            "errorType": row.name,
            "because": self.because,
            "meaning": row.meaning,
            "worker": action_of(row),
            "retryable": row.retryable,
            "replay": row.replay.value,
            "scope": row.scope.value,
            "alert": row.alert,
            "notify": row.notify,
            "advice": row.advice,
        }

    def to_text(self) -> str:
        """For people."""
        facts = {name: _YES_NO[value] if isinstance(value, bool) else value for name, value in self.to_json().items()}
        return "\n".join(f"{name:<10} {value}" for name, value in facts.items())


def explain(
    error: Annotated[str, typer.Argument(metavar="CODE", help="Meta's error.code, or an error type.")],
    subcode: Annotated[int | None, typer.Argument(metavar="[SUBCODE]", help="Meta's error.error_subcode.")] = None,
    *,
    http_status: Annotated[int, typer.Option(min=100, max=599, help="Meta's HTTP status.")] = BAD_REQUEST,
    as_json: Json = False,
) -> None:
    """Say what the worker does about an error, whether a replay makes sense, and what a person should do."""
    found = _of_type(error) if not error.isdecimal() else of_code(int(error), subcode, http_status)
    if found is None:
        typer.echo(f"{error} is no code and no error type of the table", err=True)
        raise typer.Exit(ExitCode.WRONG_USE)
    say(found.to_text(), found.to_json(), as_json=as_json)


def of_code(code: int, subcode: int | None, http_status: int) -> Explanation:
    """What Meta's error leads to: decided by the worker's own classifier."""
    body = orjson.dumps({"error": {"code": code, "error_subcode": subcode}})
    row = MetaErrorClassifier().classify(http_status, body).rule
    if subcode is not None and subcode in BY_SUBCODE:
        because = f"the subcode {subcode} decides, whatever the code is"
    elif code in BY_CODE:
        because = f"the code {code} decides"
    else:
        because = f"the table does not know the code {code}, so the HTTP status {http_status} decides"
    return Explanation(row, because)


def _of_type(name: str) -> Explanation | None:
    row = ERROR_TABLE.get(name.upper())
    return Explanation(row, "its name was given") if row else None
