"""A schedule for pytest-xdist's workers that keeps features together.

It decides which worker gets the features; all other tests are shared as usual. Only the controller
imports it, and only in a session with pytest-xdist and features. The module is private because its
base class has no types: public ones are all typed.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import (  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
    LoadScheduling,
)

from testvibe_async.pytest_plugin.options import ROOT

__all__ = ["FeaturesTogether"]


class FeaturesTogether(LoadScheduling):  # type: ignore[misc]  # likewise
    """A load schedule that sends all features to one worker, after its first other tests."""

    def _send_tests(self, node: Any, num: int) -> None:  # noqa: ANN401 - likewise
        assert self.collection is not None
        features = [place for place in self.pending if self._is_feature(place)]
        others = [place for place in self.pending if not self._is_feature(place)]
        self.pending[:] = [*others[:num], *features, *others[num:]]
        super()._send_tests(node, min(num, len(others)) + len(features))

    def _is_feature(self, place: int) -> bool:
        return self.collection is not None and self.collection[place].startswith(f"{ROOT}::")
