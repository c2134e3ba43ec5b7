"""The lanes: queues beside the intake, for tenants with more messages than their share of the slots takes.

A tenant's messages all go to one lane, so they keep their order there. A lane is ours alone, and always a quorum queue:
a message that was moved must survive whatever the intake would have survived.
"""

from __future__ import annotations

import zlib
from typing import Final

from stream.contract.delays import DELIVERY_EXCHANGE

DEFAULT_LANES: Final = 8
MOST_LANES: Final = 64
LANE_PREFIX: Final = "whatsapp-lane-"

# A lane's name is its routing key on the exchange by which messages come back from a wait: one binding serves both.
LANE_EXCHANGE: Final = DELIVERY_EXCHANGE


def lane_name(number: int) -> str:
    """Name of a lane's queue, e.g. `whatsapp-lane-3`."""
    return f"{LANE_PREFIX}{number}"


def lane_names(lanes: int) -> tuple[str, ...]:
    """The names of the first `lanes` lanes."""
    return tuple(map(lane_name, range(lanes)))


def lane_of(tenant: str, lanes: int) -> str:
    """The lane of a tenant: the same in every process."""
    return lane_name(zlib.crc32(tenant.encode(errors="surrogateescape")) % lanes)
