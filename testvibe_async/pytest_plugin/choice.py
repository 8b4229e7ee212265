"""The selection of features that become items, with their configurations.

Pure, except that it asks the service for its features, unless all are given in full, by name or by
node id. It never makes an item: see `features`.

In a pattern `*` is any text, `?` any character, and all else is itself: brackets too, so that
`Login*[Mobile]` means a configuration. Case does not matter, as it does not for the service.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from testvibe_async import IncompleteListError, NotFoundError
from testvibe_async._names import did_you_mean
from testvibe_async.models import DRAFT
from testvibe_async.pytest_plugin.options import ROOT
from testvibe_async.pytest_plugin.suite import RunRequest
from testvibe_async.reports import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from testvibe_async import Feature, Listing
    from testvibe_async.pytest_plugin.options import Options

__all__ = ["Choice", "Chooser", "is_exact", "matches", "reason_for"]

CollectError = pytest.Collector.CollectError


@frozen
class Choice:
    """A feature to collect, with a configuration."""

    request: RunRequest
    is_draft: bool = False
    """True if the service lists it as never generated, and it was not asked for by its name."""

    @property
    def name(self) -> str:
        """The name of its item, on one line that is safe to print."""
        return one_line(str(self.request))


class Chooser:
    """The selection by the options and by pytest's arguments."""

    def __init__(self, options: Options, node_ids: Collection[str]) -> None:
        """Make it, without I/O.

        Args:
            options: The plugin's options.
            node_ids: The node ids of the only features to collect. Empty: all that the options
                select.
        """
        self._options = options
        # The node id of the collector means all features.
        self._node_ids = [] if f"{ROOT}::" in node_ids else list(dict.fromkeys(node_ids))
        self._configs = options.configs
        self._ids: dict[str, int] = {}
        self._drafts: set[str] = set()

    def choose(
        self,
        list_features: Callable[[], Listing[Feature]],
        spelled: Callable[[Sequence[str]], Sequence[str]] = lambda configs: configs,
    ) -> list[Choice]:
        """Return the features to collect, in the order of the patterns, else in the service's.

        Args:
            list_features: Asks the service for its features.
            spelled: Asks the service for its configurations, and returns those of the options as it
                spells them.

        Raises:
            pytest.Collector.CollectError: There is no feature, or a pattern or a node id matches
                none.
            VibeError: The service could not be asked, or has no such configuration.
        """
        self._configs = tuple(spelled(self._options.configs))
        choices = [
            self._choice(name, config)
            for name in self._names(list_features)
            for config in self._configs or (None,)
        ]
        return self._of_node_ids(choices) if self._node_ids else choices

    def _names(self, list_features: Callable[[], Listing[Feature]]) -> Sequence[str]:
        """Return the names of the features."""
        names = [self._name_in(node_id) for node_id in self._node_ids]
        # A bracket at the end may be part of a name, or have a configuration that no option names.
        if names and not any(_is_ambiguous(name) or name.endswith("]") for name in names):
            return list(dict.fromkeys(names))
        select = () if names else self._options.select
        if select and all(map(is_exact, select)):
            return select
        try:
            features = list_features().require_complete()
        except (NotFoundError, IncompleteListError) as error:
            raise CollectError(
                f"{error}\nTo name features: --testvibe-select NAME, without * and ?"
            ) from error
        self._ids = {each.name: each.id for each in features if _is_ambiguous(each.name)}
        found = {each.name or str(each.id): each for each in features if not each.is_suggestion}
        if not found:
            raise CollectError("there are no features to run in this project: create one first")
        if not names:  # the options select
            named = {pattern.casefold() for pattern in select}
            is_draft = {
                name: (each.status or "").casefold() == DRAFT for name, each in found.items()
            }
            self._drafts = {
                n for n, is_one in is_draft.items() if is_one and n.casefold() not in named
            }
        return _selected(list(found), select) if select else list(found)

    def _name_in(self, node_id: str) -> str:
        name = node_id.removeprefix(f"{ROOT}::")
        suffixes = [f"[{config}]" for config in self._configs]
        return name.removesuffix(next((each for each in suffixes if name.endswith(each)), ""))

    def _choice(self, feature: str, config: str | None) -> Choice:
        request = RunRequest(
            feature,
            config=config,
            site_url=self._options.site_url,
            feature_id=self._ids.get(feature),
        )
        return Choice(request, is_draft=feature in self._drafts)

    def _of_node_ids(self, choices: Iterable[Choice]) -> list[Choice]:
        by_id = {f"{ROOT}::{choice.name}": choice for choice in choices}
        if missing := [node_id for node_id in self._node_ids if node_id not in by_id]:
            meant = did_you_mean(missing[0], by_id)
            raise CollectError(
                f"no feature is {missing[0]!r}{meant and f': {meant}'}; "
                "pytest --testvibe --collect-only -q lists them"
            )
        return [by_id[node_id] for node_id in self._node_ids]


def _is_ambiguous(name: str) -> bool:
    """Return True if a name alone may not lead to its feature.

    The service reads one of digits as an id, a server before it may read a slash as one of the
    path, and in a node id U+FFFD and an ellipsis stand for other characters.
    """
    return name.isdecimal() or any(mark in name for mark in "/\ufffd…")


def _selected(names: Sequence[str], patterns: Iterable[str]) -> list[str]:
    """Return the names that match patterns, in the order of the patterns."""
    selected: dict[str, None] = {}
    for pattern in patterns:
        found = [name for name in names if matches(pattern, name)]
        if not found:
            raise CollectError(
                f"--testvibe-select {pattern!r} means none of the project's {len(names)} features"
            )
        selected |= dict.fromkeys(found)
    return list(selected)


def is_exact(pattern: str) -> bool:
    """Return True if a pattern has no wildcard, so that only one name matches."""
    return "*" not in pattern and "?" not in pattern


def matches(pattern: str, *names: str) -> bool:
    """Return True if a pattern matches one of the names as a whole."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    compiled = re.compile(expression, re.IGNORECASE | re.DOTALL)
    return any(compiled.fullmatch(name) for name in names)


def reason_for(rules: Mapping[str, str], *names: str) -> str | None:
    """Return the reason of the first pattern that matches one of the names; None if none does."""
    return next((reason for pattern, reason in rules.items() if matches(pattern, *names)), None)
