"""A delivery: one arrival of a message from RabbitMQ, and what could be read of it. Reading never raises."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import structlog
from aio_pika.abc import AbstractIncomingMessage

from stream.broker.wire import UNREADABLE, Unreadable
from stream.contract.decoding import decode
from stream.contract.headers import REDELIVERED, History
from stream.contract.messages import MESSAGE_MAX_BYTES, UNKNOWN_OWNER, InvalidMessage, Message, OutboundMessage, Whose
from stream.contract.validity import ALWAYS, Validity, on_arrival
from stream.delivery.outcome import Failed, NotCopyable, Outcome
from stream.meta.failure import Failure

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is read of a message.

    Attributes:
        max_bytes: `MESSAGE_MAX_BYTES`.
        max_age: `MESSAGE_MAX_AGE_MS`, from the first sight.
    """

    max_bytes: int = MESSAGE_MAX_BYTES
    max_age: timedelta = timedelta(days=1)


@dataclass(slots=True, eq=False)
class Delivery:
    """One message as it came from the broker, and what could be read of it.

    Attributes:
        incoming: The broker's message, still unacknowledged.
        history: What has happened to it before.
        message: Its content, once it is read and valid.
        problem: Why it is not tried.
        unread: Whose it is, as far as bytes that are no message say so.
        validity: Until when it may be sent.
        limits: What is read of it.
    """

    incoming: AbstractIncomingMessage
    history: History
    message: Message | None = None
    problem: Outcome | None = None
    unread: Whose = UNKNOWN_OWNER
    validity: Validity = ALWAYS
    limits: Limits = Limits()

    @classmethod
    def read(cls, incoming: AbstractIncomingMessage, now: datetime, limits: Limits) -> Self:
        """Read what came, but for the body of one that was delivered before: see `is_sealed`."""
        if isinstance(unreadable := incoming.headers.get(UNREADABLE), Unreadable):
            # Neither its history nor a faithful copy can be had.
            problem = NotCopyable(f"properties cannot be decoded: {unreadable}")
            return cls(incoming, History(now), problem=problem)
        delivery = cls(incoming, History.read(incoming.headers, now), limits=limits)
        if not delivery.came_before:
            delivery.open()
        return delivery

    @property
    def came_before(self) -> bool:
        """Whether the broker has delivered it before, this copy or the one that it was made of."""
        return bool(self.incoming.redelivered) or REDELIVERED in self.incoming.headers

    @property
    def is_sealed(self) -> bool:
        """Whether its body is still unread: it may have ended the process that read it before."""
        return self.message is None and self.problem is None

    @property
    def opened(self) -> Message:
        """The content of one that has no problem.

        Raises:
            LookupError: It has one, or is sealed.
        """
        if self.message is None:
            raise LookupError("a delivery that was not opened has no message")
        return self.message

    @property
    def whose(self) -> Message | Whose:
        """Whose it is, as far as that is known."""
        return self.message or self.unread

    def open(self) -> None:
        """Read the body: then there is a message, or a problem."""
        incoming = self.incoming
        try:
            self.validity = on_arrival(incoming, self.history.first_seen, self.limits.max_age)
            self.message = decode(incoming.body, incoming.headers, self.validity, max_bytes=self.limits.max_bytes)
            self.validity = self.message.validity
        except InvalidMessage as error:
            self.problem, self.unread = Failed(Failure.of("INVALID_MESSAGE", str(error))), error.whose
        except Exception as error:
            log.exception("unreadable_message")
            self.problem = Failed(Failure.of("INTERNAL_ERROR", f"{type(error).__name__}: {error}"))

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: Any) -> Any:
        """In the contract, what is delivered is what upstream publishes."""
        return handler(OutboundMessage)
