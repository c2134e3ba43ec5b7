"""A processor in a small world: a provider, a ledger and a Meta that do what a test says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

import httpx
import pytest
from redis.asyncio import Redis

from stream.contract.headers import OnUnknown
from stream.contract.identifiers import TenantId
from stream.contract.messages import Message
from stream.delivery.circuit_reports import CircuitReports
from stream.delivery.claim import CircuitOpen, Claim, Granted, Keys, NoCredentials
from stream.delivery.claims import Claims
from stream.delivery.ledger import SentLedger
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.outcome import Failed, Outcome
from stream.delivery.processor import MessageProcessor
from stream.meta.classifier import MetaErrorClassifier
from stream.meta.client import Accepted, GraphClient
from stream.redis.link import RedisLink
from stream.tenants.credentials import Credentials
from stream.tenants.ownership import NumberOwnership, OwnsNumber
from stream.tenants.provider import CredentialProvider
from stream.traffic.circuit import Rules
from stream.traffic.circuits import Circuits
from stream.traffic.open_circuits import OpenCircuits
from stream.traffic.paces import NO_LIMITS, MessageLimits, Paces, Rates
from stream.traffic.platform import PlatformCircuit
from stream.traffic.slow_downs import SlowDown, SlowDowns
from stream.traffic.transitions import Transitions
from tests.unit.doubles import ScriptConnection, Sleeps, message
from tests.unit.seam import OverHttpx

OK = httpx.Response(200, json={"messages": [{"id": "wamid.A"}]})
REFUSED = httpx.Response(401, json={"error": {"code": 190, "message": "expired"}})
FORBIDDEN = httpx.Response(403, json={"error": {"code": 10, "message": "no permission"}})
BUSY = httpx.Response(503, json={"error": {"code": 2, "message": "busy"}})
EXPIRED = httpx.Response(400, json={"error": {"code": 131047, "message": "24 h"}})


NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def no_circuits() -> CircuitReports:
    """Circuits that are turned off: none of them asks Redis."""
    link = RedisLink(cast("Redis", ScriptConnection(lambda _: pytest.fail("no circuit may ask Redis"))))
    rules, transitions = Rules(failures=0, open_ms=1, lease_ms=1), Transitions(lambda *_: None)
    return CircuitReports(
        Circuits(link, rules, transitions, OpenCircuits(link)),
        PlatformCircuit(link, rules, transitions),
        transitions,
        hold=False,
    )


class FakeProvider(CredentialProvider):
    """Hands out a new token after each `forget`, or raises; a cached entry is its own token."""

    def __init__(self, error: Exception | None = None, owns_number: OwnsNumber = "warn") -> None:
        self._ownership = NumberOwnership(owns_number)
        self.error = error
        self.number: str | None = None  # that the credentials name
        self.asked: list[str] = []
        self.forgotten: list[tuple[str, str]] = []
        self.stubborn = False  # the Tenant Service gives the refused token again

    async def get(self, tenant_id: TenantId) -> Credentials:
        self.asked.append(tenant_id)
        if self.error is not None:
            raise self.error
        return Credentials(tenant_id, f"token-{0 if self.stubborn else len(self.forgotten)}", self.number)

    async def forget(self, tenant_id: TenantId, failed_token: str) -> None:
        self.forgotten.append((tenant_id, failed_token))

    def key(self, tenant_id: TenantId) -> str:
        return f"credentials:{tenant_id}"

    def read(self, tenant_id: TenantId, entry: bytes | None) -> Credentials | None:
        return Credentials(tenant_id, entry.decode()) if entry else None


class FakeClaims(Claims):
    """Answers with given answers, then as an empty ledger would."""

    def __init__(self, ledger: FakeLedger, *answers: Claim) -> None:
        self._ledger = ledger
        self._answers = list(answers)
        self.send_again: set[bool] = set()
        self.left_s: list[float] = []

    async def claim(  # noqa: PLR0913 - as the real one
        self,
        keys: Keys,
        owner: str,
        number_field: str,
        *,
        limits: MessageLimits = NO_LIMITS,
        left_s: float = 0,
        platform: CircuitOpen | None = None,
        send_again: bool,
        need_credentials: bool,
        needs_ledger: bool = False,
    ) -> Claim:
        assert not needs_ledger
        assert all("acme" in key for key in keys)
        assert number_field.startswith("number:1")
        self.platform = platform
        self.left_s.append(left_s)
        assert all("acme" in key for key in limits.keys)
        self._ledger.owners.add(owner)
        self.send_again.add(send_again)
        answer = self._answers.pop(0) if self._answers else NoCredentials() if need_credentials else Granted(None)
        self._ledger.story += ["claimed"] if isinstance(answer, Granted) else []
        return answer


class FakeLedger(SentLedger):
    """Notes what was recorded."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.owners: set[str] = set()

    async def record_sent(self, key: str, accepted: Accepted, *, claimed: bool, after_unknown: bool) -> None:
        assert key
        assert (claimed, after_unknown) in {(True, False), (True, True), (False, False)}
        self.story.append(f"sent {accepted.wamid}")

    async def record_unknown(self, key: str, owner: str, *, send_again: bool) -> None:
        assert (bool(key), {owner}) == (True, self.owners)
        self.story.append("unknown" if send_again else "held")

    async def release(self, key: str, owner: str) -> None:
        assert (bool(key), {owner}) == (True, self.owners)
        self.story.append("released")


class FakeSlowDowns(SlowDowns):
    """Notes what it is told; every pause takes 7 s."""

    def __init__(self) -> None:
        self.told: list[SlowDown] = []

    async def tell(self, limits: MessageLimits, slow_down: SlowDown, took_s: float, **who: str) -> float | None:
        assert limits.keys
        assert 0 <= took_s < 60
        assert who["tenantId"] == "acme"
        self.told.append(slow_down)
        return 7.0


class World:
    """A processor; Meta gives the answers in their order."""

    def __init__(
        self,
        *answers: httpx.Response | Exception,
        error: Exception | None = None,
        claims: tuple[Claim, ...] = (),
        on_unknown: OnUnknown = "retry",
        bound_s: float = 60,
        owns_number: OwnsNumber = "warn",
        circuits: CircuitReports | None = None,
    ) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.provider = FakeProvider(error, owns_number)
        self.ledger = FakeLedger()
        self.claims = FakeClaims(self.ledger, *claims)
        self.now = NOW
        self.sleeps = Sleeps()
        self.slow_downs = FakeSlowDowns()
        self.meta = OverHttpx(httpx.MockTransport(self._answer))
        self._times = iter(range(100))
        self.processor = MessageProcessor(
            credentials=self.provider,
            claims=self.claims,
            paces=Paces(Rates(number_per_s=80)),
            ledger=self.ledger,
            graph=GraphClient(
                self.meta,
                base_url="https://graph.example",
                version="v26.0",
                timeout_s=10,
                classifier=MetaErrorClassifier(),
            ),
            circuits=circuits or no_circuits(),
            slow_downs=self.slow_downs,
            on_unknown=on_unknown,
            metrics=DeliveryMetrics(),
            bound_s=bound_s,
            monotonic=lambda: float(next(self._times)),
            now=lambda: self.now,
            sleep=self.sleeps,
        )

    def pass_time(self) -> None:
        """Let a minute go by."""
        self.now += timedelta(minutes=1)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def process(self, outbound: Message | None = None) -> Outcome:
        return await self.processor.process(outbound or message())

    async def failed(self, outbound: Message | None = None) -> Failed:
        outcome = await self.process(outbound)
        assert isinstance(outcome, Failed)
        return outcome

    @property
    def tokens(self) -> list[str]:
        return [request.headers["Authorization"] for request in self.requests]
