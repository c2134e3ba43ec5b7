"""Which messages of the intake move to a lane without being read, and what their copies say.

They are moved as a settlement would move them; see `stream.broker.sorting` for how.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from aio_pika.abc import AbstractIncomingMessage

from stream.broker.republish import NotRepublishable, waiting_copy
from stream.broker.sorting import Sorted
from stream.broker.wire import UNREADABLE
from stream.contract.decoding import owner_of
from stream.contract.headers import History
from stream.contract.lanes import LANE_EXCHANGE
from stream.delivery.admission import Admission
from stream.delivery.arrival import Delivery
from stream.delivery.settlement import Settlement, move_headers


class Sorter:
    """Finds the messages that move.

    Args:
        admission: Knows the tenants that are laned.
        settlement: Reports what has moved.
        now: The current time in UTC.
    """

    def __init__(
        self, admission: Admission, settlement: Settlement, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._admission = admission
        self._settlement = settlement
        self._now = now

    def sort(self, incoming: AbstractIncomingMessage) -> Sorted | None:
        """The move of a message, if its tenant is laned and nothing about the message is unusual."""
        now = self._now()
        if UNREADABLE in incoming.headers:
            return None
        delivery = Delivery(incoming, History.read(incoming.headers, now), owner=owner_of(incoming.body))
        tenant = delivery.owner.tenant_id
        if delivery.came_before or tenant is None or (move := self._admission.move_of_laned(tenant)) is None:
            return None
        try:
            copy = waiting_copy(incoming, move_headers(delivery, now))
        except NotRepublishable:
            return None
        return Sorted(copy, LANE_EXCHANGE, move.lane, lambda: self._settlement.report(delivery, move))
