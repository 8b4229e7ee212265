"""The page in a browser: quiet, usable by keys alone and without a script. Needs Chromium."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.processes.reports.browser import EXECUTABLE, Browser, started, tab_of
from tests.surfaces.reports.items import every_kind, run_item
from testvibe_async import CaseResult
from testvibe_async.reports import write_report

pytestmark = [
    pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium here"),
    pytest.mark.asyncio(loop_scope="module"),
]

ATTACK = "<script>alert(1)</script><img src=https://x.example onerror=alert(1)>"
SHOWN = "[...document.querySelectorAll('.operation')].filter(o => o.checkVisibility()).length"
COUNT = "document.getElementById('count').textContent"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with an item of every kind, and one that attacks."""
    test = CaseResult(ATTACK, "failed", 1000, ATTACK)
    items = [*every_kind(), run_item(test, feature=ATTACK, config=ATTACK, log=ATTACK, run_id=9)]
    return write_report(tmp_path / "report.html", items, title=ATTACK)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port() -> AsyncGenerator[int]:
    """Start one browser for all tests."""
    async with started() as port:
        yield port


@pytest_asyncio.fixture(loop_scope="module")
async def browser(port: int) -> AsyncGenerator[Browser]:
    """Open a tab."""
    async with tab_of(port) as browser:
        yield browser


async def counts(browser: Browser) -> tuple[Any, Any]:
    """Return the count that the page shows, and the number of visible operations."""
    return await browser.evaluate(COUNT), await browser.evaluate(SHOWN)


async def click(browser: Browser, selector: str) -> None:
    """Click an element, and wait for what follows."""
    await browser.evaluate(f"document.querySelector({selector!r}).click()")
    await browser.evaluate("new Promise(done => setTimeout(done))")


async def test_it_is_quiet_and_fits(browser: Browser, page: Path) -> None:
    """The page requests nothing else, violates no policy, and fits any screen in both schemes.

    A script from data would violate the policy, which is noticed.
    """
    for width, scheme in [(1280, "light"), (400, "dark")]:
        await browser.set_screen(width, scheme)
        await browser.open(page)
        assert await browser.evaluate(COUNT) == "8 runs and generations"
        assert await browser.evaluate("document.documentElement.scrollWidth") == width
        assert browser.requests == [page.as_uri()]
        assert browser.problems == []
    await browser.evaluate(f"document.querySelector('footer').innerHTML = {ATTACK!r}")
    await browser.evaluate("new Promise(done => setTimeout(done))")
    assert browser.problems


async def test_keys_are_enough(browser: Browser, page: Path) -> None:
    """Filters, search, folds and links work by the keyboard, and the count is shown."""
    await browser.open(page)
    await browser.tab_to(".verdict.failed")
    await browser.press(" ")
    assert await counts(browser) == ("3 of 8 runs and generations", 3)
    await browser.press(" ")
    assert await counts(browser) == ("8 runs and generations", 8)

    await browser.tab_to("#search")
    await browser.press(*"LOCKED-OUT user")
    assert await counts(browser) == ("1 of 8 runs and generations", 1)
    await browser.press("Escape")
    assert await counts(browser) == ("8 runs and generations", 8)

    await browser.tab_to("#config")
    await browser.press("M")
    assert await counts(browser) == ("2 of 8 runs and generations", 2)

    await browser.tab_to("#unfold")
    await browser.press("Enter")
    assert await browser.evaluate("document.querySelectorAll('.operation[open]').length") == 2
    await browser.tab_to("#operation-2 > summary")
    await browser.press("Enter")
    assert not await browser.evaluate("document.getElementById('operation-2').open")


async def test_an_address_has_the_filters(browser: Browser, page: Path) -> None:
    """Opened again it shows the same, and a link to an operation that they hide shows it."""
    await browser.open(page)
    await click(browser, ".verdict.failed")
    await browser.tab_to("#search")
    await browser.press(*"user")
    shown = await counts(browser)
    url = await browser.evaluate("location.href")
    assert url.endswith("#status=failed&search=user")
    assert shown[1] < 3
    await browser.go_to("about:blank")
    await browser.go_to(url)
    assert await counts(browser) == shown
    await click(browser, '.matrix a[href="#operation-1"]')
    assert await counts(browser) == ("8 runs and generations", 8)
    assert await browser.evaluate("document.getElementById('operation-1').open")


async def test_without_a_script_all_is_there(browser: Browser, page: Path) -> None:
    """Without scripts every operation is shown, and no control without an effect."""
    await browser.call("Emulation.setScriptExecutionDisabled", value=True)
    await browser.open(page)
    assert await browser.evaluate(SHOWN) == 8
    assert not await browser.evaluate("document.getElementById('filters').checkVisibility()")
    assert await browser.evaluate("document.querySelectorAll('button:enabled').length") == 2
