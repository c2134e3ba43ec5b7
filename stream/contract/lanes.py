"""The lanes: queues beside the intake, for tenants with more messages than their share of the slots takes.

A tenant's messages all go to one lane, so they keep their order there. A lane is ours alone, and always a quorum queue:
a message that was moved must survive whatever the intake would have survived.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from stream.contract.delays import DELIVERY_EXCHANGE
from stream.contract.queues import INTAKE_QUEUE

DEFAULT_LANES: Final = 8
MOST_LANES: Final = 64
LANE_PREFIX: Final = "whatsapp-lane-"

# A lane's name is its routing key on the exchange by which messages come back from a wait: one binding serves both.
LANE_EXCHANGE: Final = DELIVERY_EXCHANGE


def lane_name(number: int, intake: str = INTAKE_QUEUE) -> str:
    """Name of a lane's queue: `whatsapp-lane-3`, or `whatsapp-lane-INTAKE-3` of another intake than the default."""
    return f"{LANE_PREFIX}{number}" if intake == INTAKE_QUEUE else f"{LANE_PREFIX}{intake}-{number}"


def lane_names(lanes: int, intake: str = INTAKE_QUEUE) -> tuple[str, ...]:
    """The names of the first `lanes` lanes."""
    return tuple(lane_name(number, intake) for number in range(lanes))


def lane_of(tenant: str, lanes: Sequence[str]) -> str:
    """The lane of a tenant, of all lanes' names: the same in every process."""
    return lanes[zlib.crc32(tenant.encode(errors="surrogateescape")) % len(lanes)]
