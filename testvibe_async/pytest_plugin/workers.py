"""Support for pytest-xdist: features stay together, and runs are dispatched by their tests' worker.

All features go to one worker, whose one client dispatches and polls them all, so that
`--testvibe-max-in-flight` holds for the session; the other workers have the other tests.
pytest-xdist is optional, and imported where it schedules tests.
"""

from __future__ import annotations

from typing import Any

import pytest

from testvibe_async.pytest_plugin.options import ROOT

__all__ = ["Controller", "is_worker", "queued_items"]


def is_worker(config: pytest.Config) -> bool:
    """Return True if this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def queued_items(session: pytest.Session, *, with_features: bool) -> list[pytest.Item]:
    """Return the items after the next one that this worker is sure to run.

    Args:
        session: The worker's.
        with_features: True if features are among the items, so that `FeaturesTogether` schedules.
    """
    dist = getattr(session.config.known_args_namespace, "dist", None)
    if dist == "worksteal" and not with_features:
        return []  # another worker may take them
    plugins = session.config.pluginmanager.get_plugins()
    queue = next((plugin.torun for plugin in plugins if hasattr(plugin, "torun")), None)
    if queue is None:  # `torun` is not public: a later pytest-xdist may have none
        return []
    with queue.lock() as places:
        return [session.items[place] for place in places if isinstance(place, int)]


class Controller:
    """Hooks of the process that starts the workers."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> object:  # noqa: ANN401 - xdist is optional
        """Replace the schedules that would spread features over the workers."""
        if config.getoption("dist") not in {"load", "worksteal"}:
            return None
        from xdist.scheduler import LoadScheduling  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # noqa: PLC0415 - likewise

        class FeaturesTogether(LoadScheduling):  # type: ignore[misc]  # likewise
            """A load schedule that sends all features to one worker, after a few other tests."""

            def _send_tests(self, node: Any, num: int) -> None:  # noqa: ANN401 - likewise
                assert self.collection is not None
                is_feature = [node_id.startswith(f"{ROOT}::") for node_id in self.collection]
                features = [index for index in self.pending if is_feature[index]]
                others = [index for index in self.pending if not is_feature[index]]
                self.pending[:] = [*others[:num], *features, *others[num:]]
                super()._send_tests(node, min(num, len(others)) + len(features))

        return FeaturesTogether(config, log)
