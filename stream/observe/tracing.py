"""Traces: off unless an OTLP endpoint is set, and then nothing here imports OpenTelemetry.

The worker opens its spans through `span`. While tracing is off that hands out one shared object that does nothing; what
there is to it when it is on lives in `stream.observe.telemetry`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol

from stream.settings import InvalidSettings

if TYPE_CHECKING:
    from stream.observe.telemetry import Telemetry


class Span(Protocol):
    """A part of a try, while it lasts."""

    def answered(self, http_status: int | None, error_type: str | None = None) -> None:
        """Note the answer of an HTTP request: its status, if there was one, and the error type, if it failed."""


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
# One for the process, as its threads and its exporter are: handing it through every constructor would buy nothing.
_telemetry: Telemetry | None = None


def start(endpoint: str) -> tuple[Any, ...]:
    """Start to trace, if there is an endpoint; returns the middlewares that the broker needs for it.

    Args:
        endpoint: `OTEL_EXPORTER_OTLP_ENDPOINT`; empty means off.

    Raises:
        InvalidSettings: The packages of the extra `otel` are not installed.
    """
    if not endpoint:
        return ()
    try:
        from stream.observe import telemetry  # noqa: PLC0415 - or a worker without traces would pay for it
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise InvalidSettings(
            "OTEL_EXPORTER_OTLP_ENDPOINT: traces need packages that are not installed: "
            "install whatsapp-stream[otel], or unset the variable"
        ) from None
    return use(telemetry.Telemetry.to(endpoint))


def use(telemetry: Telemetry) -> tuple[Any, ...]:
    """Trace with this; returns the middlewares that the broker needs for it."""
    global _telemetry  # noqa: PLW0603 - see above
    _telemetry = telemetry
    return (telemetry.middleware(),)


async def stop() -> None:
    """Export what is left, for a bounded time, and trace no more."""
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
    """A span around a publish, whose headers get the current span as the parent of what follows.

    Args:
        name: Where it goes: an event's kind such as `outbound.sent`, or an exchange of the topology.
        headers: Changed in place.
    """
    return _NO_SPAN if _telemetry is None else _telemetry.publishing(name, headers)
