"""What the circuits are asked before a claim, and told at the end of a try."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from stream.contract.events import Scope
from stream.delivery.claim import CircuitOpen
from stream.delivery.decision import HELD
from stream.delivery.tries import Try
from stream.meta.failure import Failure
from stream.traffic import circuit
from stream.traffic.circuit import State
from stream.traffic.circuit_script import TENANT_FIELD, Seen, number_field, scope_of
from stream.traffic.circuits import Circuits, Verb, digest
from stream.traffic.platform import PlatformCircuit
from stream.traffic.transitions import Transition, Transitions

# Meta checks token, account and number before it looks at the recipient: such a refusal shows that they work.
PROVES_THE_SENDER: Final = frozenset({Scope.RECIPIENT, Scope.PAIR})


def verb_for(scope: Scope, failure: Failure, counts_in: Scope | None) -> Verb:
    """What the circuit of a scope learns from a failure that counts in the circuit of `counts_in`. Pure."""
    if scope is counts_in:
        return "fail"
    refused_by_meta = failure.http_status is not None
    return "succeed" if refused_by_meta and failure.rule.scope in PROVES_THE_SENDER else "give_back"


class CircuitReports:
    """Connects tries with the circuits they concern.

    Args:
        circuits: Those of tenants and phone numbers.
        platform: That of Meta itself.
        transitions: Where news of circuits are.
        hold: `ON_TENANT_FAILURE` is `hold`: one failure opens a tenant's or a number's circuit.
        draw: Source of randomness in [0, 1).
    """

    def __init__(
        self,
        circuits: Circuits,
        platform: PlatformCircuit,
        transitions: Transitions,
        *,
        hold: bool,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._circuits = circuits
        self._platform = platform
        self._transitions = transitions
        self._hold = hold
        self._draw = draw

    @property
    def platform_in_trouble(self) -> bool:
        """Whether the platform's circuit was open when Redis was last asked."""
        return self._platform.open

    async def platform_open(self, current: Try) -> CircuitOpen | None:
        """The platform's circuit, if the try has to wait for it; it costs a call only when a probe may be due."""
        wait = await self._platform.ask(current.message.tenant_id, current.owner)
        return CircuitOpen(wait.length_s(self._draw()), Scope.PLATFORM, self._platform.circuit) if wait else None

    async def claimed(self, current: Try, seen: Seen) -> None:
        """Note which circuits a claim has found in trouble, and which of them the try probes from now on."""
        known = {field for field, each in current.seen if each.state is State.HALF_OPEN}
        fresh = tuple((field, each) for field, each in seen if field not in known)
        current.seen = seen
        await self._circuits.probes(current.message.tenant_id, current.owner, fresh)

    def concerns(self, current: Try) -> bool:
        """Whether the end of a try that did not fail has to be told to any circuit."""
        return bool(current.seen) or self._platform.suspected

    async def succeeded(self, current: Try) -> None:
        """Meta has accepted the message: all three work."""
        tenant_id = current.message.tenant_id
        await self._platform.end(tenant_id, current.owner, answered=True)
        await self._circuits.tell(tenant_id, current.owner, {field: "succeed" for field, _ in current.seen})

    async def ended(self, current: Try) -> None:
        """The try has ended without a request."""
        tenant_id = current.message.tenant_id
        await self._platform.end(tenant_id, current.owner, answered=False)
        await self._circuits.tell(tenant_id, current.owner, {field: "give_back" for field, _ in current.seen})

    async def failed(self, current: Try, failure: Failure) -> float | None:
        """The try has failed.

        Returns:
            How long the circuit in which it counts keeps messages waiting, in seconds, if that is known.
        """
        tenant_id, counts_in = current.message.tenant_id, await self._counts_in(current, failure)
        verbs = {field: verb_for(scope_of(field)[0], failure, counts_in) for field, _ in current.seen}
        field = self._field(current, counts_in)
        if field:
            verbs[field] = "fail"
        refused = digest(current.token) if failure.rule.invalidate_credentials and current.token else ""
        about = circuit.Failure(current.owner, failure.rule.name, refused)
        at_once = self._hold and failure.rule.circuit in HELD
        told = await self._circuits.tell(tenant_id, current.owner, verbs, about, at_once=at_once)
        wait = told.wait(field) if field else None
        return wait.length_s(self._draw()) if wait else None

    def news(self, current: Try) -> tuple[Transition, ...]:
        """Transitions that this try, or the fetch it waited for, has caused."""
        return self._transitions.take(current.message.tenant_id)

    async def _counts_in(self, current: Try, failure: Failure) -> Scope | None:
        """Where the failure counts: one of the platform's kind counts for the tenant if only that tenant has any."""
        tenant_id, scope = current.message.tenant_id, failure.rule.circuit
        if scope is not Scope.PLATFORM:
            await self._platform_ended(current, failure)
            return scope
        about = circuit.Failure(current.owner, failure.rule.name)
        alone = await self._platform.fail(tenant_id, about)
        return Scope.TENANT if alone else Scope.PLATFORM

    async def _platform_ended(self, current: Try, failure: Failure) -> None:
        if self._platform.suspected:
            answered = failure.http_status is not None
            await self._platform.end(current.message.tenant_id, current.owner, answered=answered)

    def _field(self, current: Try, counts_in: Scope | None) -> str:
        match counts_in:
            case Scope.TENANT:
                return TENANT_FIELD
            case Scope.PHONE_NUMBER:
                return number_field(current.message.phone_number_id)
            case _:
                return ""
