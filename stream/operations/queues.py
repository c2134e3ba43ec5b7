"""How many messages lie on the worker's queues: RabbitMQ shows nobody one of them without giving it away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from stream.contract import delays
from stream.contract.lanes import MOST_LANES, lane_names
from stream.contract.queues import due_queue

ANSWER_S: Final = 10.0
UNKNOWN: Final = "not known (this user has no right on it)"
NUMBERS_ONLY: Final = "RabbitMQ tells numbers only: the message may be one of these, or one that a worker holds"
NONE_THERE: Final = "the message lies on none of these; a worker may hold it"


@dataclass(frozen=True, slots=True)
class Queues:
    """Messages that lie ready; `None` where RabbitMQ does not tell: since 4.2.6 it asks for some right on the queue.

    Attributes:
        intake: On the intake.
        lanes: On each lane that has some.
        waiting: On all delay levels.
        due: On the queue of messages whose reserved time has come.
    """

    intake: int | None
    lanes: Mapping[str, int] | None
    waiting: int | None
    due: int | None

    def to_json(self) -> dict[str, Any]:
        """The object that scripts get."""
        counts = {"intake": self.intake, "lanes": self.lanes, "waiting": self.waiting, "due": self.due}
        return {"place": "queues", **counts}

    def to_text(self) -> str:
        """For people."""
        lanes = {"lanes": None} if self.lanes is None else self.lanes
        counts = {"intake": self.intake, **lanes, "waiting": self.waiting, "due": self.due}
        shown = ", ".join(f"{name} {UNKNOWN if count is None else count}" for name, count in counts.items())
        return f"queues: {shown}\n  {NONE_THERE if set(counts.values()) == {0} else NUMBERS_ONLY}"


async def read_queues(connection: AbstractConnection, intake_queue: str) -> Queues:
    """Ask for the numbers.

    Args:
        connection: An open one.
        intake_queue: `INTAKE_QUEUE`.

    Raises:
        AMQPError: RabbitMQ does not answer.
    """
    levels = [delays.level_name(level) for level in range(delays.LEVELS)]
    groups = ([intake_queue], lane_names(MOST_LANES, intake_queue), levels, [due_queue(intake_queue)])
    # All before the first question: a refusal closes a channel, and aiormq gives its number away too early.
    channels = [await connection.channel(publisher_confirms=False) for _ in groups]
    intake, lanes, waiting, due = [
        await _counts(channel, names) for channel, names in zip(channels, groups, strict=True)
    ]
    return Queues(
        intake=_sum(intake),
        lanes=lanes and {name: count for name, count in lanes.items() if count},
        waiting=_sum(waiting),
        due=_sum(due),
    )


def _sum(counts: Mapping[str, int] | None) -> int | None:
    return None if counts is None else sum(counts.values())


async def _counts(channel: AbstractChannel, names: Iterable[str]) -> dict[str, int] | None:
    """Messages on each queue, up to the first that is not there; `None` if this user may not ask."""
    counts: dict[str, int] = {}
    try:
        for name in names:
            found = await channel.queue_declare(name, passive=True, timeout=ANSWER_S)
            counts[name] = found.message_count or 0
    except ChannelAccessRefused:
        return None
    except ChannelNotFoundEntity:
        pass
    return counts
