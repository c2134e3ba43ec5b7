"""A delivery: one arrival of a message from RabbitMQ, and what could be read of it. Reading never raises."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

import structlog
from aio_pika.abc import AbstractIncomingMessage

from stream.broker.wire import UNREADABLE, Unreadable
from stream.contract.decoding import decode
from stream.contract.headers import ORIGINAL_EXPIRATION, ORIGINAL_ROUTING_KEY, REDELIVERED, History
from stream.contract.messages import MESSAGE_MAX_BYTES, UNKNOWN_OWNER, InvalidMessage, Message, OutboundMessage, Whose
from stream.contract.moments import read_moment
from stream.contract.queues import INTAKE_PREFIX
from stream.contract.validity import ALWAYS, Validity
from stream.delivery.outcome import Failed, NotCopyable, Outcome
from stream.meta.failure import Failure

# As RabbitMQ reads the property: a sign and any number of zeros are allowed. It takes ten years at most; a header may
# say anything, and what has more digits than this ends after `MESSAGE_MAX_AGE_MS` anyway.
_EXPIRATION: Final = re.compile(r"[+-]?0+|\+?0*([1-9][0-9]{0,9})")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How large and how old a message may be.

    Attributes:
        max_bytes: `MESSAGE_MAX_BYTES`.
        max_age: `MESSAGE_MAX_AGE_MS`, from the moment when a worker first saw it.
    """

    max_bytes: int = MESSAGE_MAX_BYTES
    max_age: timedelta = timedelta(days=1)


@dataclass(slots=True, eq=False)
class Delivery:
    """One arrival of a message from the broker, and what could be read of it.

    Attributes:
        incoming: The broker's message, still unacknowledged.
        history: What has happened to it before.
        message: Its content, once it is read and valid.
        problem: Why it is not tried.
        owner: Whose it is, as far as that is known without a valid message.
        validity: Until when it may be sent.
        limits: How large and how old it may be.
        lane: The lane that it came from; empty if it came from the intake.
    """

    incoming: AbstractIncomingMessage
    history: History
    message: Message | None = None
    problem: Outcome | None = None
    owner: Whose = UNKNOWN_OWNER
    validity: Validity = ALWAYS
    limits: Limits = Limits()
    lane: str = ""

    @classmethod
    def read(cls, incoming: AbstractIncomingMessage, now: datetime, limits: Limits, lane: str = "") -> Self:
        """Read a delivery, except the body of one that was delivered before: see `is_unread`."""
        if isinstance(unreadable := incoming.headers.get(UNREADABLE), Unreadable):
            # Neither its history can be read nor a faithful copy be made.
            problem = NotCopyable(f"properties cannot be decoded: {unreadable}")
            return cls(incoming, History(now), problem=problem, lane=lane)
        delivery = cls(incoming, History.read(incoming.headers, now), limits=limits, lane=lane)
        if not delivery.came_before:
            delivery.open()
        return delivery

    @property
    def came_before(self) -> bool:
        """Whether the broker has delivered it before: this one, or (header `x-redelivered`) an earlier copy of it."""
        return bool(self.incoming.redelivered) or REDELIVERED in self.incoming.headers

    @property
    def is_unread(self) -> bool:
        """Whether its body is still unread: reading it may have ended a process before."""
        return self.message is None and self.problem is None

    @property
    def opened(self) -> Message:
        """The content of a delivery that has no problem.

        Raises:
            LookupError: It has a problem, or is unread.
        """
        if self.message is None:
            raise LookupError("this delivery has no message: it has a problem, or its body was not read")
        return self.message

    @property
    def whose(self) -> Message | Whose:
        """Whose it is, as far as that is known."""
        return self.message or self.owner

    @property
    def holder(self) -> str:
        """Whose share of the slots it takes: its tenant's. While it is unread, its routing key stands for the tenant.

        Publishers end the key with the tenant. One that does not only has a share of its own for such messages.
        """
        if tenant := self.whose.tenant_id:
            return tenant
        key = self.incoming.headers.get(ORIGINAL_ROUTING_KEY) or self.incoming.routing_key
        return str(key).removeprefix(INTAKE_PREFIX)

    @property
    def published_at(self) -> float:
        """When upstream made or published it, else when a worker first saw it, in seconds since the epoch.

        The message's own `metadata.timestamp` is the most exact: AMQP's property has whole seconds.
        """
        stated = self.message.timestamp if self.message else None
        try:
            if stated is not None:
                return read_moment(stated).timestamp()
        except ValueError:
            pass
        return (self.incoming.timestamp or self.history.first_seen).timestamp()

    def open(self) -> None:
        """Read the body: after that, there is a message or a problem."""
        incoming = self.incoming
        try:
            self.validity = on_arrival(incoming, self.history.first_seen, self.limits.max_age)
            self.message = decode(incoming.body, incoming.headers, self.validity, max_bytes=self.limits.max_bytes)
            self.validity = self.message.validity
        except InvalidMessage as error:
            self.problem, self.owner = Failed(Failure.of("INVALID_MESSAGE", str(error))), error.whose
        except Exception as error:
            log.exception("unreadable_message")
            self.problem = Failed(Failure.of("INTERNAL_ERROR", f"{type(error).__name__}: {error}"))

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: Any) -> Any:
        """FastStream asks for the schema of the handler's argument: the contract shows what upstream publishes."""
        return handler(OutboundMessage)


def on_arrival(incoming: AbstractIncomingMessage, first_seen: datetime, max_age: timedelta) -> Validity:
    """What a message's properties and its age say; the same on every arrival, however often it has waited.

    `expiration` counts from the property `timestamp`, or from the first sight where there is none or it is later.
    """
    too_old = first_seen + max_age
    milliseconds = _expiration_ms(incoming)
    if milliseconds is None:
        return Validity(too_old)
    published = min(incoming.timestamp or first_seen, first_seen)
    return Validity(too_old, published + timedelta(milliseconds=milliseconds), "expiration")


def _expiration_ms(incoming: AbstractIncomingMessage) -> float | None:
    """The property; a copy that has waited has it as a header, or the wait would have ended early."""
    if incoming.expiration is not None:
        return float(str(incoming.expiration)) * 1000  # aio-pika's is in seconds
    header = incoming.headers.get(ORIGINAL_EXPIRATION)
    found = _EXPIRATION.fullmatch(header) if isinstance(header, str) else None
    return int(found[1] or 0) if found else None
