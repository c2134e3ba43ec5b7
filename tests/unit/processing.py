"""A processor in a small world: a provider, a ledger and a Meta that do what a test says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx

from stream.contract.headers import OnUnknown
from stream.contract.identifiers import TenantId
from stream.contract.messages import Message
from stream.delivery.ledger import Claim, Granted, NoCredentials, SentLedger
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.outcome import Failed, Outcome
from stream.delivery.processor import MessageProcessor
from stream.meta.classifier import MetaErrorClassifier
from stream.meta.client import Accepted, GraphClient
from stream.tenants.credentials import Credentials
from stream.tenants.ownership import NumberOwnership, OwnsNumber
from stream.tenants.provider import CredentialProvider
from tests.unit.doubles import message
from tests.unit.seam import OverHttpx

OK = httpx.Response(200, json={"messages": [{"id": "wamid.A"}]})
REFUSED = httpx.Response(401, json={"error": {"code": 190, "message": "expired"}})
FORBIDDEN = httpx.Response(403, json={"error": {"code": 10, "message": "no permission"}})
BUSY = httpx.Response(503, json={"error": {"code": 2, "message": "busy"}})
EXPIRED = httpx.Response(400, json={"error": {"code": 131047, "message": "24 h"}})


NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class FakeProvider(CredentialProvider):
    """Hands out a new token after each `forget`, or raises; a cached entry is its own token."""

    def __init__(self, error: Exception | None = None, owns_number: OwnsNumber = "warn") -> None:
        self._ownership = NumberOwnership(owns_number)
        self.error = error
        self.number: str | None = None  # that the credentials name
        self.asked: list[str] = []
        self.forgotten: list[tuple[str, str]] = []

    async def get(self, tenant_id: TenantId) -> Credentials:
        self.asked.append(tenant_id)
        if self.error is not None:
            raise self.error
        return Credentials(tenant_id, f"token-{len(self.forgotten)}", self.number)

    async def forget(self, tenant_id: TenantId, failed_token: str) -> None:
        self.forgotten.append((tenant_id, failed_token))

    def key(self, tenant_id: TenantId) -> str:
        return f"credentials:{tenant_id}"

    def read(self, tenant_id: TenantId, entry: bytes | None) -> Credentials | None:
        return Credentials(tenant_id, entry.decode()) if entry else None


class FakeLedger(SentLedger):
    """Answers claims with given answers, then as an empty ledger would; notes what was recorded."""

    def __init__(self, *claims: Claim) -> None:
        self.claims = list(claims)
        self.story: list[str] = []
        self.owners: set[str] = set()
        self.send_again: set[bool] = set()

    async def claim(
        self, key: str, owner: str, credentials_key: str, *, send_again: bool, need_credentials: bool
    ) -> Claim:
        assert "acme" in key
        assert "acme" in credentials_key
        self.owners.add(owner)
        self.send_again.add(send_again)
        answer = self.claims.pop(0) if self.claims else NoCredentials() if need_credentials else Granted(None)
        self.story += ["claimed"] if isinstance(answer, Granted) else []
        return answer

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
    ) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.provider = FakeProvider(error, owns_number)
        self.ledger = FakeLedger(*claims)
        self.now = NOW
        self.meta = OverHttpx(httpx.MockTransport(self._answer))
        self._times = iter(range(100))
        self.processor = MessageProcessor(
            credentials=self.provider,
            ledger=self.ledger,
            graph=GraphClient(
                self.meta,
                base_url="https://graph.example",
                version="v26.0",
                timeout_s=10,
                classifier=MetaErrorClassifier(),
            ),
            on_unknown=on_unknown,
            metrics=DeliveryMetrics(),
            bound_s=bound_s,
            monotonic=lambda: float(next(self._times)),
            now=lambda: self.now,
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
