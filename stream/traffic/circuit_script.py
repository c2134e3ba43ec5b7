"""Circuits in Lua, and where Redis keeps them. `stream.traffic.circuit` says what each function does.

A tenant's circuit and those of its phone numbers are fields of one hash: its claims read them with one command.
A field that is absent is a closed circuit without failures, so a healthy tenant has nothing in Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from stream.contract.events import Scope
from stream.contract.identifiers import PhoneNumberId
from stream.redis.scripts import Script
from stream.traffic.circuit import (
    BY_HAND_LOOK_MS,
    LEAST_SPREAD_MS,
    LONGEST_OPEN_MS,
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
    local mine = probing and circuit.owner == owner
    if now < circuit.ends and not mine then
        if probing then return {PROBING_MS}, {2 * PROBING_MS} end
        if circuit.ends - now <= circuit.open_ms then return circuit.ends - now, spread(circuit.open_ms) end
    end
    circuit.state, circuit.owner, circuit.ends = 'half_open', owner, now + lease_ms
    circuit.probes = (circuit.probes or 0) + (mine and 0 or 1)
end
local function fail(circuit, failure, now, rules)
    local probing = circuit.state == 'half_open'
    local own = circuit.owner == failure.owner
    if own and not probing then return end
    circuit.failures = circuit.failures + 1
    if circuit.since == 0 then circuit.since = now end
    if circuit.state == 'open' or (probing and not own) then return end
    circuit.reason, circuit.token, circuit.owner = failure.reason, failure.token, failure.owner
    if not probing and circuit.failures < rules.failures then return end
    circuit.open_ms = probing and math.min(2 * circuit.open_ms, {LONGEST_OPEN_MS}) or rules.open_ms
    circuit.state, circuit.ends, circuit.probes = 'open', now + circuit.open_ms, 0
end
local function closed()
    return {{state = 'closed', failures = 0, since = 0, ends = 0, open_ms = 0, reason = '', by_hand = false,
        token = '', owner = '', probes = 0}}
end
local function succeed(circuit, owner)
    local probe = circuit.state == 'half_open' and circuit.owner == owner
    return (probe or circuit.state == 'closed') and closed() or circuit
end
local function give_back(circuit, owner, now)
    if circuit.state == 'half_open' and circuit.owner == owner then circuit.state, circuit.ends = 'open', now end
end
local function replaced(circuit, token)
    local another = circuit.token ~= '' and circuit.token ~= token and not circuit.by_hand
    return another and closed() or circuit
end
local function clock()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function load(key, field)
    local kept = redis.call('HGET', key, field)
    return kept and cjson.decode(kept) or closed()
end
local function keep(key, field, circuit)
    if circuit.state == 'closed' and circuit.failures == 0 then return redis.call('HDEL', key, field) end
    local forever = redis.call('PTTL', key) == -1
    redis.call('HSET', key, field, cjson.encode(circuit))
    if not forever then redis.call('PEXPIRE', key, {KEPT_MS}) end
end
"""

# A message may name any phone number id, and a wrong one is a failure of that number. A tenant with so many circuits in
# trouble gets none for another number.
MOST_FIELDS: Final = 1_000

# How a try ended, told to several circuits of one tenant: after the failure's description, a field and a verb each.
# Answers with the time, and for each: the field, where it has moved to, if it has, and the circuit; one that has closed
# is shown as it was before.
TELL: Final = Script(f"""{FUNCTIONS}
local key, owner, now = KEYS[1], ARGV[1], clock()
local failure = {{owner = owner, reason = ARGV[2], token = ARGV[3]}}
local rules = {{failures = tonumber(ARGV[4]), open_ms = tonumber(ARGV[5])}}
local function has_room(field)
    local known = field == '{TENANT_FIELD}' or redis.call('HEXISTS', key, field) == 1
    return known or redis.call('HLEN', key) < {MOST_FIELDS}
end
local told = {{now}}
for place = 6, #ARGV, 2 do
    local field, verb, moved = ARGV[place], ARGV[place + 1], ''
    local before, circuit = load(key, field), load(key, field)
    if verb == 'fail' then
        if has_room(field) then fail(circuit, failure, now, rules) end
        if circuit.state == 'open' and circuit.owner == owner then moved = 'open' end
    elseif verb == 'succeed' then
        circuit = succeed(circuit, owner)
        if circuit.state ~= before.state then moved = 'closed' end
    else
        give_back(circuit, owner, now)
    end
    keep(key, field, circuit)
    for _, part in ipairs({{field, moved, cjson.encode(moved == 'closed' and before or circuit)}}) do
        table.insert(told, part)
    end
end
return told
""")

# The tenant got another token. Answers with the circuit that this has closed.
REPLACED: Final = Script(f"""{FUNCTIONS}
local before = load(KEYS[1], '{TENANT_FIELD}')
local circuit = replaced(load(KEYS[1], '{TENANT_FIELD}'), ARGV[1])
keep(KEYS[1], '{TENANT_FIELD}', circuit)
if circuit.state ~= before.state then return cjson.encode(before) end
return false
""")

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


def scope_of(field: str) -> tuple[Scope, str]:
    """What a field's circuit is for: the tenant, or the phone number with this id."""
    if field == TENANT_FIELD:
        return Scope.TENANT, ""
    return Scope.PHONE_NUMBER, field.removeprefix(NUMBER_PREFIX)


def read_circuit(raw: bytes) -> Circuit:
    """A circuit as a script wrote it."""
    return _read(raw)


def read_seen(answer: Sequence[bytes]) -> Seen:
    """The circuits in a script's answer: fields and values in turn."""
    pairs = zip(answer[::2], answer[1::2], strict=True)
    return tuple((field.decode(), _read(raw)) for field, raw in pairs)
