"""What a test's marks say: the run that it asks for, whether it will run, and its time limit.

It decides whether a run may be dispatched before its test. It dispatches nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from testvibe_async.pytest_plugin.suite import RunRequest

if TYPE_CHECKING:
    from typing import Any

__all__ = ["marked_request", "requests_run", "time_limit", "will_run"]


def requests_run(item: pytest.Item) -> bool:
    """Return True if a test has the fixture `testvibe_run`."""
    return "testvibe_run" in getattr(item, "fixturenames", ())


def marked_request(item: pytest.Item, *, site_url: str | None) -> RunRequest | None:
    """Return the run that a test's marker asks for; None if it has no marker.

    Args:
        item: The test.
        site_url: The site under test where the marker names none. None: the project's own.

    Raises:
        pytest.UsageError: The marker has wrong arguments.
    """

    def testvibe(
        feature: str,
        *,
        config: str | None = None,
        site_url: str | None = site_url,
        project: str | None = None,
    ) -> RunRequest:
        for name, value in {"config": config, "site_url": site_url, "project": project}.items():
            if not isinstance(value, str | None):
                raise TypeError(f" takes a text as {name}, not {value!r}")
        return RunRequest(feature, config=config, site_url=site_url, project=project)

    mark = item.get_closest_marker("testvibe")
    try:
        return None if mark is None else testvibe(*mark.args, **mark.kwargs)
    except TypeError as error:
        reason = str(error).removeprefix(f"{testvibe.__qualname__}()")
        raise pytest.UsageError(f"@pytest.mark.testvibe(…){reason}") from None


def will_run(item: pytest.Item) -> bool:
    """Return True if no mark may skip a test: pytest alone evaluates a condition that is a text."""
    conditions: list[Any] = [
        condition
        for mark in item.iter_markers("skipif")
        for condition in mark.args or [mark.kwargs.get("condition")]
    ]
    if any(item.iter_markers("skip")) or any(each is not False for each in conditions):
        return False
    runs_xfail = item.config.getoption("runxfail")
    return bool(runs_xfail) or all(
        mark.kwargs.get("run", True) for mark in item.iter_markers("xfail")
    )


def time_limit(item: pytest.Item) -> float | None:
    """Return the seconds that pytest-timeout gives to a test; None if there is no limit."""
    seconds: Any = item.config.getoption("timeout", None) or os.environ.get("PYTEST_TIMEOUT")
    with suppress(ValueError):  # without pytest-timeout
        seconds = seconds or item.config.getini("timeout")
    if (mark := item.get_closest_marker("timeout")) is not None:
        seconds = mark.kwargs.get("timeout", *mark.args[:1])
    return float(seconds or 0) or None
