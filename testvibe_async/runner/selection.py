"""Selection of features and configurations: one meaning of a word, for every surface.

A word is the name or the id of a feature, a glob that matches names, or an exclusion if it starts
with `!`. An unlisted feature is refused before anything is dispatched, unless the service has no
lists: then words are names as they were typed.
"""

from __future__ import annotations

from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from testvibe_async._core.util import escape
from testvibe_async.batch import select_features
from testvibe_async.errors import ConfigError, NotFoundError, ResponseError, TransportError
from testvibe_async.models import Config, Feature, FeatureStatus, Listing
from testvibe_async.outcomes import BatchItem
from testvibe_async.runner.names import chosen_configs, did_you_mean, some_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from testvibe_async.project import Project
    from testvibe_async.runner.spec import BatchSpec


SHOWN_NAMES = 3
"""Maximum number of names given as examples."""


@frozen(kw_only=True)
class Selection:
    """The features and configurations of a batch."""

    features: Sequence[str | Feature]
    """The features, each once, in the order typed; a name if they were not listed."""

    configs: Sequence[str | None] = (None,)
    """The configurations that each runs with, as the service spells them."""

    left_out: Sequence[Feature] = ()
    """The features that all or a glob leaves out; the reasons are in `note`."""

    is_wider: bool = False
    """True if not each feature was named: all are chosen, or some by a glob."""

    states: Mapping[int | str, str] = field(factory=dict["int | str", str])
    """The state of each feature, as `jobs` names it: ready, missing or generating, if known."""

    listing: Listing[Feature] | None = None
    """The features of the project, if they were listed."""

    @property
    def note(self) -> str:
        """The sentence that says which features were left out, and why; empty without any."""
        by_reason: dict[str, list[str]] = {}
        for each in self.left_out:
            if why := _why_left_out(each):
                by_reason.setdefault(why, []).append(escape(each.name))
        said = "; ".join(f"{why}: {some_of(each, SHOWN_NAMES)}" for why, each in by_reason.items())
        return f"Left out {said}." if said else ""

    @property
    def unrunnable(self) -> dict[str, str]:
        """The names of the features that were left out for want of tests, each with the reason."""
        left_out = (each for each in self.left_out if not each.is_suggestion)
        return {each.name: why for each in left_out if (why := _why_left_out(each))}

    @property
    def jobs(self) -> list[BatchItem[Any]]:
        """An item without ref and outcome for each feature and configuration."""
        known = (
            (each.id, each.name) if isinstance(each, Feature) else (each, None)
            for each in self.features
        )
        return [
            BatchItem(feature=feature, name=name, config=config)
            for feature, name in known
            for config in self.configs
        ]


async def select(
    project: Project,
    spec: BatchSpec,
    *,
    max_outage: float | None = None,
    all_word: str = "all",
) -> Selection:
    """Return the features and configurations that a batch is about.

    Args:
        project: The features' project.
        spec: The description of the batch.
        max_outage: Maximum seconds of an outage while a required list is requested, as of
            `Project.list_features`. The client's retry policy applies to lists that only resolve
            names.
        all_word: How the surface calls the choice of all features, for messages.

    Raises:
        ConfigError: Nothing is named, names as well as all, or a word or a configuration means
            nothing; or the exclusions leave no feature.
        IncompleteListError: The list is needed, and not whole.
        ResponseError, TransportError: The list is needed, and can't be had.
    """
    wanted = [word for word in spec.features if not word.startswith("!")]
    if not spec.features and not spec.is_all:
        raise ConfigError(f"which features? Give names, ids or globs such as 'Log*', or {all_word}")
    if spec.is_all and wanted:
        raise ConfigError(
            f"{all_word} takes no names but exclusions: leave out {all_word}, or {wanted[0]!r}"
        )
    if spec.is_all or any(map(_is_pattern, spec.features)):
        listing = await project.list_features(max_outage=max_outage)
        selection = _chosen(spec, listing, all_word=all_word)
    else:
        selection = await _resolved(project, spec, all_word=all_word)
    if not spec.configs:
        return selection
    listed = await listed_configs(project)
    return evolve(selection, configs=chosen_configs(spec.configs, listed))


async def _resolved(project: Project, spec: BatchSpec, *, all_word: str) -> Selection:
    """Return the features of names and ids; as they were typed, if the service does not say.

    Raises:
        ConfigError: There is no such feature.
    """
    words = list({word.casefold(): word for word in spec.features}.values())
    try:
        if len(words) == 1:
            with suppress(NotFoundError):
                feature = await project.get_feature(words[0])
                return Selection(features=words, states=_states_of({words[0]: feature}))
        return _chosen(spec, await project.list_features(), all_word=all_word)
    except (ResponseError, TransportError):  # Its dispatch says more.
        return Selection(features=words)


async def listed_configs(project: Project) -> Listing[Config]:
    """Return the configurations of a project; none if the service has no such list."""
    try:
        return await project.list_configs()
    except (ResponseError, TransportError):  # It is no obstacle.
        return Listing()


def _chosen(spec: BatchSpec, listing: Listing[Feature], *, all_word: str) -> Selection:
    """Return the meaning of words, by a list.

    Raises:
        ConfigError: A word means nothing, or the exclusions leave no feature.
    """
    chosen: dict[int | str, str | Feature] = {}
    excluding: list[str] = []
    excluded: set[int | str] = set()
    left_out: list[Feature] = []
    is_run, is_wider = spec.kind == "run", spec.is_all
    if spec.is_all:
        meant = select_features(listing, lambda f: f.has_tests if is_run else f.needs_tests)
        chosen |= {each.id: each for each in meant}
        left_out = [each for each in listing if each.id not in chosen]
    for word in spec.features:
        found = _named(word, listing)
        if not found and _is_pattern(word):
            found = _matched(word.removeprefix("!"), listing)
            if word.startswith("!"):
                excluding.append(word)
                excluded |= {each.id for each in found}
                continue
            is_wider = True
            left_out += [each for each in found if _is_unfit(each, is_run=is_run)]
            found = [each for each in found if not _is_unfit(each, is_run=is_run)]
        elif not found:
            _refuse_unlisted(word, listing, all_word=all_word)
            chosen[word.casefold()] = word
        chosen |= {each.id: each for each in found}
    if len(excluding) == len(spec.features) and not spec.is_all:
        raise ConfigError(f"exclusions alone choose nothing: give names too, or {all_word}")
    if chosen and chosen.keys() <= excluded:
        raise ConfigError(f"the exclusions leave no feature: {', '.join(map(repr, excluding))}")
    left_out = [each for each in left_out if each.id not in {*chosen, *excluded}]
    return Selection(
        features=[each for key, each in chosen.items() if key not in excluded],
        left_out=left_out,
        is_wider=is_wider,
        listing=listing,
        states=_states_of({each.id: each for each in listing}),
    )


def _is_pattern(word: str) -> bool:
    return word.startswith("!") or any(sign in word for sign in "*?[")


def _named(word: str, listing: Iterable[Feature]) -> list[Feature]:
    """Return the feature of an id, else of a name as it is spelled, else in any case."""
    folded = word.casefold()
    like = [each for each in listing if folded in {each.name.casefold(), str(each.id)}]
    by_id = [each for each in like if str(each.id) == word]
    return by_id or [each for each in like if each.name == word] or like


def _matched(pattern: str, listing: Listing[Feature]) -> list[Feature]:
    """Return the features of a glob, a name or an id, and the suggestions that it matches too.

    Raises:
        ConfigError: There are no features.
        IncompleteListError: There may be more.
    """
    whole = listing.require_complete()
    found = _named(pattern, whole) or [
        each for each in whole if fnmatchcase(each.name.casefold(), pattern.casefold())
    ]
    if all(each.is_suggestion for each in found):
        names = [each.name for each in whole if not each.is_suggestion]
        nameless = "the service lists its features without names, so give ids"
        like = did_you_mean(pattern, names) or (nameless if names else "the project has none")
        raise ConfigError(f"no feature matches {pattern!r}: {like}")
    return found


def _refuse_unlisted(word: str, listing: Listing[Feature], *, all_word: str) -> None:
    """Refuse a name that a whole list of names lacks.

    Raises:
        ConfigError: There is no such feature.
    """
    names = [each.name for each in listing]
    if listing.is_complete and all(names):
        question = did_you_mean(word, names) or "the project has none"
        if word.casefold() == "all":
            question = f"to choose all features, give {all_word}"
        raise ConfigError(f"there is no feature {word!r}: {question}")


def _why_left_out(feature: Feature) -> str | None:
    """Return the reason why a feature is left out of all; None if it is obvious."""
    if feature.is_suggestion:
        return "as suggestions"
    if feature.has_undocumented_status:
        return f"with status {escape(str(feature.status))!r}, which is not documented"
    return None if feature.has_tests else f"without tests ({escape(str(feature.status))})"


def _states_of(features: Mapping[Any, Feature]) -> dict[int | str, str]:
    """Return the state of each feature's tests, as far as it is certain."""
    return {word: state for word, each in features.items() if (state := _state_of(each))}


def _state_of(feature: Feature) -> str | None:
    if feature.status is None or feature.has_undocumented_status:
        return None
    if feature.status == FeatureStatus.GENERATING:
        return "generating"
    return "ready" if feature.has_tests else "missing"


def _is_unfit(feature: Feature, *, is_run: bool) -> bool:
    """Return whether a glob leaves a feature out: a run of it would certainly be refused."""
    lacks_tests = _state_of(feature) in {"missing", "generating"}
    return feature.is_suggestion or (is_run and lacks_tests)
