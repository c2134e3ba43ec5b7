"""A simulator of the Tenant Service: it returns Meta credentials for every tenant id it is asked for.

The id says how the service behaves, so that a test needs no set-up:

  id                      what happens
  ----------------------  ----------------------------------------------------------------
  missing-...             404
  suspended-...           403
  status-suspended-...    200 with status SUSPENDED
  ended-...               200 with an expiresAt in the past
  expired-...             always a token that Meta takes as expired
  rotating-...            an expired token on the first fetch, a good one afterwards
  flaky-...               503 for the first two fetches
  broken-...              always 500
  hanging-...             never an answer
  notoken-...             200 without a token
  slow-...                the answer takes a second
  ...-shape2 to -shape4   the other shapes of the answer that deployments use
  anything else           200 with a good token
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aiohttp import web

from sandbox.server import SimulatedServer, reset_connection

if TYPE_CHECKING:
    from collections.abc import Iterable

PHONE_NUMBER_ID = "100000001"
SLOW_SECONDS = 1.0
FLAKY_FETCHES = 2

REFUSALS = {"missing-": (404, "tenant not found"), "suspended-": (403, "tenant suspended"), "broken-": (500, "a bug")}


@dataclass(frozen=True)
class Fetch:
    """One request for credentials."""

    received_at: float  # monotonic
    tenant_id: str
    path: str
    headers: dict[str, str] = field(repr=False)  # with the authorization, for tests in this process only


class TenantService(SimulatedServer):
    """A Tenant Service whose failures are chosen by the tenant id or by a test."""

    def __init__(self, required_token: str | None = None) -> None:
        super().__init__()
        self.required_token = required_token
        self.fetches: Counter[str] = Counter()
        self.requests: list[Fetch] = []
        self.down = False
        self.delay = 0.0
        self.rates: dict[str, float] = {}  # tenant: messages per second that its credentials name
        self._failure: int | None = None
        self._removed: set[str] = set()
        self._generations: Counter[str] = Counter()

    def fail_with(self, status: int | None) -> None:
        """Answer every tenant with this HTTP status, until None."""
        self._failure = status

    def remove(self, tenant_id: str) -> None:
        """Answer 404 for this tenant from now on."""
        self._removed.add(tenant_id)

    def token(self, tenant_id: str) -> str:
        """The token that the tenant has now."""
        return f"EAAG{_header_safe(tenant_id)}-{self._generations[tenant_id]}"

    def rotate(self, tenant_id: str) -> str:
        """Give the tenant a new token and return the old one."""
        old = self.token(tenant_id)
        self._generations[tenant_id] += 1
        return old

    def summary(self) -> dict[str, Any]:
        """How often credentials were fetched."""
        return {"fetches": self.fetches.total(), "tenants": dict(self.fetches)}

    def reset(self) -> None:
        """Forget the fetches and rotations, and work again."""
        self.fetches.clear()
        self.requests.clear()
        self._generations.clear()
        self._removed.clear()
        self.rates.clear()
        self.down, self.delay, self._failure = False, 0.0, None

    def routes(self) -> Iterable[web.RouteDef]:
        """Both paths that deployments use."""
        return [
            web.get("/api/v1/tenants/{tenant_id:[^/]+}/credentials", self._get_credentials),
            web.get("/tenants/{tenant_id:[^/]+}/credentials/meta", self._get_credentials),
            web.post("/_sandbox/fail", self._post_fail),
        ]

    async def _get_credentials(self, request: web.Request) -> web.Response:
        tenant_id = request.match_info["tenant_id"]
        self.fetches[tenant_id] += 1
        self.requests.append(Fetch(time.monotonic(), tenant_id, request.path_qs, dict(request.headers)))
        await asyncio.sleep(self.delay + (SLOW_SECONDS if tenant_id.startswith("slow-") else 0))
        if tenant_id.startswith("hanging-"):
            await asyncio.Event().wait()
        if self.down:
            return reset_connection(request)
        return self._refuse(request, tenant_id) or web.json_response(self._credentials(tenant_id))

    def _refuse(self, request: web.Request, tenant_id: str) -> web.Response | None:
        if self._failure is not None:
            return _error(self._failure, "the whole service fails")
        if self.required_token and request.headers.get("Authorization") != f"Bearer {self.required_token}":
            return _error(401, "a bearer token is required")
        if tenant_id.startswith("flaky-") and self.fetches[tenant_id] <= FLAKY_FETCHES:
            return _error(503, "try again")
        if tenant_id in self._removed:
            return _error(*REFUSALS["missing-"])
        refusals = (_error(*refusal) for prefix, refusal in REFUSALS.items() if tenant_id.startswith(prefix))
        return next(refusals, None)

    def _credentials(self, tenant_id: str) -> dict[str, Any]:
        status = "SUSPENDED" if tenant_id.startswith("status-suspended-") else "active"
        token = self._handed_out(tenant_id)
        match tenant_id.rpartition("-")[2]:
            case "shape2":
                answer = {"accessToken": token, "phoneNumberId": PHONE_NUMBER_ID}
            case "shape3":
                answer = {"meta_access_token": token, "whatsapp_phone_number_id": PHONE_NUMBER_ID}
            case "shape4":
                answer = {"token": token, "phoneNumberId": PHONE_NUMBER_ID}
            case _:
                days = -1 if tenant_id.startswith("ended-") else 60
                return _full_answer(token, status, days, self.rates.get(tenant_id))
        return {name: value for name, value in answer.items() if value is not None}

    def _handed_out(self, tenant_id: str) -> str | None:
        if tenant_id.startswith("notoken-"):
            return None
        first_of_rotating = tenant_id.startswith("rotating-") and self.fetches[tenant_id] == 1
        if tenant_id.startswith("expired-") or first_of_rotating:
            return f"EAAGexpired-{_header_safe(tenant_id)}"
        return self.token(tenant_id)

    async def _post_fail(self, request: web.Request) -> web.Response:
        self.fail_with((await request.json()).get("status"))
        return web.json_response({"failing_with": self._failure})


def _header_safe(tenant_id: str) -> str:
    return quote(tenant_id, safe=":@").replace("%", "_")


def _full_answer(token: str | None, status: str, days: int, rate: float | None) -> dict[str, Any]:
    credentials: dict[str, Any] = {
        "phoneNumberId": PHONE_NUMBER_ID,
        "businessAccountId": "200000001",
    }
    if rate is not None:
        credentials["rateLimits"] = {"messagesPerSecond": rate}
    if token is not None:
        credentials["systemUserAccessToken"] = token
    expires = datetime.now(UTC) + timedelta(days=days)
    return {"credentials": credentials, "status": status, "expiresAt": expires.isoformat(timespec="seconds")}


def _error(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)
