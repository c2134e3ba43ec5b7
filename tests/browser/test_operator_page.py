"""The page `/dead-letters` as an operator reads it: in the hand and on a desk, light and dark."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stream.operations.page.overview import Letters, Overview, Snapshot, Trouble
from tests.browser.chromium import Page, browser, program
from tests.operator_page import NOW, TOKEN, a_day, letter, overview, serving

pytestmark = pytest.mark.skipif(program() is None, reason="needs Chromium: apt-get install chromium")

HAND, DESK = (390, 844), (1440, 1000)
SIZES = pytest.mark.parametrize("size", [(320, 640), HAND, (800, 1000), DESK], ids=lambda size: str(size[0]))
LOOKS = (Path(__file__).parent / "looks.js").read_text(encoding="utf-8")
LONG = "A" * 400
HOSTILE = "<script>document.title = 'gone'</script><img src=http://evil.example/x>"
UNKNOWN = Snapshot(NOW, Letters(Overview(NOW), sentence="`RABBITMQ_URL` is away."), Trouble(sentence="So is Redis."))


def of(words: str) -> Snapshot:
    """A page whose letter says this everywhere."""
    said = letter(x_error_type=words, x_error_detail=words, x_tenant_id=words, x_fingerprint=words)
    return Snapshot(NOW, Letters(overview([said]), 1))


PAGES = pytest.mark.parametrize("shown", [a_day(), of(LONG), UNKNOWN], ids=["a day", "long words", "nothing known"])


@pytest.fixture(scope="module")
async def page() -> AsyncIterator[Page]:
    async with browser() as found:
        yield found


async def _open(page: Page, url: str, size: tuple[int, int], scheme: str = "light") -> None:
    await page.show(*size, scheme)
    await page.open("about:blank")
    page.complaints.clear()
    page.requests.clear()
    password = base64.b64encode(f"operator:{TOKEN}".encode()).decode()
    await page.call("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {password}"})
    await page.open(url)


@SIZES
@PAGES
async def test_nothing_is_wider_than_the_window(page: Page, shown: Snapshot, size: tuple[int, int]) -> None:
    async with serving(shown) as url:
        await _open(page, url, size)
        assert await page.run(f"{LOOKS}\ntooWide()") == []
        assert await page.run("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [HAND, DESK], ids=lambda size: str(size[0]))
async def test_every_text_stands_out_and_the_ground_is_as_light_or_dark_as_asked_for(
    page: Page, size: tuple[int, int], scheme: str
) -> None:
    async with serving(a_day()) as url:
        await _open(page, url, size, scheme)
        assert await page.run(f"{LOOKS}\nfaint(70)") == []
        ground = await page.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(16, 22, 19)")


@pytest.mark.parametrize("shown", [a_day(), of(HOSTILE)], ids=["a day", "hostile"])
async def test_it_asks_no_other_host_runs_nothing_and_complains_of_nothing(page: Page, shown: Snapshot) -> None:
    async with serving(shown) as url:
        await _open(page, url, DESK)
        assert page.complaints == []
        assert {urlsplit(each).netloc for each in page.requests} == {urlsplit(url).netloc}
        assert await page.run("document.title") == "Dead letters: whatsapp-stream"
        assert await page.run("document.querySelectorAll('script, main img').length") == 0


async def test_its_own_style_is_let_in_by_its_policy(page: Page) -> None:
    async with serving(a_day()) as url:
        await _open(page, url, DESK)
        assert await page.run("getComputedStyle(document.querySelector('pre span')).whiteSpace") == "nowrap"
        assert await page.run("document.querySelectorAll('.hours rect').length") == 24


async def test_in_the_hand_a_circuit_is_a_card_that_names_its_columns(page: Page) -> None:
    async with serving(a_day()) as url:
        await _open(page, url, HAND)
        cell = "document.querySelector('#circuits tbody td:nth-child(3)')"
        assert await page.run(f"getComputedStyle({cell}, '::before').content") == '"reason"'
        assert not await page.run("document.querySelector('#circuits thead').checkVisibility()")
