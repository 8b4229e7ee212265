"""What a test's marks say: the run that it asks for, whether it will run, and its time limit.

It decides whether pytest is going to run a test. It dispatches nothing.
"""

from __future__ import annotations

import pytest
from _pytest.skipping import evaluate_skip_marks  # pytest's own reading of skip and skipif

from testvibe_async.pytest_plugin.suite import RunRequest

__all__ = ["marked_request", "time_limit", "will_run"]


def marked_request(item: pytest.Item, *, site_url: str | None) -> RunRequest | None:
    """Return the run that a test needs; None if it does not use the fixture, or has no marker.

    Args:
        item: The test.
        site_url: The site under test where the marker names none. None: the project's own.

    Raises:
        pytest.UsageError: The marker has wrong arguments.
    """
    if "testvibe_run" not in getattr(item, "fixturenames", ()):
        return None
    mark = item.get_closest_marker("testvibe")
    return None if mark is None else _read(mark, site_url=site_url)


def _read(mark: pytest.Mark, *, site_url: str | None) -> RunRequest:
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

    try:
        return testvibe(*mark.args, **mark.kwargs)
    except TypeError as error:
        reason = str(error).removeprefix(f"{testvibe.__qualname__}()")
        raise pytest.UsageError(f"@pytest.mark.testvibe(…){reason}") from None


def will_run(item: pytest.Item) -> bool:
    """Return True if a test's marks let it run."""
    try:
        if evaluate_skip_marks(item) is not None:
            return False
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - pytest reports it at the setup
        return False
    runs_xfail = item.config.option.runxfail
    return runs_xfail or all(mark.kwargs.get("run", True) for mark in item.iter_markers("xfail"))


def time_limit(item: pytest.Item) -> float | None:
    """Return the seconds that pytest-timeout gives to a test; None if there is no limit."""
    seconds: float | None = getattr(item.config, "_env_timeout", None)  # it has no public name
    if (mark := item.get_closest_marker("timeout")) is not None:
        seconds = mark.kwargs.get("timeout", *mark.args[:1])
    return seconds or None
