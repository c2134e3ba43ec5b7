"""The page `/dead-letters` for tests: a day's dead letters, open circuits and jobs, served as a worker serves them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from stream.contract.events import Scope
from stream.contract.identifiers import TenantId
from stream.observe.docs import add_docs
from stream.operations.dead_letters.job import Headline, Job, Options, State
from stream.operations.dead_letters.letter import Letter
from stream.operations.dead_letters.reading import Found, read_letter
from stream.operations.page.fresh import FreshSnapshot
from stream.operations.page.overview import Letters, Overview, Snapshot, Trouble
from stream.operations.page.route import DeadLettersPage
from stream.traffic.by_hand import Place
from stream.traffic.circuit import Circuit
from stream.traffic.circuit import State as CircuitState
from tests.letters import CAUSES, letter_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TOKEN = "operator-token-that-nobody-can-guess"
PROBED_MS = int((NOW + timedelta(minutes=2)).timestamp() * 1000)
AN_HOUR_AGO_MS = int((NOW - timedelta(hours=1)).timestamp() * 1000)
REFUSED = Circuit(CircuitState.OPEN, 7, AN_HOUR_AGO_MS, PROBED_MS, reason="AUTH_ERROR")
BY_HAND = Circuit(CircuitState.OPEN, since=AN_HOUR_AGO_MS, reason="number moves to another account", by_hand=True)
TROUBLE = Trouble(
    circuits=(
        (Place(Scope.TENANT, TenantId("acme")), REFUSED),
        (Place(Scope.PHONE_NUMBER, TenantId("globex"), "100000001"), BY_HAND),
    ),
    jobs=(
        Headline(
            Job("20261123-104500-4f2a", "dana@ops-1", NOW.isoformat(), "new token for acme", {}, Options(), {}),
            State.STOPPED,
            "6 of 20 letters failed again, and 0 have no outcome yet",
            412,
        ),
        Headline(
            Job("20261122-181200-09be", "kim@ops-2", NOW.isoformat(), "Meta's outage", {}, Options(), {}),
            State.DONE,
            "",
            1_204,
        ),
    ),
)


def letter(number: int = 0, ago: timedelta = timedelta(minutes=5), **headers: Any) -> Letter:
    """The letter of one of five causes; other headers replace the worker's."""
    body, written = letter_of(CAUSES[number % len(CAUSES)], "16505551234", f"order-{number}")
    failed = (NOW - ago).isoformat()
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    merged = {**written, "x-first-seen": failed, "x-failed-at": failed, **changed}
    return read_letter(Found(body, merged), now=NOW, max_age=timedelta(days=2))


def overview(letters: Iterable[Letter]) -> Overview:
    """What a look at these letters finds."""
    found = Overview(NOW)
    for each in letters:
        found.add(each)
    return found


def a_day() -> Snapshot:
    """Two hundred letters of five causes, over a day."""
    found = overview(letter(n * n, timedelta(minutes=n * n / 28)) for n in range(200))
    return Snapshot(NOW, Letters(found, found.count), TROUBLE)


@asynccontextmanager
async def serving(snapshot: Snapshot) -> AsyncIterator[str]:
    """The address of a server that shows this, beside the site whose style it takes."""

    async def take() -> Snapshot:
        return snapshot

    app = web.Application()
    add_docs(app.router)
    DeadLettersPage(TOKEN, FreshSnapshot(take)).add_to(app.router)
    async with TestServer(app) as server:
        yield str(server.make_url("/dead-letters"))


def too_much(text: str) -> bytes:
    """A body that names a hostile tenant and template."""
    return orjson.dumps(
        {
            "metadata": {"tenantId": text, "phoneNumberId": "100000001", "internalId": text},
            "wabaPayload": {"to": "16505551234", "type": "template", "template": {"name": text}},
        }
    )
