"""The plugin, installed but not used: it costs nothing, and changes nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.inner_pytest import Inner

pytest_plugins = ["pytester"]


def test_nothing_warns(inner: Inner) -> None:
    """The plugin causes no warning, with all strictness on."""
    inner.pytester.makepyprojecttoml('[tool.pytest]\nstrict = true\nfilterwarnings = ["error"]')
    inner.pytester.makepyfile("def test_plain(): pass")
    arguments = ("-m", "pytest", "-p", "no:asyncio")

    result = inner.pytester.run(sys.executable, "-W", "error", *arguments)

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*warning*")
    result.stdout.no_fnmatch_line("testvibe*")


def test_no_items_and_no_header_without_the_option(inner: Inner) -> None:
    """Without --testvibe nothing is collected, and no header is shown."""
    result = inner()

    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.no_fnmatch_line("testvibe*")
