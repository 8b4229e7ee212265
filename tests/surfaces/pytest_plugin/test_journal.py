"""A session with a journal: killed at any moment, it goes on when it is run again."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal
from attrs import evolve

from tests.support.inner_pytest import (
    Inner,
    dispatched,
    endless_in_real_time,
    fail_first_run,
    finish,
    ids_told,
    shows,
)
from tests.surfaces.reports.items import ITEMS, run_ref
from testvibe_async import ConfigError, Journal, OperationNotFoundError
from testvibe_async.pytest_plugin.results import Result
from testvibe_async.pytest_plugin.suite import open_journal
from testvibe_async.reports.entries import Entry
from testvibe_async.testing import Emulator, Fault

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]

JOURNAL = "--testvibe-journal=kept"


def kept(inner: Inner) -> int:
    """Return the number of journals."""
    return len(list((inner.pytester.path / "kept").glob("*.sqlite")))


def test_a_session_that_ends_leaves_no_journal(inner: Inner, service: Emulator) -> None:
    """Once all are over the journals are gone, and the same command dispatches new runs."""
    inner.features(JOURNAL).assert_outcomes(passed=2, failed=2)
    assert kept(inner) == 0
    inner.features(JOURNAL).assert_outcomes(passed=2, failed=2)
    assert len(service.runs) == 6


def test_a_refusal_is_not_kept(inner: Inner, service: Emulator) -> None:
    """What the service refused in one session may be dispatched in the next."""
    service.fail("run_feature", Fault.status(404), times=1)
    inner.feature("Login", JOURNAL).assert_outcomes(failed=1)
    inner.feature("Login", JOURNAL).assert_outcomes(passed=1)
    assert len(service.runs) == 1


def test_attempts_are_new_runs(inner: Inner, service: Emulator) -> None:
    """A flaky feature has the runs that it has without a journal."""
    fail_first_run(service)
    result = inner.feature("Login", JOURNAL, "--testvibe-attempts=2")

    shows(result, "FLAKY testvibe::Login - run * failed, run * passed", passed=1)
    assert len(service.runs) == 2


def test_what_may_still_run_keeps_its_journal() -> None:
    """All else is dispatched again by the next session, also a run that the service forgot."""
    forgotten = OperationNotFoundError("it is gone", ref=run_ref())
    items = {**ITEMS, "forgotten": evolve(ITEMS["in flight"], error=forgotten)}
    kept = {kind for kind, item in items.items() if not Result(Entry(item=item)).is_settled}
    assert kept == {"in flight", "generation in flight", "not seen", "unseen", "unknown"}


@endless_in_real_time
class TestKilled:
    """Sessions that end before all runs are over."""

    def test_ctrl_c_keeps_what_is_over_too(self, inner: Inner, service: Emulator) -> None:
        """After Ctrl-C the next session reports what was over without another run."""

        class CtrlC:
            def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
                if report.when == "teardown":
                    raise KeyboardInterrupt

        dispatched(service, 3, lambda: finish(service, Login="passed"))
        first = inner.features(JOURNAL, plugins=(CtrlC(),))
        assert first.ret == pytest.ExitCode.INTERRUPTED
        first.stdout.fnmatch_lines(["pytest resumes them if it is run again with the same *"])
        assert len(ids_told(first.outlines)) == 2
        finish(service)

        inner.features(JOURNAL).assert_outcomes(passed=2, failed=2)
        assert len(service.runs) == 3

    def test_what_goes_on_after_a_time_out_is_not_run_twice(
        self, inner: Inner, service: Emulator
    ) -> None:
        """The next sessions go on with a run that outlived the first, and name it until it ends."""
        options = (JOURNAL, "--testvibe-select=Login", "--testvibe-timeout=0.5")
        for _ in range(2):
            result = inner.features(*options)
            result.assert_outcomes(failed=1)
            assert ids_told(result.outlines) == set(service.runs)
        finish(service)

        inner.features(*options).assert_outcomes(passed=1)
        assert len(service.runs) == 1
        assert kept(inner) == 0

    def test_a_journal_of_another_process_is_left(self, inner: Inner, service: Emulator) -> None:
        """A session that could not open a journal, which another one has, does not remove it."""
        options = (JOURNAL, "--testvibe-select=Login", "--testvibe-timeout=0.3")
        inner.features(*options)
        (path,) = (inner.pytester.path / "kept").glob("*.sqlite")
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(Journal(path)),
        ):
            result = inner.features(*options)

        result.stdout.fnmatch_lines(["*is in use, here or by another process*"])
        assert kept(inner) == 1
        assert len(service.runs) == 1


async def test_a_journal_that_is_in_use_is_waited_for(tmp_path: Path) -> None:
    """A worker that asks for a run of another worker's goes on once that has ended."""
    path = tmp_path / "run.sqlite"
    async with AsyncExitStack() as stack, AsyncExitStack() as another:
        await open_journal(stack, path, timeout=1)
        with pytest.raises(ConfigError, match="is in use, here or by another process"):
            await open_journal(another, path, timeout=1)
        waiting = asyncio.create_task(open_journal(another, path, timeout=1000))
        await asyncio.sleep(100)
        assert not waiting.done()
        await stack.aclose()
        await waiting
