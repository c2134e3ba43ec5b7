"""The circuits of tenants and phone numbers, shared by all replicas: how tries ended is told to Redis here.

They are asked by the claim's script, so a healthy message costs no call here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from stream.contract.identifiers import TenantId, hash_tag
from stream.redis.availability import RedisAway
from stream.redis.link import RedisLink
from stream.traffic import circuit_script as scripts
from stream.traffic.circuit import Circuit, Failure, Rules, State, Wait, ask
from stream.traffic.circuit_script import Seen
from stream.traffic.open_circuits import OpenCircuits
from stream.traffic.transitions import Transition, Transitions

Verb = Literal["fail", "succeed", "give_back"]

NOTHING: Final = Failure("", "")


def digest(token: str) -> str:
    """What Redis keeps of a token that was refused: enough to know it again."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]


class Told(msgspec.Struct, frozen=True):
    """What circuits answered to the end of a try.

    Attributes:
        now: Redis' clock, in milliseconds.
        circuits: How each stands now, by field.
    """

    now: int = 0
    circuits: Mapping[str, Circuit] = {}

    def wait(self, field: str) -> Wait | None:
        """How long the circuit keeps messages waiting, if it is not closed."""
        asked = ask(self.circuits.get(field, Circuit()), "", self.now, 0)
        return asked if isinstance(asked, Wait) else None


class Circuits:
    """Tells circuits what happened.

    Args:
        link: Redis, which may be away: then nothing is told, and no circuit is open.
        rules: When they open; none open if `failures` is 0.
        transitions: Where changes are noted.
        index: Where the open ones are listed.
    """

    def __init__(self, link: RedisLink, rules: Rules, transitions: Transitions, index: OpenCircuits) -> None:
        self._link = link
        self._rules = rules
        self._transitions = transitions
        self._index = index

    async def probes(self, tenant_id: TenantId, owner: str, seen: Seen) -> None:
        """Note which circuits a try is the first to probe, by what its claim has found."""
        for field, circuit in seen:
            if circuit.state is State.HALF_OPEN and circuit.owner == owner and circuit.probes == 1:
                await self._note(tenant_id, field, State.HALF_OPEN, circuit)

    async def tell(
        self,
        tenant_id: TenantId,
        owner: str,
        verbs: Mapping[str, Verb],
        failure: Failure = NOTHING,
        *,
        at_once: bool = False,
    ) -> Told:
        """Tell circuits how a try ended.

        Args:
            tenant_id: Whose they are.
            owner: The try.
            verbs: What each circuit is told, by field.
            failure: What is told to those that are to fail.
            at_once: One failure opens a circuit.
        """
        if not self._rules.failures:  # a circuit that was open before they were turned off still has to close
            verbs = {field: verb for field, verb in verbs.items() if verb != "fail"}
        if not verbs:
            return Told()
        limit = 1 if at_once else self._rules.failures
        words = [word for pair in verbs.items() for word in pair]
        key = scripts.KEY_PREFIX + hash_tag(tenant_id)
        about = (owner, failure.reason, failure.token, limit, self._rules.open_ms)
        try:
            now, *answer = await self._link.run(scripts.TELL, (key,), (*about, *words))
        except RedisAway:
            return Told()
        return Told(now, await self._read(tenant_id, answer))

    async def token_stored(self, tenant_id: TenantId, token: str) -> None:
        """The tenant's credentials were fetched: another token closes the circuit that the refused one opened."""
        key = scripts.KEY_PREFIX + hash_tag(tenant_id)
        try:
            before = await self._link.run(scripts.REPLACED, (key,), (digest(token),))
        except RedisAway:
            return
        if before is not None:
            await self._note(tenant_id, scripts.TENANT_FIELD, State.CLOSED, scripts.read_circuit(before))

    async def _read(self, tenant_id: TenantId, answer: Sequence[bytes]) -> dict[str, Circuit]:
        circuits: dict[str, Circuit] = {}
        for raw_field, moved, raw in zip(answer[::3], answer[1::3], answer[2::3], strict=True):
            field, circuit = raw_field.decode(), scripts.read_circuit(raw)
            if moved:
                await self._note(tenant_id, field, State(moved.decode()), circuit)
            circuits[field] = Circuit() if moved == b"closed" else circuit
        return circuits

    async def _note(self, tenant_id: TenantId, field: str, to: State, circuit: Circuit) -> None:
        scope, number = scripts.scope_of(field)
        self._transitions.note(Transition(scope, number or tenant_id, tenant_id, to, circuit))
        await self._index.note(scope, f"{tenant_id}/{number}" if number else tenant_id, open=to is not State.CLOSED)
