"""Which features a command is about: names, ids, globs, or all.

It decides what was meant by what was typed. It asks the service for its list of features only where
that is needed, and says in one sentence what names none.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from testvibe_async import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from testvibe_async import Feature, Project

__all__ = ["any_is_several", "choose"]

SHOWN_NAMES = 3
"""How many names are given as examples where a glob matches none."""


async def choose(
    project: Project,
    typed: Sequence[str],
    *,
    everything: Callable[[Feature], bool] | None,
) -> list[str | Feature]:
    """Return the features that a command is about, each once, in the order typed.

    Args:
        project: Where they are.
        typed: Names, ids and globs.
        everything: What to take without any of them, with `--all`; None without that.

    Raises:
        ConfigError: Nothing was typed, or names as well as `--all`, or a glob matches no feature.
    """
    if everything is not None:
        if typed:
            raise ConfigError(f"--all takes no names: leave out --all, or {typed[0]!r}")
        return [row for row in await _listed(project) if everything(row)]
    if not typed:
        raise ConfigError("which features? Give names, ids or globs such as 'Log*', or --all")
    if not any(map(_is_glob, typed)):
        return [*{name.casefold(): name for name in typed}.values()]
    return _matching(await _listed(project), typed)


def any_is_several(typed: Sequence[str], chosen: Iterable[str | Feature]) -> bool:
    """Say whether one of the words that were typed stands for several of the features chosen."""
    features = [each for each in chosen if not isinstance(each, str)]
    return any(len(list(_matched(features, word.casefold()))) > 1 for word in typed)


async def _listed(project: Project) -> list[Feature]:
    return [row for row in await project.list_features() if not row.is_suggestion]


def _is_glob(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def _matching(features: Sequence[Feature], typed: Sequence[str]) -> list[str | Feature]:
    """Return what each pattern matches; a name that is not listed is kept for the service."""
    chosen: dict[int | str, str | Feature] = {}
    for pattern in typed:
        found = list(_matched(features, pattern.casefold()))
        if not found and _is_glob(pattern):
            raise ConfigError(f"no feature matches {pattern!r}: {_examples(features)}")
        for each in found:
            chosen[each.id] = each
        if not found:
            chosen[pattern.casefold()] = pattern
    return list(chosen.values())


def _matched(features: Iterable[Feature], pattern: str) -> Iterable[Feature]:
    """Yield the feature of that name or id; else those whose names fit it as a glob."""
    features = list(features)
    exact = [each for each in features if pattern in {each.name.casefold(), str(each.id)}]
    return exact or [each for each in features if fnmatchcase(each.name.casefold(), pattern)]


def _examples(features: Sequence[Feature]) -> str:
    if not features:
        return "the project has none"
    names = ", ".join(repr(each.name) for each in features[:SHOWN_NAMES])
    return f"the project has {len(features)}, such as {names}"
