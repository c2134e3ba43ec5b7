"""The page `/dead-letters`: only for who has the token, and whatever a letter says, only text comes out."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from stream.observe.health import HealthServer
from stream.operations.page.access import may_look
from stream.operations.page.document import STYLE_HASH, document
from stream.operations.page.fresh import FRESH_S, FreshSnapshot
from stream.operations.page.overview import Letters, Overview, Snapshot, Trouble
from stream.operations.page.words import age
from stream.traffic.circuit import Circuit, State
from tests.operator_page import NOW, TOKEN, TROUBLE, a_day, letter, overview, serving, too_much
from tests.unit.doubles import NO_TLS, Clock, turns
from tests.unit.test_letters import letter as letter_with_body

HOSTILE = "<script>alert(1)</script>\"'&\x1b[2J\u202e +16505551234 Bearer s3cret"


def basic(password: str, user: str = "operator") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@asynccontextmanager
async def asking(snapshot: Snapshot, authorization: str | None) -> AsyncIterator[httpx.Response]:
    headers = {"Authorization": authorization} if authorization is not None else {}
    async with serving(snapshot) as url, httpx.AsyncClient(verify=NO_TLS) as client:
        yield await client.get(url, headers=headers)


@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"bearer {TOKEN}", basic(TOKEN), basic(TOKEN, "")])
async def test_the_token_opens_the_page_as_a_bearer_token_and_as_a_password(authorization: str) -> None:
    async with asking(a_day(), authorization) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "200 letters" in answer.text


@pytest.mark.parametrize(
    "authorization",
    [
        *(None, "", TOKEN, "Bearer", "Basic !", "Bearer \u00e9".encode()),
        *(f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Digest {TOKEN}", f"Basic {TOKEN}"),
        *(basic(TOKEN + "x"), basic(""), "Basic " + base64.b64encode(TOKEN.encode()).decode()),
    ],
)
async def test_without_the_token_nothing_is_looked_at_and_nothing_is_told(authorization: str | None) -> None:
    async with asking(a_day(), authorization) as answer:
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert "acme" not in answer.text
        assert TOKEN not in answer.text + str(answer.headers)


def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, token: bytes) -> bool:
        compared.append((given, token))
        return False

    monkeypatch.setattr("hmac.compare_digest", compare)
    assert not may_look(f"Bearer {TOKEN}", TOKEN)
    assert not may_look(None, TOKEN)
    assert compared == [(TOKEN.encode(), TOKEN.encode()), (b"", TOKEN.encode())]


@pytest.mark.parametrize("authorization", [basic(TOKEN), None])
async def test_the_answer_is_kept_nowhere_framed_nowhere_and_may_load_nothing_from_elsewhere(
    authorization: str | None,
) -> None:
    async with asking(a_day(), authorization) as answer:
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            "style-src": f"'self' '{STYLE_HASH}'",
            "img-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in answer.headers
        assert "http" not in re.sub("<!doctype html>|<html|</html>", "", answer.text)


async def test_without_a_token_set_there_is_no_page() -> None:
    async def nothing() -> tuple[str, dict[str, object]]:
        return "healthy", {}

    async def no_metrics() -> bytes:
        return b""

    server = HealthServer("127.0.0.1", 0, status=nothing, ready=lambda: True, alive=lambda: True, metrics=no_metrics)
    port = await server.start()
    try:
        async with httpx.AsyncClient(verify=NO_TLS) as client:
            answer = await client.get(
                f"http://127.0.0.1:{port}/dead-letters", headers={"Authorization": f"Bearer {TOKEN}"}
            )
    finally:
        await server.stop()
    assert answer.status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_done_on_the_page(method: str) -> None:
    async with serving(a_day()) as url, httpx.AsyncClient(verify=NO_TLS) as client:
        assert (await client.request(method, url, headers={"Authorization": basic(TOKEN)})).status_code == 405


def test_whatever_a_letter_says_is_text_without_numbers_and_secrets() -> None:
    headers: dict[str, Any] = {
        "x_error_type": HOSTILE,
        "x_error_detail": HOSTILE,
        "x_tenant_id": HOSTILE,
        "x_fingerprint": HOSTILE,
    }
    found = overview([letter_with_body(too_much(HOSTILE), **headers)])
    html = document(Snapshot(NOW, Letters(found, 1)))
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 4  # type, template, detail, tenant
    for never in ("\x1b", "\u202e", "s3cret", "16505551234"):
        assert never not in html


def test_a_fingerprint_that_no_worker_writes_is_in_no_command() -> None:
    found = overview([letter(x_fingerprint="$(reboot)"), letter(x_fingerprint="00000000deadbeef\n")])
    html = document(Snapshot(NOW, Letters(found, 2)))
    assert "reboot" not in html
    assert "--fingerprint" not in html


def plain(html: str) -> str:
    return re.sub("<[^>]*>", "", html)


@pytest.mark.parametrize(
    ("replay", "command"),
    [
        ("safe", "stream dead-letters replay --fingerprint 00000000deadbeef --reason WHY"),
        ("fix-first", "stream dead-letters replay --fingerprint 00000000deadbeef --reason WHY --anyway"),
        ("in-doubt", "stream dead-letters replay --fingerprint 00000000deadbeef --reason WHY --resend-in-doubt"),
        ("pointless", "stream dead-letters discard --fingerprint 00000000deadbeef --reason WHY --backup letters.gz"),
    ],
)
def test_each_cause_has_the_command_for_its_letters(replay: str, command: str) -> None:
    found = overview([letter(x_replay=replay, x_fingerprint="00000000deadbeef")])
    html = document(Snapshot(NOW, Letters(found, 1)))
    (shown,) = re.findall("<pre>(.*?)</pre>", html)
    assert plain(shown) == command


def test_letters_are_counted_by_hour_and_the_oldest_is_named() -> None:
    hours = (-0.1, 0.5, 0.9, 1.5, 23.9, 24.1, 75.5)  # one is from the future: another machine's clock is ahead
    found = overview(letter(ago=timedelta(hours=ago)) for ago in hours)
    assert (found.hours[0], found.hours[1], found.hours[23], sum(found.hours)) == (3, 1, 1, 5)
    text = plain(document(Snapshot(NOW, Letters(found, 7))))
    assert "3 in the last hour, 4 in 6 hours, 5 in 24 hours" in text
    assert "Oldest: 3 d 3 h old" in text


def test_a_letter_without_a_moment_is_counted_too() -> None:
    found = overview([letter(x_failed_at=None)])
    assert (found.count, found.oldest) == (1, None)
    assert "1 letter" in plain(document(Snapshot(NOW, Letters(found, 1))))


def test_what_is_not_known_is_a_sentence() -> None:
    empty = Overview(NOW)
    text = plain(
        document(
            Snapshot(
                NOW,
                Letters(empty, sentence="the RabbitMQ user 'w' needs the right to read the queue outbound-failed."),
                Trouble(sentence="Redis does not answer."),
            )
        )
    )
    assert "needs the right to read the queue outbound-failed." in text
    assert "Redis does not answer." in text
    assert text.count("Unknown.") == 2
    assert "0 letters" not in text


def test_more_causes_than_fit_are_counted() -> None:
    found = overview(letter(x_fingerprint=f"{n:016x}") for n in range(60))
    html = document(Snapshot(NOW, Letters(found, 60)))
    assert html.count("<article>") == 50
    assert "10 more causes with 10 letters are not shown" in html


def test_circuits_and_jobs_are_shown_and_their_words_are_text() -> None:
    text = plain(document(a_day()))
    for words in ("tenant acme", "phone number globex/100000001", "open by hand", "412", "dana@ops-1", "stopped"):
        assert words in text
    html = document(Snapshot(NOW, Letters(Overview(NOW), 0), _saying(HOSTILE)))
    assert "<script" not in html
    assert "16505551234" not in html


def _saying(words: str) -> Trouble:
    """A circuit and a job whose words are these."""
    (place, _), (each, _) = TROUBLE.circuits[0], TROUBLE.jobs
    job = replace(each.job, why=words, who=words)
    return Trouble([(place, Circuit(State.OPEN, reason=words))], [replace(each, because=words, job=job)])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min 0 s"),
        (3_661, "1 h 1 min"),
        (90_000, "1 d 1 h"),
        (86_405, "1 d 0 h"),
    ],
)
def test_an_age_is_told_in_its_largest_unit_and_the_next(seconds: int, words: str) -> None:
    assert age(timedelta(seconds=seconds)) == words


def counting(clock: Clock, gate: asyncio.Event) -> tuple[FreshSnapshot, Callable[[], int]]:
    taken: list[Snapshot] = []

    async def take() -> Snapshot:
        taken.append(Snapshot(NOW, Letters(Overview(NOW))))
        await gate.wait()
        return taken[-1]

    return FreshSnapshot(take, monotonic=clock), lambda: len(taken)


async def test_ten_readers_cost_one_look_and_so_does_who_reads_again_within_seconds() -> None:
    clock, gate = Clock(), asyncio.Event()
    snapshots, looks = counting(clock, gate)
    readers = [asyncio.create_task(snapshots.read()) for _ in range(10)]
    await turns()
    readers[0].cancel()  # one goes away, and the others get theirs
    await turns()
    gate.set()
    first, *others = await asyncio.gather(*readers[1:])
    assert all(each is first for each in others)
    clock.now += FRESH_S - 0.1
    assert await snapshots.read() is first
    assert looks() == 1
    clock.now += 0.2
    assert await snapshots.read() is not first
    assert looks() == 2


async def test_a_look_that_failed_is_not_kept() -> None:
    answers: list[Snapshot | Exception] = [RuntimeError("a bug"), Snapshot(NOW, Letters(Overview(NOW)))]
    clock = Clock()

    async def take() -> Snapshot:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    snapshots = FreshSnapshot(take, monotonic=clock)
    with pytest.raises(RuntimeError):
        await snapshots.read()
    clock.now += FRESH_S + 1
    assert (await snapshots.read()).at == NOW


async def test_who_waits_too_long_for_a_look_is_told_so_and_the_look_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.operations.page.fresh.PATIENCE_S", 0.01)
    gate = asyncio.Event()
    snapshots, looks = counting(Clock(), gate)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await snapshots.read()
    gate.set()
    await turns()
    assert (await snapshots.read()).at == NOW
    assert looks() == 1
