"""The options by which every command says which letters it is about."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Annotated, Any, Final

import typer

from stream.contract.replay import Replay
from stream.operations.dead_letters.filters import Filter, age

LONGEST_ENDING: Final = 6  # digits of a recipient's number

Command = Callable[..., None]


def _age(text: str) -> timedelta:
    try:
        return age(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _ending(text: str) -> str:
    if len(text) > LONGEST_ENDING:  # it is written into a job's record
        raise typer.BadParameter(f"give the last {LONGEST_ENDING} digits at most")
    return text


def filter_of(  # noqa: PLR0913 - an argument is an option
    *,
    error_type: Annotated[str | None, typer.Option("--type", help="Error type, as in the error table.")] = None,
    code: Annotated[int | None, typer.Option(help="Meta's error code.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Tenant id.")] = None,
    fingerprint: Annotated[str | None, typer.Option(help="One cause, as `groups` names it.")] = None,
    replay_class: Annotated[Replay | None, typer.Option(help="Whether a replay makes sense.")] = None,
    older_than: Annotated[
        timedelta | None,
        typer.Option(parser=_age, metavar="AGE", help="Failed at least so long ago: 90s, 30m, 2h, 7d."),
    ] = None,
    newer_than: Annotated[
        timedelta | None, typer.Option(parser=_age, metavar="AGE", help="Failed at most so long ago.")
    ] = None,
    phone_number_id: Annotated[str | None, typer.Option(help="Meta's id of the sending number.")] = None,
    recipient_ending: Annotated[
        str | None,
        typer.Option(parser=_ending, metavar="DIGITS", help="Last digits of the recipient's number, 6 at most."),
    ] = None,
    letter_id: Annotated[str | None, typer.Option("--id", help="One letter, as `list` names it.")] = None,
) -> Filter:
    """The filter that the options ask for."""
    return Filter(
        error_type=error_type,
        code=code,
        tenant=tenant,
        fingerprint=fingerprint,
        replay=replay_class,
        older_than=older_than,
        newer_than=newer_than,
        phone_number_id=phone_number_id,
        recipient_ending=recipient_ending,
        id=letter_id,
    )


def filtered(command: Command) -> Command:
    """Give a command the options of a filter, which becomes its first argument."""
    options = inspect.signature(filter_of, eval_str=True).parameters
    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [*options.values(), *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own)]

    @wraps(command)
    def run(**values: Any) -> None:
        given = {name: values.pop(name) for name in options}
        if any(isinstance(value, str) and not value.strip() for value in given.values()):
            # A script's variable that is not set: nobody means every letter, or none, by it.
            raise typer.BadParameter("a filter is empty: leave the option out, or name a value")
        wanted = filter_of(**given)
        command(wanted, **values)

    signed: Any = run
    del signed.__wrapped__  # typer would read the command's own signature
    signed.__signature__ = inspect.Signature(parameters)
    signed.__annotations__ = {each.name: each.annotation for each in parameters}
    return run
