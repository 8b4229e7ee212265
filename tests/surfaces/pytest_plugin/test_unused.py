"""The plugin, installed but not used: it changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.inner_pytest import Inner

pytest_plugins = ["pytester"]


def test_no_items_and_no_header_without_the_option(inner: Inner) -> None:
    """Without --testvibe nothing is collected, and no header is shown."""
    result = inner()

    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.no_fnmatch_line("testvibe*")
