"""What operators learn of circuits: a log line and a count for each transition, and news for the alert events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from stream.contract.events import Scope
from stream.contract.identifiers import TenantId
from stream.traffic.circuit import Circuit, State

EVENTS: Final = {
    State.OPEN: "circuit_opened",
    State.HALF_OPEN: "circuit_half_open",
    State.CLOSED: "circuit_closed",
}

log = structlog.get_logger("stream.traffic")


class Transition(msgspec.Struct, frozen=True):
    """A circuit has changed its state.

    Attributes:
        scope: What it is for.
        id: Whose: a tenant id, a phone number id, or `meta`.
        tenant_id: The tenant whose message has caused it.
        to: The state that it has now.
        circuit: The circuit now; before, if it has closed.
    """

    scope: Scope
    id: str
    tenant_id: TenantId
    to: State
    circuit: Circuit


class Transitions:
    """Logs and counts transitions, and keeps them until a message of the tenant can carry the news.

    Args:
        count: Called with the scope and the new state.
    """

    def __init__(self, count: Callable[[str, str], Any]) -> None:
        self._count = count
        # The last one to each state of each circuit.
        self._news: dict[TenantId, dict[tuple[Scope, str, State], Transition]] = {}

    def note(self, transition: Transition) -> None:
        """A circuit has changed its state."""
        circuit = transition.circuit
        write = log.info if transition.to is State.CLOSED else log.warning
        write(
            EVENTS[transition.to],
            scope=transition.scope,
            id=transition.id,
            reason=circuit.reason,
            failures=circuit.failures,
            since=circuit.began.isoformat(),
        )
        self._count(transition.scope, transition.to)
        news = self._news.setdefault(transition.tenant_id, {})
        key = (transition.scope, transition.id, transition.to)
        news.pop(key, None)  # so that the last one comes last
        news[key] = transition

    def take(self, tenant_id: TenantId) -> tuple[Transition, ...]:
        """What happened since it was last asked for this tenant."""
        return tuple(self._news.pop(tenant_id, {}).values()) if self._news else ()
