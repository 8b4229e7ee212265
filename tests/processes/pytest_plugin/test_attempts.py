"""Attempts, with workers of pytest-xdist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.inner_pytest import fail_first_run

if TYPE_CHECKING:
    from tests.support.inner_pytest import Inner
    from testvibe_async.testing import Emulator
pytest_plugins = ["pytester"]


def test_workers_name_what_is_flaky(inner: Inner, service: Emulator) -> None:
    """With pytest-xdist the summary names what was flaky in a worker."""
    pytest.importorskip("xdist")
    fail_first_run(service)
    result = inner.workers("--testvibe", "--testvibe-select=Checkout", "--testvibe-attempts=2")

    result.stdout.fnmatch_lines(["FLAKY testvibe::Checkout - run * failed, run * passed"])
