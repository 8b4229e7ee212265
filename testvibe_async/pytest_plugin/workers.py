"""What pytest-xdist needs: features kept together, and runs dispatched where their tests are.

All features go to one worker, whose one client dispatches and watches them all, so that
`--testvibe-max-in-flight` holds for the session; the other workers have the other tests.
"""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["Controller", "queued_items"]


def queued_items(session: pytest.Session, *, with_features: bool) -> list[pytest.Item]:
    """Return the items that this worker has been given for good, beyond the next.

    Args:
        session: The worker's.
        with_features: Whether features are among the items, which rules the schedule.
    """
    dist = getattr(session.config.known_args_namespace, "dist", None)
    if dist == "worksteal" and not with_features:
        return []  # another worker may take them
    plugins = session.config.pluginmanager.get_plugins()
    queue = next((plugin.torun for plugin in plugins if hasattr(plugin, "torun")), None)
    if queue is None:  # it is no public part of pytest-xdist
        return []
    with queue.lock() as places:
        return [session.items[place] for place in places if isinstance(place, int)]


class Controller:
    """The plugin's part in the process that starts the workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def uncount_failure(self) -> None:
        """Make pytest-xdist not count a failure that is about to be reported for --maxfail."""
        session: Any = self._config.pluginmanager.get_plugin("dsession")
        if session is not None:
            session.countfailures -= 1

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> object:  # noqa: ANN401 - xdist is optional
        """Keep the features together where the schedule would not."""
        if config.getoption("dist") not in {"load", "worksteal"}:
            return None
        from testvibe_async.pytest_plugin.schedule import FeaturesTogether  # noqa: PLC0415 - likewise

        return FeaturesTogether(config, log)
