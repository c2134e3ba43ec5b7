"""The contract's pictures in docs/: `python -m tests.browser.screenshots`, then look at them."""

from __future__ import annotations

import asyncio

from asyncapi.build import ROOT, SITE
from tests.browser.chromium import browser

DOCS = ROOT.parent / "docs"
FILE = (SITE / "index.html").as_uri()


async def main() -> None:
    """Take the top of the page, and one message with an example unfolded."""
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


if __name__ == "__main__":
    asyncio.run(main())
