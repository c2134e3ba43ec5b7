"""What a person does with circuits: look at those that are open, open one, close one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from stream.contract.events import Scope
from stream.contract.identifiers import PhoneNumberId, TenantId, hash_tag
from stream.redis.link import RedisLink
from stream.redis.scripts import Script
from stream.traffic import platform
from stream.traffic.circuit import Circuit, State
from stream.traffic.circuit_script import FUNCTIONS, KEPT_MS, KEY_PREFIX, TENANT_FIELD, number_field, read_circuit
from stream.traffic.open_circuits import KEYS, OpenCircuits

_LOAD: Final = Script(f"{FUNCTIONS} return cjson.encode(load(KEYS[1], ARGV[1]))")
_OPEN: Final = Script(f"""{FUNCTIONS}
local circuit, now = load(KEYS[1], ARGV[1]), clock()
circuit.state, circuit.by_hand, circuit.reason, circuit.token, circuit.owner = 'open', true, ARGV[2], '', ''
circuit.since, circuit.ends = now, now
keep(KEYS[1], ARGV[1], circuit)
return redis.call('PERSIST', KEYS[1])
""")
_CLOSE: Final = Script(f"""{FUNCTIONS}
local before = load(KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1], 'first', 'several')
local by_hand = false
for _, kept in ipairs(redis.call('HVALS', KEYS[1])) do by_hand = by_hand or cjson.decode(kept).by_hand end
if not by_hand then redis.call('PEXPIRE', KEYS[1], {KEPT_MS}) end
return cjson.encode(before)
""")


class Place(msgspec.Struct, frozen=True):
    """Which circuit.

    Attributes:
        scope: Tenant, phone number or platform.
        tenant_id: Whose; empty for the platform.
        number: Which phone number; empty but for those.
    """

    scope: Scope
    tenant_id: TenantId = TenantId("")
    number: str = ""

    @property
    def name(self) -> str:
        """As it is shown, typed and listed."""
        if self.scope is Scope.PLATFORM:
            return platform.NAME
        return f"{self.tenant_id}/{self.number}" if self.number else self.tenant_id

    @property
    def key(self) -> str:
        """The hash in Redis."""
        return platform.KEY if self.scope is Scope.PLATFORM else KEY_PREFIX + hash_tag(self.tenant_id)

    @property
    def field(self) -> str:
        """The field in it."""
        if self.scope is Scope.PLATFORM:
            return platform.FIELD
        return number_field(PhoneNumberId(self.number)) if self.number else TENANT_FIELD

    @classmethod
    def named(cls, scope: Scope, name: str) -> Place:
        """The circuit that `name` names.

        Raises:
            ValueError: It is no name of this scope.
        """
        match scope:
            case Scope.TENANT:
                return cls(scope, TenantId(name))
            case Scope.PHONE_NUMBER:
                tenant_id, slash, number = name.rpartition("/")
                if not (slash and tenant_id and number.isdecimal()):
                    raise ValueError("a phone number is named TENANT/NUMBER")
                return cls(scope, TenantId(tenant_id), number)
            case _:
                if name != platform.NAME:
                    raise ValueError(f"the platform is named {platform.NAME}")
                return cls(Scope.PLATFORM)


class CircuitsByHand:
    """Circuits, for a person.

    Args:
        link: Redis; each method raises `RedisAway` while it cannot be reached.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._index = OpenCircuits(link)

    async def open_ones(self) -> AsyncIterator[tuple[Place, Circuit]]:
        """All that are not closed. An entry of the index that is out of date is removed on the way."""
        for place in [Place(Scope.PLATFORM), *[each async for each in self._indexed()]]:
            circuit = read_circuit(await self._link.run(_LOAD, (place.key,), (place.field,)))
            if circuit.state is not State.CLOSED:
                yield place, circuit
            elif place.scope is not Scope.PLATFORM:
                await self._index.note(place.scope, place.name, open=False)

    async def open(self, place: Place, reason: str) -> None:
        """Open it until it is closed by hand."""
        await self._link.run(_OPEN, (place.key,), (place.field, reason))
        await self._list(place, open=True)

    async def close(self, place: Place) -> Circuit:
        """Close it.

        Returns:
            How it was before.
        """
        before = read_circuit(await self._link.run(_CLOSE, (place.key,), (place.field,)))
        await self._list(place, open=False)
        return before

    async def _indexed(self) -> AsyncIterator[Place]:
        for scope, key in KEYS.items():
            for name in sorted(await self._link.ask(self._link.redis.zrange, key, 0, -1)):
                yield Place.named(scope, name.decode())

    async def _list(self, place: Place, *, open: bool) -> None:  # noqa: A002 - the word for it
        if place.scope is not Scope.PLATFORM:
            await self._index.note(place.scope, place.name, open=open, by_hand=True)
