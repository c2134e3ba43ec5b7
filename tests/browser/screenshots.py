"""The pictures in docs/, of the contract and of `/dead-letters`: `python -m tests.browser.screenshots`, then look."""

from __future__ import annotations

import asyncio

from asyncapi.build import ROOT, SITE
from tests.browser.chromium import Page, browser
from tests.operator_page import TOKEN, a_day, serving

DOCS = ROOT.parent / "docs"
FILE = (SITE / "index.html").as_uri()


async def main() -> None:
    """Take the top of the site, one message with an example unfolded, and the top of the page for operators."""
    DOCS.mkdir(exist_ok=True)
    async with browser() as page:
        await page.call("Emulation.setDeviceMetricsOverride", width=1280, height=960, deviceScaleFactor=1, mobile=False)
        await page.open(FILE)
        await page.screenshot(DOCS / "contract-top.png")
        await page.call(
            "Emulation.setDeviceMetricsOverride", width=1280, height=1180, deviceScaleFactor=1, mobile=False
        )
        await page.open("about:blank")
        await page.open(f"{FILE}#message-DeadLetter")
        await page.run("document.querySelector('#message-DeadLetter details.example').open = true")
        await page.screenshot(DOCS / "contract-message.png")
        await _dead_letters(page)


async def _dead_letters(page: Page) -> None:
    async with serving(a_day()) as url:
        await page.show(1000, 900)
        await page.call("Network.setExtraHTTPHeaders", headers={"Authorization": f"Bearer {TOKEN}"})
        await page.open(url)
        await page.screenshot(DOCS / "dead-letters.png")


if __name__ == "__main__":
    asyncio.run(main())
