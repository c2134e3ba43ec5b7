"""Waiting on the broker: binary delay levels.

A delay is written in binary, with one routing-key word for each bit. Level *k* holds a message for 2^k units when its
bit is 1 and is skipped when it is 0. So 14 queues give every delay from 250 ms to 68 minutes, exact to the unit, and no
message waits behind another one that waits longer. NServiceBus and Celery (on quorum queues) use this method.

The queues are quorum queues with at-least-once dead-lettering, always: classic queues hand a message from one level to
the next without a confirm, and a broker that crashes in that moment loses it.
"""

from __future__ import annotations

import math
from typing import Final

UNIT_MS: Final = 250
LEVELS: Final = 14
MOST_UNITS: Final = (1 << LEVELS) - 1
LONGEST_S: Final = MOST_UNITS * UNIT_MS / 1000  # 4095.75 s
DELIVERY_EXCHANGE: Final = "whatsapp-delay-delivery"


def level_name(level: int) -> str:
    """Name of a level's exchange and of its queue, e.g. `whatsapp-wait-07`."""
    return f"whatsapp-wait-{level:02d}"


def former_level_name(level: int) -> str:
    """What a level was called while `RABBITMQ_QUEUE_TYPE` decided its type.

    A queue's type cannot be changed, so the quorum levels have a new name. Messages on the former levels still reach
    the intake through `DELIVERY_EXCHANGE`, which has kept its name for that.
    """
    return f"whatsapp-delay-{level:02d}"


def level_ttl_ms(level: int) -> int:
    """How long a level holds a message, in milliseconds."""
    return int(2**level * UNIT_MS)


def next_exchange(level: int) -> str:
    """Where a message goes from this level: one level down, or out to its queue from level 0."""
    return level_name(level - 1) if level else DELIVERY_EXCHANGE


def hold_pattern(level: int) -> str:
    """Binding of a level's queue: its own bit is 1."""
    return "*." * (LEVELS - 1 - level) + "1.#"


def pass_pattern(level: int) -> str:
    """Binding of the next exchange: its own bit is 0."""
    return "*." * (LEVELS - 1 - level) + "0.#"


def delivery_pattern(queue: str) -> str:
    """Binding of a destination queue to the delivery exchange."""
    return f"#.{queue}"


def _units(delay_s: float) -> int:
    """How many units a delay takes.

    Rounded up: a backoff is a minimum. A delay longer than `LONGEST_S` becomes `LONGEST_S`.
    """
    units = max(1, math.ceil(delay_s * 1000 / UNIT_MS))
    return min(units, MOST_UNITS)


def held_s(delay_s: float) -> float:
    """How long the levels hold a message for a delay of `delay_s` seconds, in seconds."""
    return _units(delay_s) * UNIT_MS / 1000


def route(delay_s: float, destination: str) -> tuple[str, str]:
    """Exchange and routing key that bring a message to `destination` after `delay_s` seconds."""
    units = _units(delay_s)
    bits = ".".join(f"{units:0{LEVELS}b}")
    return level_name(units.bit_length() - 1), f"{bits}.{destination}"
