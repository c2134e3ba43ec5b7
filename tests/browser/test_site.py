"""The contract's site in a real browser, from a file and from a web server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from asyncapi.build import SITE
from stream.observe.docs import PATH, add_docs
from tests.browser.chromium import Page, browser, program
from tests.contract import contract

pytestmark = pytest.mark.skipif(program() is None, reason="needs Chromium: apt-get install chromium")

FILE = (SITE / "index.html").as_uri()
CHANNELS = contract()["channels"]
MESSAGES = contract()["components"]["messages"]


@pytest.fixture(scope="module")
async def page() -> AsyncIterator[Page]:
    async with browser() as found:
        yield found


@pytest.fixture
async def worker() -> AsyncIterator[str]:
    """The address of the site as a worker serves it, strict policy included."""
    app = web.Application()
    add_docs(app.router)
    async with TestServer(app) as server:
        yield str(server.make_url(PATH))


@pytest.fixture
def any_server() -> Iterator[str]:
    """The address of the site on a server that knows nothing of it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


async def _fresh(page: Page, url: str) -> Page:
    await page.open("about:blank")
    page.requests.clear()
    page.complaints.clear()
    await page.open(url)
    return page


async def _shown(page: Page, selector: str) -> list[str]:
    """The texts of what can be seen of a selector."""
    script = f"[...document.querySelectorAll({selector!r})].filter(e => e.checkVisibility()).map(e => e.innerText)"
    return [str(text) for text in await page.run(script)]


async def _search(page: Page, words: str) -> None:
    await page.press("/")
    await page.run(f"search.value = {words!r}; search.dispatchEvent(new Event('input'))")


async def test_from_a_file_it_asks_for_nothing_but_its_own_files_and_complains_of_nothing(page: Page) -> None:
    await _fresh(page, FILE)
    assert page.complaints == []
    assert {Path(urlsplit(url).path).parent for url in page.requests} == {SITE}
    assert {urlsplit(url).scheme for url in page.requests} == {"file"}


async def test_from_the_worker_it_asks_no_other_host_and_complains_of_nothing(page: Page, worker: str) -> None:
    await _fresh(page, worker)
    assert await page.run("document.getElementById('error-count').textContent") != ""
    assert page.complaints == []
    assert {urlsplit(url).netloc for url in page.requests} == {urlsplit(worker).netloc}


async def test_from_any_server_it_asks_no_other_host_and_complains_of_nothing(page: Page, any_server: str) -> None:
    await _fresh(page, any_server)
    assert await page.run("document.getElementById('error-count').textContent") != ""
    assert page.complaints == []
    assert {urlsplit(url).netloc for url in page.requests} == {urlsplit(any_server).netloc}


async def test_every_channel_and_every_message_is_shown(page: Page) -> None:
    await _fresh(page, FILE)
    assert await _shown(page, "[id^=channel-] h3") == [channel["title"] for channel in CHANNELS.values()]
    assert await _shown(page, "[id^=message-] h3") == list(MESSAGES)


async def test_a_channel_shows_its_routing_key_exchange_and_arguments(page: Page) -> None:
    await _fresh(page, FILE)
    (text,) = await _shown(page, "#channel-intake")
    for word in ("outbound.processed.{tenantId}", "whatsapp-exchange", "x-message-ttl: 86400000", "24 hours"):
        assert word in text


@pytest.mark.parametrize("name", list(MESSAGES))
async def test_every_example_of_a_message_unfolds_when_it_is_clicked(page: Page, name: str) -> None:
    await _fresh(page, FILE)
    folded = f"#message-{name} details.example pre"
    assert await _shown(page, folded) == []
    await page.run(f"document.querySelectorAll('#message-{name} details.example > summary').forEach(e => e.click())")
    texts = await _shown(page, folded)
    examples = MESSAGES[name]["examples"]
    assert len(texts) == len(examples) + sum(1 for example in examples if example.get("headers"))
    assert '"tenantId": "acme"' in texts[-1] or "metadata" in texts[-1]


async def test_the_picture_and_the_error_table_are_shown(page: Page) -> None:
    await _fresh(page, FILE)
    assert await page.run("document.querySelector('svg.lifecycle').getBoundingClientRect().height") > 200
    rows = await _shown(page, "#errors tbody tr")
    assert any("131056" in row and "PAIR_RATE_LIMIT" in row for row in rows)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("131056", "error-PAIR_RATE_LIMIT"),
        ("250", "error-PERMISSION_DENIED"),
        ("token expired", "error-AUTH_ERROR"),
        ("x-retries", "schema-RetryHeaders.x-retries"),
        ("DeliverySent", "message-DeliverySent"),
        ("x-message-ttl", "channel-intake"),
        ("outbound-failed", "channel-deadLetters"),
        ("cta_url", "schema-InteractiveCtaUrl"),
        ("how to publish", "how-to-publish"),
        ("retry-after", "how-it-retries"),
        ("duplicate", "what-it-promises"),
        ("resend", "error-OUTCOME_UNKNOWN"),
        ("resend", "schema-InstructionHeaders.x-resend"),
        ("new system-user token", "error-AUTH_ERROR"),
        ("5671", "server-rabbitmqTls"),
    ],
)
async def test_search_leads_to_what_was_asked_for(page: Page, words: str, place: str) -> None:
    await _fresh(page, FILE)
    await _search(page, words)
    assert place in await page.run("[...results.querySelectorAll('[role=option]')].map(e => e.dataset.target)")
    await page.run(
        f"results.querySelector('[data-target=\"{place}\"]').dispatchEvent(new MouseEvent('mousedown', "
        "{bubbles: true}))"
    )
    top = await page.run(f"document.getElementById('{place}').getBoundingClientRect().top")
    assert await page.run("location.hash") == f"#{place}"
    assert 0 <= top < await page.run("innerHeight")


async def test_a_result_shows_the_words_that_were_found(page: Page) -> None:
    await _fresh(page, FILE)
    await _search(page, "retry-after")
    (text,) = [text for text in await _shown(page, "#results li") if text.startswith("section") or "retries" in text]
    assert "Retry-After from Meta is honoured" in text


async def test_search_works_with_the_keyboard_alone(page: Page) -> None:
    await _fresh(page, FILE)
    await _search(page, "biz_opaque_callback_data")
    await page.press("ArrowDown")
    await page.press("ArrowUp")
    await page.press("Enter")
    assert await page.run("location.hash") == "#schema-Envelope.biz_opaque_callback_data"
    assert await page.run("results.hidden")


async def test_search_says_when_nothing_is_found(page: Page) -> None:
    await _fresh(page, FILE)
    await _search(page, "zzzz")
    (text,) = await _shown(page, "#results li")
    assert text.startswith("Nothing found")


async def test_a_link_to_a_folded_field_unfolds_it(page: Page) -> None:
    await _fresh(page, f"{FILE}#schema-InteractiveButton.header.image.link")
    assert await _shown(page, "[id='schema-InteractiveButton.header.image.link'] > .line") != []


async def test_the_error_table_can_be_filtered_by_words_and_by_decision(page: Page) -> None:
    await _fresh(page, FILE)
    filtered = "document.getElementById('error-words')"
    await page.run(f"{filtered}.value = 'template'; {filtered}.dispatchEvent(new Event('input'))")
    await page.run(
        "const s = document.getElementById('error-decision'); s.value = 'wait and retry';"
        "s.dispatchEvent(new Event('change'))"
    )
    (row,) = await _shown(page, "#errors tbody tr")
    assert row.startswith("TEMPLATE_SYNCING")
    await page.run("location.hash = 'error-AUTH_ERROR'")
    assert len(await _shown(page, "#errors tbody tr")) > 1
