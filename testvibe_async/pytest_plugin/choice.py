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
    from collections.abc import Callable, Collection, Mapping, Sequence

    from testvibe_async import Feature, Listing
    from testvibe_async.pytest_plugin.options import Options

__all__ = ["Choice", "choose", "is_exact", "matches", "reason_for"]

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


def choose(
    options: Options,
    node_ids: Collection[str],
    *,
    list_features: Callable[[], Listing[Feature]],
    spelled: Callable[[Sequence[str]], Sequence[str]],
) -> list[Choice]:
    """Return the features to collect, in the order of the patterns, else in the service's.

    Args:
        options: The plugin's options.
        node_ids: The node ids of the only features to collect. Empty: all that the options select.
        list_features: Asks the service for its features.
        spelled: Asks the service for its configurations, and returns those of the options as it
            spells them.

    Raises:
        pytest.Collector.CollectError: There is no feature, or a pattern or a node id matches none.
        VibeError: The service could not be asked, or has no such configuration.
    """
    if f"{ROOT}::" in node_ids:  # the node id of the collector means all features
        node_ids = ()
    configs = spelled(options.configs)
    names = [_name_in(node_id, configs) for node_id in node_ids]
    named = {name.casefold() for name in (*names, *options.select)}
    choices = [
        Choice(
            RunRequest(
                name,
                config=config,
                site_url=options.site_url,
                feature_id=feature.id if feature and _is_ambiguous(name) else None,
            ),
            is_draft=feature is not None
            and (feature.status or "").casefold() == DRAFT
            and name.casefold() not in named,
        )
        for name, feature in _features(names, options.select, list_features).items()
        for config in configs or (None,)
    ]
    by_id = {f"{ROOT}::{choice.name}": choice for choice in choices}
    if missing := [node_id for node_id in node_ids if node_id not in by_id]:
        meant = did_you_mean(missing[0], by_id)
        raise CollectError(
            f"no feature is {missing[0]!r}{meant and f': {meant}'}; "
            "pytest --testvibe --collect-only -q lists them"
        )
    return [by_id[node_id] for node_id in dict.fromkeys(node_ids)] or choices


def _features(
    names: Sequence[str],
    patterns: Sequence[str],
    list_features: Callable[[], Listing[Feature]],
) -> Mapping[str, Feature | None]:
    """Return the features by name, all for no names and no patterns; None for what is not listed.

    Names need no list, except that a bracket at their end may be part of them, or have a
    configuration that no option names.
    """
    if names and not any(_is_ambiguous(name) or name.endswith("]") for name in names):
        return dict.fromkeys(names)
    if patterns and not names and all(map(is_exact, patterns)):
        return dict.fromkeys(patterns)
    try:
        listed = list_features().require_complete()
    except (NotFoundError, IncompleteListError) as error:
        raise CollectError(
            f"{error.brief}\nTo name features: --testvibe-select NAME, without * and ?"
        ) from error
    found = {each.name or str(each.id): each for each in listed if not each.is_suggestion}
    if not found:
        raise CollectError("there are no features to run in this project: create one first")
    if names or not patterns:
        return found
    selected: dict[str, Feature | None] = {}
    for pattern in patterns:
        matching = {name: each for name, each in found.items() if matches(pattern, name)}
        if not matching:
            raise CollectError(
                f"--testvibe-select {pattern!r} means none of the project's {len(found)} features"
            )
        selected |= matching
    return selected


def _name_in(node_id: str, configs: Sequence[str]) -> str:
    name = node_id.removeprefix(f"{ROOT}::")
    suffixes = [f"[{config}]" for config in configs]
    return name.removesuffix(next((each for each in suffixes if name.endswith(each)), ""))


def _is_ambiguous(name: str) -> bool:
    """Return True if a name alone may not lead to its feature.

    The service reads one of digits as an id, a server before it may read a slash as one of the
    path, and in a node id U+FFFD and an ellipsis stand for other characters.
    """
    return name.isdecimal() or any(mark in name for mark in "/\ufffd…")


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
