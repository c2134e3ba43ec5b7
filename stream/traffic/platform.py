"""The platform's circuit: Meta itself is in trouble, not one tenant.

It is in Redis under a key of its own, which no claim can read along with a tenant's keys. So each replica remembers how
it stood, from a look each second and from the answer to each failure. A healthy message asks that memory only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from stream.contract.events import Scope
from stream.contract.identifiers import TenantId
from stream.redis.availability import RedisAway
from stream.redis.link import RedisLink
from stream.redis.scripts import Script
from stream.traffic.circuit import Circuit, Failure, Rules, State, Wait, ask
from stream.traffic.circuit_script import FUNCTIONS, KEPT_MS, read_circuit
from stream.traffic.open_circuits import KEYS as OPEN_KEYS
from stream.traffic.transitions import Transition, Transitions

KEY: Final = "whatsapp-stream:circuit:{platform}"
FIELD: Final = "platform"
NAME: Final = "meta"  # as operators see it
LOOK_EVERY_S: Final = 1.0
LASTING_MS: Final = 2_000  # two looks
LONGEST_SPREAD_MS: Final = 5_000  # those who wait for the platform are back soon after it

# Two tenants fail, and nothing was accepted in between: that is the platform. One tenant's failures from before the
# other's first count as one: that tenant may have failed alone for hours. It has to last, because the other replicas
# learn of it by their look, and tell of what they send from then on.
_FAIL: Final = Script(f"""{FUNCTIONS}
local now, circuit = clock(), load(KEYS[1], '{FIELD}')
local first = redis.call('HGET', KEYS[1], 'first')
local several = redis.call('HEXISTS', KEYS[1], 'several') == 1
if circuit.state == 'closed' and first and first ~= ARGV[3] and not several then
    several, circuit.failures, circuit.since = true, math.min(circuit.failures, 1), now
    redis.call('HSET', KEYS[1], 'several', 1)
end
redis.call('HSETNX', KEYS[1], 'first', ARGV[3])
circuit.since = math.min(circuit.since, now) -- it is later only if the clock has stepped back
if not circuit.by_hand then redis.call('PEXPIRE', KEYS[1], {KEPT_MS}) end
local lasts = circuit.since > 0 and now - circuit.since >= tonumber(ARGV[6])
local rules = {{failures = several and lasts and tonumber(ARGV[4]) or math.huge, open_ms = tonumber(ARGV[5])}}
fail(circuit, {{owner = ARGV[1], reason = ARGV[2], token = ''}}, now, rules)
keep(KEYS[1], '{FIELD}', circuit)
return {{now, cjson.encode(circuit), several and 1 or 0}}
""")
_END: Final = Script(f"""{FUNCTIONS}
local before, circuit = load(KEYS[1], '{FIELD}'), load(KEYS[1], '{FIELD}')
if ARGV[2] == 'succeed' then circuit = succeed(circuit, ARGV[1]) else give_back(circuit, ARGV[1], clock()) end
if circuit.state == 'closed' then redis.call('DEL', KEYS[1]) else keep(KEYS[1], '{FIELD}', circuit) end
return {{clock(), cjson.encode(circuit), cjson.encode(before)}}
""")
_ASK: Final = Script(f"""{FUNCTIONS}
local now, circuit = clock(), load(KEYS[1], '{FIELD}')
local least = ask(circuit, ARGV[1], now, tonumber(ARGV[2]))
if not least then keep(KEYS[1], '{FIELD}', circuit) end
return {{now, cjson.encode(circuit)}}
""")
_LOOK: Final = Script(f"""{FUNCTIONS}
local now = clock()
for place = 2, #KEYS do redis.call('ZREMRANGEBYSCORE', KEYS[place], '-inf', now / 1000) end
return {{now, cjson.encode(load(KEYS[1], '{FIELD}')), redis.call('ZCARD', KEYS[2]), redis.call('ZCARD', KEYS[3])}}
""")


class PlatformCircuit:
    """The platform's circuit, as this replica knows it.

    Args:
        link: Redis, which may be away: then the platform counts as healthy.
        rules: When it opens; never if `failures` is 0.
        transitions: Where changes are noted.
        lasting_ms: How long failures have to come without a success before it opens, in milliseconds.
        clock: Seconds.

    Attributes:
        suspected: It is not known as closed without failures: a success is worth a call.
        open_circuits: How many circuits of each scope were open when last looked.
    """

    def __init__(
        self,
        link: RedisLink,
        rules: Rules,
        transitions: Transitions,
        *,
        lasting_ms: int = LASTING_MS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lasting_ms = lasting_ms
        self._link = link
        self._rules = rules
        self._transitions = transitions
        self._clock = clock
        self._circuit = Circuit()
        self._ahead_ms = 0.0  # Redis' clock, less this process'
        self.suspected = False
        self.open_circuits: dict[str, int] = {Scope.TENANT: 0, Scope.PHONE_NUMBER: 0, Scope.PLATFORM: 0}

    @property
    def open(self) -> bool:
        """Whether no message may go but a probe."""
        return self._circuit.state is not State.CLOSED

    @property
    def circuit(self) -> Circuit:
        """How it stood when Redis was last asked."""
        return self._circuit

    async def ask(self, tenant_id: TenantId, owner: str) -> Wait | None:
        """Whether a try has to wait; if not, it may be the probe. Redis is asked only when a probe may be due."""
        wait = ask(self._circuit, owner, self._now_ms(), self._rules.lease_ms)
        if not isinstance(wait, Wait):
            known = self._circuit
            await self._run(_ASK, owner, self._rules.lease_ms)
            if self._circuit.state is State.CLOSED:
                return None
            if self._circuit.owner == owner:
                if self._circuit.probes == 1 and (known.owner != owner or known.state is not State.HALF_OPEN):
                    self._note(tenant_id, State.HALF_OPEN, self._circuit)
                return None
            wait = ask(self._circuit, owner, self._now_ms(), self._rules.lease_ms)
        return Wait(wait.least_ms, min(wait.spread_ms, LONGEST_SPREAD_MS)) if isinstance(wait, Wait) else None

    async def fail(self, tenant_id: TenantId, failure: Failure) -> bool:
        """A failure of the platform's kind.

        Returns:
            Whether it concerns this tenant alone, as far as is known.
        """
        if not self._rules.failures:
            return False
        limits = (self._rules.failures, self._rules.open_ms, self._lasting_ms)
        about = (failure.owner, failure.reason, tenant_id, *limits)
        answer = await self._run(_FAIL, *about)
        if answer is None:
            return False
        if self._circuit.state is State.OPEN and self._circuit.owner == failure.owner:
            self._note(tenant_id, State.OPEN, self._circuit)
        return not answer[0] and not self.open

    async def end(self, tenant_id: TenantId, owner: str, *, answered: bool) -> None:
        """A try has ended otherwise; `answered`: Meta has answered it, whatever it said."""
        if not (answered or (self._circuit.state is State.HALF_OPEN and self._circuit.owner == owner)):
            return
        self.suspected = False  # those that end meanwhile need not tell it too
        answer = await self._run(_END, owner, "succeed" if answered else "give_back")
        if answer and (before := read_circuit(answer[0])).state is not self._circuit.state and not self.open:
            self._note(tenant_id, State.CLOSED, before)

    async def watch(self) -> None:
        """Look each second. Never ends."""
        while self._rules.failures:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Learn how it stands, and how many other circuits are open."""
        counts = await self._run(_LOOK, keys=(KEY, *OPEN_KEYS.values()))
        self.open_circuits.update(zip(OPEN_KEYS, counts or (0, 0), strict=True))

    async def _run(self, script: Script, *args: str | int, keys: tuple[str, ...] = (KEY,)) -> list[Any] | None:
        """Run a script whose answer begins with Redis' time and the circuit; returns the rest."""
        try:
            answer: list[Any] = await self._link.run(script, keys, args)
        except RedisAway:
            self._circuit, self.suspected = Circuit(), False
            self.open_circuits[Scope.PLATFORM] = 0
            return None
        now_ms, raw, *rest = answer
        self._ahead_ms = now_ms - self._clock() * 1000
        self._circuit = read_circuit(raw)
        self.suspected = self._circuit != Circuit()
        self.open_circuits[Scope.PLATFORM] = int(self.open)
        return rest

    def _now_ms(self) -> int:
        return int(self._clock() * 1000 + self._ahead_ms)

    def _note(self, tenant_id: TenantId, to: State, circuit: Circuit) -> None:
        self._transitions.note(Transition(Scope.PLATFORM, NAME, tenant_id, to, circuit))
