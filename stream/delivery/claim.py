"""What a claim is answered with: a value that says whether the message may be sent now."""

from __future__ import annotations

import msgspec

from stream.meta.client import Accepted
from stream.traffic.circuit import Circuit
from stream.traffic.circuit_script import Seen


class Granted(msgspec.Struct, frozen=True):
    """The message may be sent now.

    Attributes:
        entry: The tenant's cached credentials, as they stand in Redis; `None` when there are none.
        after_unknown: An earlier send of it may have been delivered; the replica that made it, if known.
        recorded: Redis says so too, or may, since its answer was lost; false while it is away.
        seen: Circuits that the end of the try must be told to.
    """

    entry: bytes | None
    after_unknown: str | None = None
    recorded: bool = True
    seen: Seen = ()


class NoCredentials(msgspec.Struct, frozen=True):
    """Nothing is known that forbids the send, and nothing was claimed: the tenant's credentials are not cached.

    Attributes:
        recorded: Redis' answer was lost: it may have them, and have made the claim.
        seen: As in `Granted`.
    """

    recorded: bool = False
    seen: Seen = ()


class AlreadySent(msgspec.Struct, frozen=True):
    """Meta has accepted the message before.

    Attributes:
        first: What Meta answered then.
        after_unknown: A send before that one may have been delivered too.
    """

    first: Accepted
    after_unknown: bool = False


class BeingSent(msgspec.Struct, frozen=True):
    """Another try is sending it now.

    Attributes:
        left_s: When its lease ends, in seconds from now.
    """

    left_s: float


class InDoubt(msgspec.Struct, frozen=True):
    """An earlier send may have been delivered, and it must not be sent again.

    Attributes:
        replica: Which replica made that send.
    """

    replica: str


class CircuitOpen(msgspec.Struct, frozen=True):
    """Nothing was claimed: a circuit of the message is open.

    Attributes:
        left_s: When to look again, in seconds from now.
        field: Which one.
        circuit: How it stands.
    """

    left_s: float
    field: str
    circuit: Circuit


class Paced(msgspec.Struct, frozen=True):
    """Nothing was claimed: it is not the message's turn within its rate limits.

    Attributes:
        left_s: When it is, in seconds from now.
        limit: Which limit says so.
    """

    left_s: float
    limit: str


Claim = Granted | NoCredentials | AlreadySent | BeingSent | InDoubt | CircuitOpen | Paced

Keys = tuple[str, str, str]
"""Of a message: its ledger's, its tenant's credentials' and its tenant's circuits' key."""
