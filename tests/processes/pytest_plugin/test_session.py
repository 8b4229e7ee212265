"""Time limits of pytest-timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.inner_pytest import ENDLESS, FEATURES, refs_told

if TYPE_CHECKING:
    from tests.support.inner_pytest import Inner
    from testvibe_async.testing import Emulator
pytest_plugins = ["pytester"]


class TestTimeLimits:
    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options with runs that take an hour."""
        return {"scenario": ENDLESS}

    def test_pytest_timeout_reaches_a_feature(self, inner: Inner, service: Emulator) -> None:
        """Each feature fails after the time that pytest-timeout gives it; their runs are listed."""
        pytest.importorskip("pytest_timeout")
        result = inner.bare("-p", "pytest_timeout", "--timeout=0.3", "--testvibe")

        result.assert_outcomes(failed=3)
        result.stdout.fnmatch_lines_random(
            [f"FAILED testvibe::{name} - Failed: Timeout *" for name in FEATURES]
        )
        told = refs_told(result.outlines)
        assert {ref.key[-1] for ref in told} == set(service.runs)

    def test_a_marker_sets_the_limit(self, inner: Inner, service: Emulator) -> None:
        """So does `@pytest.mark.timeout`, as a hook may add it to a feature."""
        pytest.importorskip("pytest_timeout")
        inner.pytester.makeconftest(
            """
            import pytest

            def pytest_collection_modifyitems(items):
                for item in items:
                    item.add_marker(pytest.mark.timeout(0.3))
            """
        )
        result = inner.bare("-p", "pytest_timeout", "--testvibe", "--testvibe-select=Login")

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["FAILED testvibe::Login - Failed: Timeout *"])
        assert len(service.runs) == 1
