"""The contract's site as people read it: in the hand and on a desk, light and dark, with and without a mouse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncapi.build import SITE
from tests.browser.chromium import Page, browser, program

pytestmark = pytest.mark.skipif(program() is None, reason="needs Chromium: apt-get install chromium")

FILE = (SITE / "index.html").as_uri()
HAND, TABLET, DESK = (390, 844), (800, 1000), (1440, 1000)
SIZES = pytest.mark.parametrize("size", [HAND, TABLET, (1000, 900), DESK], ids=lambda size: str(size[0]))
LOOKS = (Path(__file__).parent / "looks.js").read_text(encoding="utf-8")
FIRST_PAINT_MS = 500.0
LOADS = 5
EXPAND_ALL = "document.querySelector('.badges .unfold').click()"


@pytest.fixture(scope="module")
async def page() -> AsyncIterator[Page]:
    async with browser() as found:
        yield found


async def _open(page: Page, size: tuple[int, int], scheme: str = "light") -> None:
    await page.show(*size, scheme)
    await page.open("about:blank")
    page.complaints.clear()
    await page.open(FILE)


async def _wrong(page: Page, look: str) -> list[str]:
    """What a function of `looks.js` finds wrong."""
    return [str(found) for found in await page.run(f"{LOOKS}\n{look}()")]


@SIZES
async def test_nothing_is_wider_than_the_window_and_no_code_or_table_scrolls_sideways(
    page: Page, size: tuple[int, int]
) -> None:
    await _open(page, size)
    assert await _wrong(page, "tooWide") == []
    await page.run(EXPAND_ALL)
    assert await _wrong(page, "tooWide") == []


@SIZES
async def test_no_name_of_a_type_a_field_or_an_error_breaks_in_its_middle(page: Page, size: tuple[int, int]) -> None:
    await _open(page, size)
    await page.run(EXPAND_ALL)
    assert await _wrong(page, "broken") == []


@pytest.mark.parametrize("size", [TABLET, DESK], ids=lambda size: str(size[0]))
@pytest.mark.parametrize("tab", [0, 1, 2])
async def test_the_lines_of_a_sample_fit(page: Page, size: tuple[int, int], tab: int) -> None:
    await _open(page, size)
    await page.run(f"document.querySelectorAll('.tabs button')[{tab}].click()")
    assert await _wrong(page, "wrapped") == []


@SIZES
async def test_no_button_lies_on_a_text(page: Page, size: tuple[int, int]) -> None:
    await _open(page, size)
    await page.run(EXPAND_ALL)
    for tab in range(3):
        await page.run(f"document.querySelectorAll('.tabs button')[{tab}].click()")
        assert await _wrong(page, "covering") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [HAND, DESK], ids=lambda size: str(size[0]))
async def test_every_text_stands_out_from_what_it_is_on(page: Page, size: tuple[int, int], scheme: str) -> None:
    await _open(page, size, scheme)
    await page.run(EXPAND_ALL)
    await page.run("search.value = 'token'; search.dispatchEvent(new Event('input'))")
    assert await _wrong(page, "faint") == []
    assert page.complaints == []


@pytest.mark.parametrize("size", [HAND, DESK], ids=lambda size: str(size[0]))
async def test_everything_that_can_be_clicked_can_be_reached_with_the_keyboard(
    page: Page, size: tuple[int, int]
) -> None:
    await _open(page, size)
    await page.run(EXPAND_ALL)
    assert await _wrong(page, "unreachable") == []


async def test_the_tab_key_goes_from_the_skip_link_over_name_search_and_menu_to_the_text(page: Page) -> None:
    await _open(page, HAND)
    reached = []
    for _ in range(5):
        await page.press("Tab")
        reached.append(await page.run("document.activeElement.textContent || document.activeElement.id"))
    assert reached == ["Skip to the text", "whatsapp-stream", "search", "Menu", "asyncapi.yaml"]
    assert await page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"


async def test_in_the_hand_the_contents_are_a_menu_that_the_keyboard_opens_and_a_link_closes(page: Page) -> None:
    await _open(page, HAND)
    assert not await page.run("contents.checkVisibility()")
    await page.run("document.querySelector('.menu').focus()")
    await page.press("Enter")
    assert await page.run("contents.checkVisibility()")
    await page.press("Tab")
    await page.press("Tab")
    await page.press("Enter")
    assert await page.run("location.hash") == "#what-it-promises"
    assert not await page.run("contents.checkVisibility()")
    top = await page.run("document.querySelector('#what-it-promises h2').getBoundingClientRect().top")
    assert await page.run("document.querySelector('aside').getBoundingClientRect().bottom") <= top < HAND[1]


async def test_on_a_desk_the_contents_are_always_there(page: Page) -> None:
    await _open(page, DESK)
    assert await page.run("contents.checkVisibility()")
    assert not await page.run("document.querySelector('.menu').checkVisibility()")


async def test_in_the_hand_a_row_of_a_table_is_a_card_that_names_its_columns(page: Page) -> None:
    await _open(page, HAND)
    cell = "document.querySelector('#how-it-retries tbody td:nth-child(3)')"
    assert await page.run(f"getComputedStyle({cell}, '::before').content") == '"delays"'
    width = "document.querySelector('#errors tbody tr').getBoundingClientRect().width"
    assert HAND[0] * 0.8 < await page.run(width) < HAND[0]
    assert not await page.run("document.querySelector('#errors thead').checkVisibility()")


async def test_without_scripts_the_menu_opens_and_every_sample_and_error_is_there(page: Page) -> None:
    await page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        await _open(page, HAND)
        await page.run("document.querySelector('.menu').click()")
        assert await page.run("contents.checkVisibility()")
        for selector in (".sample", "#errors tbody tr"):
            all_shown = f"[...document.querySelectorAll('{selector}')].every(part => part.checkVisibility())"
            assert await page.run(all_shown)
    finally:
        await page.call("Emulation.setScriptExecutionDisabled", value=False)


async def test_samples_are_tabs_and_one_at_a_time_is_shown(page: Page) -> None:
    await _open(page, DESK)
    shown = (
        "[...document.querySelectorAll('.sample')].filter(e => e.checkVisibility()).map(e => e.innerText.split(' ')[0])"
    )
    assert await page.run(shown) == ["Python"]
    await page.run("document.querySelectorAll('.tabs button')[1].focus()")
    await page.press("Enter")
    assert await page.run(shown) == ["Node"]


async def test_everything_expands_and_folds_again_for_a_section_and_for_the_page(page: Page) -> None:
    await _open(page, DESK)
    closed = "document.querySelectorAll('{} details:not([open])').length"
    assert await page.run(closed.format("#messages")) > 0
    await page.run("document.querySelector('#messages > .unfold').click()")
    assert await page.run(closed.format("#messages")) == 0
    assert await page.run(closed.format("#payloads")) > 0
    await page.run(EXPAND_ALL)
    assert await page.run(closed.format("main")) == 0
    await page.run(EXPAND_ALL)
    assert await page.run("document.querySelectorAll('main details[open]').length") == 0


async def test_the_first_paint_comes_within_half_a_second(page: Page) -> None:
    paints = []
    for _ in range(LOADS):
        await _open(page, DESK)
        paints.append(
            await page.run(
                "new Promise(told => new PerformanceObserver(list => told(list.getEntries()[0].startTime))"
                ".observe({type: 'paint', buffered: true}))"
            )
        )
    assert min(paints) < FIRST_PAINT_MS  # the machine may be busy with something else
