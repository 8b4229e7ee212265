"""A command that has axe-core examine the page in a browser, and prints what it finds.

    python -m tests.processes.reports.accessibility AXE [FOLDER]

AXE is the file `axe.min.js` of the npm package axe-core. Each screen, in both schemes, is examined
with everything folded and unfolded. With a FOLDER there is a picture of each in it.
"""

import asyncio
import base64
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.processes.reports.browser import Browser, started, tab_of
from tests.surfaces.reports.items import FAILED, PASSED, every_kind, flaky_item, run_item
from testvibe_async.reports import write_report

WHOLE = (
    "({x: 0, y: 0, scale: 1, width: innerWidth, "
    "height: document.body.getBoundingClientRect().bottom})"
)
UNFOLD = "for (const each of document.querySelectorAll('details')) each.open = true"
SCREENS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]


async def violations(browser: Browser, axe: str) -> list[dict[str, Any]]:
    """Return the rules that the page in the browser violates, with the elements."""
    await browser.evaluate(axe)
    found: list[dict[str, Any]] = await browser.evaluate("axe.run().then((r) => r.violations)")
    return found


async def picture(browser: Browser) -> bytes:
    """Return the whole page as PNG."""
    answer = await browser.call("Page.captureScreenshot", clip=await browser.evaluate(WHOLE))
    return base64.b64decode(answer["data"])


async def examine(axe: str, page: Path, folder: Path | None) -> int:
    """Examine all screens; return the number of rules that are violated."""
    number = 0
    async with started() as port, tab_of(port) as browser:
        for width, scheme in SCREENS:
            # So high that all is on the screen: what is not is neither painted nor examined.
            await browser.set_screen(width, scheme, height=5000)
            await browser.open(page)
            for state in ("folded", "unfolded"):
                found = await violations(browser, axe)
                sys.stdout.write(f"{width} {scheme} {state}: {len(found)} violations\n")
                for each in found:
                    places = [node["target"] for node in each["nodes"]]
                    sys.stdout.write(f"  {each['id']}: {each['help']}: {places[:3]}\n")
                number += len(found)
                if folder is not None:
                    (folder / f"{width}-{scheme}-{state}.png").write_bytes(await picture(browser))
                await browser.evaluate(UNFOLD)
    return number


def main(axe: str, folder: str | None = None) -> int:
    """Write a page with an item of every kind, and examine it."""
    items = [*every_kind(), flaky_item(feature="Cart"), run_item(PASSED, FAILED, config="Mobile")]
    with tempfile.TemporaryDirectory() as temporary:
        page = write_report(Path(temporary) / "report.html", items, title="Acme Shop, nightly")
        shown = None if folder is None else Path(folder)
        return asyncio.run(examine(Path(axe).read_text(encoding="utf-8"), page, shown))


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
