"""Circuits in Lua, and where Redis keeps them. `stream.traffic.circuit` says what each function does.

A tenant's circuit and those of its phone numbers are fields of one hash: its claims read them with one command.
A field that is absent is a closed circuit without failures, so a healthy tenant has nothing in Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from stream.contract.identifiers import PhoneNumberId
from stream.traffic.circuit import (
    BY_HAND_LOOK_MS,
    LEAST_SPREAD_MS,
    LONGEST_SPREAD_MS,
    PROBING_MS,
    Circuit,
)

KEY_PREFIX: Final = "whatsapp-stream:circuits:"
TENANT_FIELD: Final = "tenant"
NUMBER_PREFIX: Final = "number:"
# A circuit that nobody asks any more is forgotten: tenant ids are free text, and each may have one. A hash with a
# circuit that a person opened has no end.
KEPT_MS: Final = 86_400_000

_read: Final = msgspec.json.Decoder(Circuit).decode

FUNCTIONS: Final = f"""
local function spread(open_ms)
    return math.min(math.max(math.floor(open_ms / 6), {LEAST_SPREAD_MS}), {LONGEST_SPREAD_MS})
end
local function ask(circuit, owner, now, lease_ms)
    if circuit.state == 'closed' then return end
    if circuit.by_hand then return {BY_HAND_LOOK_MS}, spread({BY_HAND_LOOK_MS}) end
    local probing = circuit.state == 'half_open'
    if now < circuit.ends and not (probing and circuit.owner == owner) then
        if probing then return {PROBING_MS}, {2 * PROBING_MS} end
        return circuit.ends - now, spread(circuit.open_ms)
    end
    circuit.state, circuit.owner, circuit.ends = 'half_open', owner, now + lease_ms
end
local function keep(key, field, circuit)
    local forever = redis.call('PTTL', key) == -1
    redis.call('HSET', key, field, cjson.encode(circuit))
    if not forever then redis.call('PEXPIRE', key, {KEPT_MS}) end
end
"""

# A part of the claim. It needs `circuits_key`, `number_field`, `owner`, `lease_ms` and `now`. An open circuit ends the
# claim; `take_probes` makes the try the probe of those that are half open. `seen` is what it found, if anything.
GATE: Final = """
local circuits, seen = redis.call('HMGET', circuits_key, 'tenant', number_field), nil
for place, field in ipairs({'tenant', number_field}) do
    if circuits[place] then
        local circuit = cjson.decode(circuits[place])
        local least, spread = ask(circuit, owner, now, tonumber(lease_ms))
        if least then return {'circuit', field, cjson.encode(circuit), least, spread} end
        seen = seen or {}
        table.insert(seen, field)
        table.insert(seen, cjson.encode(circuit))
    end
end
local function take_probes()
    for place = 1, seen and #seen or 0, 2 do
        local circuit = cjson.decode(seen[place + 1])
        if circuit.state == 'half_open' then keep(circuits_key, seen[place], circuit) end
    end
end
"""

Seen = tuple[tuple[str, Circuit], ...]
"""Circuits that are not closed without failures, by their fields."""


def number_field(phone_number_id: PhoneNumberId) -> str:
    """The field of a phone number's circuit."""
    return NUMBER_PREFIX + phone_number_id


def read_circuit(raw: bytes) -> Circuit:
    """A circuit as a script wrote it."""
    return _read(raw)


def read_seen(answer: Sequence[bytes]) -> Seen:
    """The circuits in a script's answer: fields and values in turn."""
    pairs = zip(answer[::2], answer[1::2], strict=True)
    return tuple((field.decode(), _read(raw)) for field, raw in pairs)
