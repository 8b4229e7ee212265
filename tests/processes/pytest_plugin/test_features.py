"""Features in a session of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.inner_pytest import Inner
    from testvibe_async.testing import Emulator
pytest_plugins = ["pytester"]


def test_reports_are_not_captured(inner: Inner, service: Emulator) -> None:
    """The terminal's lines about a run's tests are not captured as output of the test."""
    result = inner.bare("--testvibe", "-v")

    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines_random(["testvibe::Returns SUBFAILED[[]Returns works[]] *"])
    result.stdout.no_fnmatch_line("*Captured*")
    assert len(service.runs) == 3
