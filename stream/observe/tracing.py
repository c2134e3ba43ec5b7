"""Traces: the functions by which the worker opens its spans, whether there are traces or not.

While tracing is off, `span` returns one shared object that does nothing. `stream.app` turns it on with the telemetry of
`stream.observe.telemetry`. This module does not import that one, so that a worker without traces imports no part of
OpenTelemetry.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Final, Protocol


class Span(Protocol):
    """A part of a try, while it lasts."""

    def answered(self, http_status: int | None, error_type: str | None = None) -> None:
        """Note the answer of an HTTP request: its status, if there was one, and the error type, if it failed."""


class Telemetry(Protocol):
    """What this module needs from the object that makes the spans."""

    def span(self, name: str, tenant_id: str, *, client: bool) -> AbstractContextManager[Span]:
        """A span around a part of a try; see the function of this name."""

    def publishing(self, name: str, headers: dict[str, Any]) -> AbstractContextManager[Any]:
        """A span around a publish; see the function of this name."""

    async def shut_down(self) -> None:
        """Export what has ended, for a bounded time."""


class _NoSpan:
    """Does nothing, for any number of users at once."""

    __slots__ = ()

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def answered(self, http_status: int | None, error_type: str | None = None) -> None:
        pass


_NO_SPAN: Final = _NoSpan()
# One for the process, like its threads and its exporter: passing it through every constructor would have no use.
_telemetry: Telemetry | None = None


def start(telemetry: Telemetry) -> None:
    """Trace with this from now on."""
    global _telemetry  # noqa: PLW0603 - see above
    _telemetry = telemetry


async def stop() -> None:
    """Export what is left, for a bounded time, and stop tracing."""
    global _telemetry
    telemetry, _telemetry = _telemetry, None
    if telemetry is not None:
        await telemetry.shut_down()


def tracing() -> bool:
    """Whether there are traces."""
    return _telemetry is not None


def span(name: str, tenant_id: str, *, client: bool = False) -> AbstractContextManager[Span]:
    """A span around a part of a try.

    Args:
        name: What is done, e.g. `claim`.
        tenant_id: Whose message it is.
        client: It is a request to another service.
    """
    return _NO_SPAN if _telemetry is None else _telemetry.span(name, tenant_id, client=client)


def publishing(name: str, headers: dict[str, Any]) -> AbstractContextManager[Any]:
    """A span around a publish; the headers name the current span as the parent of what follows.

    Args:
        name: Where it goes: an event's kind such as `outbound.sent`, or an exchange of the topology.
        headers: Changed in place.
    """
    return _NO_SPAN if _telemetry is None else _telemetry.publishing(name, headers)
