"""Pacing in Lua, and where Redis keeps it. `stream.traffic.pacing` says what each function does.

Each limit is one value, a `Pace` in MessagePack, which ends when it says nothing any more. A slot that a message has
reserved is a field of the message's own hash in the ledger: it needs no cleaning up.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream.redis.scripts import Script
from stream.traffic.pacing import (
    CALM_US,
    HOLD_OFF_US,
    LEAST_PART,
    LONGEST_PAIR_PAUSE_US,
    PAIR_GROWTH,
    RECOVERY_US,
    SECOND_US,
    Pace,
)

KEY_PREFIX: Final = "whatsapp-stream:pace:"
SLOT_FIELDS: Final = ("slot_number", "slot_tenant", "slot_pair")
# A message that comes back later than this after its slot is looked at like one that comes anew.
SLOT_KEPT_MS: Final = 60_000

read_pace: Final = msgspec.msgpack.Decoder(Pace).decode

FUNCTIONS: Final = f"""
local SENT, DUE, RESUMES, CUT_RATE, CUT_AT, REFUSALS = 1, 2, 3, 4, 5, 6
local SLOTS = {{'{"', '".join(SLOT_FIELDS)}'}}
local function pace_of(value)
    return value and cmsgpack.unpack(value) or {{0, 0, 0, 0, 0, 0}}
end
local function keep_pace(key, pace, now)
    local calm = pace[RESUMES] + (pace[REFUSALS] > 0 and {CALM_US} or 0)
    local recovered = pace[CUT_AT] > 0 and pace[CUT_AT] + {RECOVERY_US} or 0
    local left = math.max(pace[SENT], pace[DUE], calm, recovered) - now
    redis.call('SET', key, cmsgpack.pack(pace), 'PX', math.max(1, math.ceil(left / 1000)))
end
local function interval_now(limit, pace, now)
    if limit == 0 or pace[CUT_RATE] == 0 then return limit end
    local ceiling = {SECOND_US} / limit
    local rate = pace[CUT_RATE] + ceiling * math.max(0, now - pace[CUT_AT]) / {RECOVERY_US}
    return rate >= ceiling and limit or math.ceil({SECOND_US} / rate)
end
local function ready_at(use, now)
    local pace, slot = use.pace, use.slot
    if use.limit == 0 then return pace[RESUMES] end
    pace[SENT] = math.min(pace[SENT], now + math.max(use.span, use.interval))
    local conforms = pace[SENT] - math.max(0, use.span - use.interval)
    if slot and (slot > now or math.max(conforms, pace[RESUMES]) <= now) then return math.max(slot, pace[RESUMES]) end
    return math.max(conforms, pace[RESUMES], pace[DUE])
end
"""

# A part of the claim, and the last that may end it. It needs `held` (which ends with the slots), `state`, `ledger_key`,
# `time`, `left_us`, `pace_keys`, and for each of them the time of one send and the span in `pace_limits`. A try that
# has claimed the message already has had its turn, and what is not valid any more needs none.
GATE: Final = f"""
if state ~= 'sending' and left_us > 0 and pace_keys[1] then
    local now_us = time[1] * {SECOND_US} + time[2]
    local paces, uses, ready, bound_by = redis.call('MGET', unpack(pace_keys)), {{}}, now_us, nil
    for place, value in ipairs(paces) do
        local use = {{pace = pace_of(value), slot = tonumber(held[#held - #SLOTS + place]),
            limit = tonumber(pace_limits[2 * place - 1]), span = tonumber(pace_limits[2 * place])}}
        use.interval = interval_now(use.limit, use.pace, now_us)
        uses[place] = use
        local moment = ready_at(use, now_us)
        if moment > ready then ready, bound_by = moment, place end
    end
    if bound_by then
        local use, wait = uses[bound_by], ready - now_us
        if use.limit > 0 and wait <= left_us and not (use.slot and use.slot > now_us) then
            use.pace[DUE] = ready + use.interval
            keep_pace(pace_keys[bound_by], use.pace, now_us)
            redis.call('HSET', ledger_key, SLOTS[bound_by], ready)
            local kept = math.ceil(wait / 1000) + {SLOT_KEPT_MS}
            if redis.call('PTTL', ledger_key) < kept then redis.call('PEXPIRE', ledger_key, kept) end
        end
        return {{'pace', wait, bound_by}}
    end
    for place, use in ipairs(uses) do
        if use.limit > 0 then
            use.pace[SENT] = math.max(use.pace[SENT], now_us) + use.interval
            keep_pace(pace_keys[place], use.pace, now_us)
        end
        if use.slot then redis.call('HDEL', ledger_key, SLOTS[place]) end
    end
end
"""

REFUSED_FUNCTION: Final = f"""
local function cut(pace, limit, now, took)
    if limit == 0 or now - took < pace[CUT_AT] + {HOLD_OFF_US} then return end
    local rate = {SECOND_US} / interval_now(limit, pace, now)
    pace[CUT_RATE], pace[CUT_AT] = math.max(rate / 2, {SECOND_US} / limit / {LEAST_PART}), now
end
local function back_off(pace, now)
    if now < pace[RESUMES] then return end
    local refusals = now < pace[RESUMES] + {CALM_US} and pace[REFUSALS] or 0
    local pause = math.min({SECOND_US} * {PAIR_GROWTH} ^ refusals, {LONGEST_PAIR_PAUSE_US})
    pace[RESUMES], pace[REFUSALS] = now + pause, refusals + 1
end
local function slow_down(how, pace, limit, now, amount)
    if how == 'cut' then cut(pace, limit, now, amount)
    elseif how == 'back_off' then back_off(pace, now)
    else pace[RESUMES] = math.max(pace[RESUMES], now + amount) end
end
"""

# Meta refused a send because of a limit: how to slow down, the time of one send, and how long the send took, or how
# long to pause. Answers with a `Slowed`.
REFUSED: Final = Script(f"""{FUNCTIONS}{REFUSED_FUNCTION}
local how, limit, amount = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * {SECOND_US} + time[2]
local pace = pace_of(redis.call('GET', KEYS[1]))
local before, resumed = interval_now(limit, pace, now), pace[RESUMES] <= now
slow_down(how, pace, limit, now, amount)
keep_pace(KEYS[1], pace, now)
local pause = math.max(0, pace[RESUMES] - now)
return {{pause, before, interval_now(limit, pace, now), resumed and pause > 0 and 1 or 0}}
""")
