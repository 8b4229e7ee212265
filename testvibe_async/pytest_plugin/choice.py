"""The selection of features that become items, with their configurations.

The runner decides the meaning of a word, for every surface. This module decides what is specific to
pytest: node ids, drafts, and the lines of the configuration file that skip features or expect them
to fail. It creates no items; `features` does.

In such a line, `*` matches any text and `?` any character. Every other character matches itself,
brackets included, so that `Login*[Mobile]` names a configuration. Case is ignored, as by the
service.
"""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pytest
from attrs import evolve, frozen

from testvibe_async import IncompleteListError, NotFoundError
from testvibe_async.models import DRAFT
from testvibe_async.pytest_plugin.options import ROOT
from testvibe_async.pytest_plugin.suite import RunRequest
from testvibe_async.reports import one_line
from testvibe_async.runner.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from testvibe_async import Feature
    from testvibe_async.pytest_plugin.options import Options
    from testvibe_async.runner.selection import Selection

__all__ = ["Choice", "choose", "matches", "reason_for"]

ALL = "*"


@frozen
class Choice:
    """A feature to collect, with a configuration."""

    request: RunRequest
    is_draft: bool = False
    """True if the service lists it as never generated, and it was not asked for by its name."""

    @property
    def name(self) -> str:
        """The name of its item, on one line that is safe to print.

        pytest takes what follows the first bracket for parameters, and adds a bracket at the end if
        there is none.
        """
        name = one_line(str(self.request))
        return name if name.endswith("]") else name.replace("[", "(").replace("]", ")")


def choose(
    options: Options, node_ids: Collection[str], select: Callable[[Sequence[str]], Selection]
) -> list[Choice]:
    """Return the features to collect, in the order of the words, else in the service's.

    Args:
        options: The plugin's options.
        node_ids: The node ids of the only features to collect. Empty: all that the options select.
        select: Returns what words mean, with the configurations of the options.

    Raises:
        pytest.Collector.CollectError: A node id matches no feature.
        VibeError: The service could not be asked, or has no such feature or configuration.
    """
    if f"{ROOT}::" in node_ids:  # the node id of the collector means all features
        node_ids = ()
    names = [_name_in(node_id, options.config) for node_id in node_ids]
    words = names or options.select
    if any(map(_is_ambiguous, names)) or all(word.startswith("!") for word in words):
        words = (ALL, *(() if names else words))
    try:
        selection = select(words)
    except (NotFoundError, IncompleteListError) as error:
        error.add_note("To name features: --testvibe-select NAME, without * and ?")
        raise
    named = {name.casefold() for name in (*names, *options.select)}
    choices = [
        Choice(evolve(request, config=config, site_url=options.site_url), is_draft=is_draft)
        for request, is_draft in _requests(selection.features, named)
        for config in selection.configs
    ]
    by_id = {f"{ROOT}::{choice.name}": choice for choice in choices}
    folded = {node_id.casefold(): choice for node_id, choice in by_id.items()}
    if missing := [node_id for node_id in node_ids if node_id.casefold() not in folded]:
        meant = did_you_mean(missing[0], by_id)
        raise pytest.Collector.CollectError(
            f"no feature is {missing[0]!r}{meant and f': {meant}'}; pytest --testvibe "
            "--collect-only -q lists them, with [NAME] if there is --testvibe-config NAME"
        )
    return [folded[node_id.casefold()] for node_id in dict.fromkeys(node_ids)] or choices


def _requests(
    features: Sequence[str | Feature], named: Collection[str]
) -> Iterator[tuple[RunRequest, bool]]:
    """Yield the request of each feature, and True for a draft that was not asked for by its name.

    Of several with one name, each has its id in its own.
    """
    numbers = Counter(each.name.casefold() for each in features if not isinstance(each, str))
    for feature in features:
        if isinstance(feature, str):
            yield RunRequest(feature), False
            continue
        is_draft = (feature.status or "").casefold() == DRAFT
        name = feature.name or str(feature.id)
        is_only = numbers[feature.name.casefold()] == 1
        request = RunRequest(
            name if is_only or not feature.name else f"{name} ({feature.id})",
            feature_id=None if is_only and not _is_ambiguous(name) else feature.id,
        )
        yield request, is_draft and name.casefold() not in named


def _name_in(node_id: str, configs: Sequence[str]) -> str:
    name = node_id.removeprefix(f"{ROOT}::")
    suffixes = (f"[{config}]" for config in configs)
    found = (each for each in suffixes if name.casefold().endswith(each.casefold()))
    return name[: len(name) - len(next(found, ""))]


def _is_ambiguous(name: str) -> bool:
    """Return True if a name alone may not lead to its feature.

    The service reads one of digits as an id, a server before it may read a slash as one of the
    path, and the runner some characters as a pattern. In a node id U+FFFD, an ellipsis and
    parentheses stand for other characters, parentheses may hold an id, and brackets a configuration
    that no option names.
    """
    return name.isdecimal() or any(mark in name for mark in "/\ufffd…(*?[!")


def reason_for(rules: Mapping[str, str], *names: str) -> str | None:
    """Return the reason of the first pattern that matches one of the names; None if none does."""
    return next((reason for pattern, reason in rules.items() if matches(pattern, *names)), None)


def matches(pattern: str, *names: str) -> bool:
    """Return True if a pattern matches one of the names as a whole."""
    glob = pattern.casefold().replace("[", "[[]")
    return any(fnmatchcase(name.casefold(), glob) for name in names)
