"""The page in a browser: quiet, usable by keys alone and without a script. Needs Chromium."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tests.processes.reports.browser import EXECUTABLE, started, tab_of
from tests.surfaces.reports.items import PASSED, every_kind, flaky_item, run_item
from testvibe_async import CaseResult
from testvibe_async.reports import write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium here")

T = TypeVar("T")

ATTACK = "<script>alert(1)</script><img src=https://x.example onerror=alert(1)>"
SHOWN = "[...document.querySelectorAll('.operation')].filter(o => o.checkVisibility()).length"
COUNT = "document.getElementById('count').textContent"
BRIGHT = "[...document.querySelectorAll('.timeline g:not(.dim)')].map(bar => bar.dataset.number)"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with an item of every kind, and one that attacks."""
    test = CaseResult(ATTACK, "failed", 1000, ATTACK)
    items = [*every_kind(), run_item(test, feature=ATTACK, config=ATTACK, log=ATTACK, run_id=9)]
    return write_report(tmp_path / "report.html", items, title=ATTACK)


class Visit:
    """A browser whose methods are called from plain functions, on real time."""

    def __init__(self, runner: asyncio.Runner, browser: Any) -> None:
        self._runner = runner
        self._browser = browser

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._browser, name)
        return found if not callable(found) else self._called(found)

    def _called(self, method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **options: self._runner.run(method(*arguments, **options))

    def counts(self) -> tuple[Any, Any]:
        """Return the count that the page shows, and the number of visible operations."""
        return self.evaluate(COUNT), self.evaluate(SHOWN)

    def click(self, selector: str) -> None:
        """Click an element, and wait for what follows."""
        self.evaluate(f"document.querySelector({selector!r}).click()")
        self.evaluate("new Promise(done => setTimeout(done))")


@contextmanager
def entered(runner: asyncio.Runner, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enter an asynchronous context on real time."""
    yield runner.run(context.__aenter__())
    runner.run(context.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def chromium() -> Iterator[tuple[asyncio.Runner, int]]:
    """Start one browser for all tests, and a loop to talk to it at its port."""
    with asyncio.Runner() as runner, entered(runner, started()) as port:
        yield runner, port


@pytest.fixture
def browser(chromium: tuple[asyncio.Runner, int]) -> Iterator[Visit]:
    """Open a tab."""
    runner, port = chromium
    with entered(runner, tab_of(port)) as tab:
        yield Visit(runner, tab)


def test_it_is_quiet_and_fits(browser: Visit, page: Path) -> None:
    """The page requests nothing else, violates no policy, and fits any screen in both schemes."""
    for width, scheme in [(1280, "light"), (400, "dark")]:
        browser.set_screen(width, scheme)
        browser.open(page)
        assert browser.evaluate(COUNT) == "8 runs and generations"
        assert browser.evaluate("document.documentElement.scrollWidth") == width
        assert browser.requests == [page.as_uri()]
        assert browser.problems == []


def test_an_attack_would_be_noticed(browser: Visit, page: Path) -> None:
    """A script from data violates the policy, which these tests notice."""
    page.write_text(page.read_text().replace("</footer>", f"{ATTACK}</footer>"))
    browser.open(page)
    assert browser.problems


def test_keys_are_enough(browser: Visit, page: Path) -> None:
    """Filters, search, folds and links work by the keyboard, and the count is shown."""
    browser.open(page)
    browser.tab_to(".verdict.failed")
    browser.press(" ")
    assert browser.counts() == ("3 of 8 runs and generations", 3)
    browser.press(" ")
    assert browser.counts() == ("8 runs and generations", 8)

    browser.tab_to("#search")
    browser.press(*"LOCKED-OUT user")
    assert browser.counts() == ("1 of 8 runs and generations", 1)
    browser.press("Escape")
    assert browser.counts() == ("8 runs and generations", 8)

    browser.tab_to("#config")
    browser.press("M")
    assert browser.counts() == ("2 of 8 runs and generations", 2)

    browser.tab_to("#unfold")
    browser.press("Enter")
    assert browser.evaluate("document.querySelectorAll('.operation[open]').length") == 2
    browser.tab_to("#operation-2 > summary")
    browser.press("Enter")
    assert not browser.evaluate("document.getElementById('operation-2').open")


def test_a_link_finds_what_a_filter_hides(browser: Visit, page: Path) -> None:
    """A link to an operation that a filter hides shows it."""
    browser.open(page)
    browser.click(".verdict.failed")
    browser.click('.matrix a[href="#operation-1"]')
    assert browser.counts() == ("8 runs and generations", 8)
    assert browser.evaluate("document.activeElement.parentElement.id") == "operation-1"
    assert browser.evaluate("document.getElementById('operation-1').open")


def test_filters_are_in_the_address(browser: Visit, page: Path) -> None:
    """The address has the filters, and opened again it shows the same."""
    browser.open(page)
    browser.click(".verdict.failed")
    browser.tab_to("#search")
    browser.press(*"user")
    shown = browser.counts()
    assert browser.evaluate("location.hash") == "#status=failed&search=user"
    assert shown[1] < 3
    url = browser.evaluate("location.href")
    browser.go_to("about:blank")
    browser.go_to(url)
    assert browser.counts() == shown


def test_the_first_failure_is_above_the_fold(browser: Visit, tmp_path: Path) -> None:
    """A failure is seen without scrolling, with its error, on a small screen of a laptop."""
    items = [*every_kind(), *(run_item(PASSED, run_id=n, feature=f"F{n}") for n in range(300, 340))]
    browser.set_screen(1280, "light")
    browser.open(write_report(tmp_path / "report.html", items))
    bottom = "document.querySelector('.group pre').getBoundingClientRect().bottom"
    assert browser.evaluate(bottom) < 720


def test_flaky_is_a_filter(browser: Visit, tmp_path: Path) -> None:
    """The flaky button shows what is flaky alone, dims the other bars, and adds to others."""
    browser.open(write_report(tmp_path / "report.html", [*every_kind(), flaky_item()]))
    browser.click(".verdict.flaky")
    assert browser.counts() == ("1 of 8 runs and generations", 1)
    assert browser.evaluate(BRIGHT) == ["8", "8"]
    browser.click(".verdict.error")
    assert browser.counts() == ("3 of 8 runs and generations", 3)


def test_without_a_script_all_is_there(browser: Visit, page: Path) -> None:
    """Without scripts every operation is shown, and no control without an effect."""
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(page)
    assert browser.evaluate(SHOWN) == 8
    assert not browser.evaluate("document.getElementById('filters').checkVisibility()")
    assert browser.evaluate("document.querySelectorAll('button:enabled').length") == 2
