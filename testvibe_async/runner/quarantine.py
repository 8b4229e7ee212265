"""The quarantine: failures that a person expects and is responsible for, for some days.

Decides which failures are excused, and which entries have expired or are not needed any more, for
every surface. A quarantined feature still runs. Only a run that failed is excused: an error, an
outage or an unknown dispatch never is.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import evolve, field, frozen

from testvibe_async._core.config import read_repository_file
from testvibe_async.errors import ConfigError
from testvibe_async.models import Feature, Listing, Run
from testvibe_async.outcomes import BatchItem, Quarantined, Verdict
from testvibe_async.runner.names import similar_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


ItemT = TypeVar("ItemT", bound="BatchItem[Any]")

MAX_DAYS = 30
"""The number of days ahead that an entry may last."""

_FORMS: Mapping[str, type] = {
    "feature": str,
    "test": str,
    "reason": str,
    "owner": str,
    "until": date,
    "strict": bool,
}
_WORDS = {str: "a text in quotes", date: "a date without quotes", bool: "true or false"}
_REQUIRED = ("reason", "owner", "until")


def _day(written: date | str) -> date:
    """Return a day, as an entry has it or as a batch stores it."""
    return date.fromisoformat(written) if isinstance(written, str) else written


@frozen(kw_only=True)
class QuarantineEntry:
    """One entry: a feature, or a test of one or of any."""

    feature: str | None = None
    """The feature's name or id; None for a test of any feature."""

    test: str | None = None
    """The test's name; None for all of the feature."""

    reason: str
    owner: str
    until: date = field(converter=_day)
    """The last day."""

    strict: bool = False
    """True if an unexpected pass fails."""

    def __str__(self) -> str:
        """Return the entries of the quarantine."""
        feature = f"of {self.feature!r}" if self.feature else ""
        return f"test {self.test!r} {feature}".strip() if self.test else f"{self.feature!r}"

    def covers(self, item: BatchItem[Any], run: Run) -> bool:
        """Return whether one of an item's finished runs has to do with it."""
        names = (item.feature, item.name, run.feature_name, run.feature_id)
        if self.feature is not None and self.feature.casefold() not in _folded(names):
            return False
        return self.test is None or self.test.casefold() in _folded(t.name for t in run.tests)

    def is_passed(self, run: Run) -> bool:
        """Return True if a run passed everything that the entry covers."""
        if self.test is None:
            return _has_passed(run)
        name = self.test.casefold()
        return all(test.status == "passed" for test in run.tests if test.name.casefold() == name)


@frozen
class Quarantine:
    """The entries in force in a repository."""

    entries: Sequence[QuarantineEntry] = ()
    today: date = field(default=date.min, converter=_day)
    """The day on which entries are judged."""

    @classmethod
    def read(cls, *, today: date | None = None) -> Self:
        """Read the quarantine of the repository in which this process runs.

        Args:
            today: The day; None for the present one, in UTC.

        Raises:
            ConfigError: The file can't be read, or an entry is invalid or lasts too long.
        """
        today = today or datetime.now(UTC).date()
        file = read_repository_file()
        if file is None:
            return cls((), today)
        return cls([_entry(file.path, table, today) for table in file.quarantine], today)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Return the quarantine that the description of a batch keeps."""
        return cls([QuarantineEntry(**each) for each in document["entries"]], document["today"])

    def unmatched(self, features: Listing[Feature]) -> list[str]:
        """Return a sentence for each entry whose feature a project does not have.

        Args:
            features: The project's features; a list without some rows or names shows nothing.
        """
        names = [each.name for each in features]
        known = {name.casefold() for name in names} | {str(each.id) for each in features}
        if not features.is_complete or not all(names):
            return []
        return [
            f"The quarantine names {word!r}, and there is no such feature{like and f': {like}'}"
            for word in dict.fromkeys(each.feature for each in self.entries if each.feature)
            if word.casefold() not in known
            for like in [similar_names(word, names)]
        ]

    def mark(self, item: ItemT) -> ItemT:
        """Return an item with the effect that the quarantine has on it."""
        if not self.entries or not isinstance(item.outcome, Run):
            return item
        return evolve(item, quarantine=self._effect_on(item, item.outcome))

    def _effect_on(self, item: BatchItem[Any], run: Run) -> Quarantined | None:
        """Return the effect on an item and its finished run; None if no entry covers it."""
        covering = [each for each in self.entries if each.covers(item, run)]
        if not covering or not (run.is_success or run.is_failure):
            return None
        for entry in covering:
            if entry.until < self.today:
                why = f"the quarantine of {entry} expired: fix it and remove the entry, or renew it"
                return _effect(entry, Verdict.FAILED, why)
            # What passed after a failed attempt is no unexpected pass.
            if entry.strict and not item.is_flaky and entry.is_passed(run):
                why = f"unexpected pass of {entry}: remove it from the quarantine"
                return _effect(entry, Verdict.FAILED, why)
        if _has_passed(run):
            return _effect(covering[0], Verdict.SUCCEEDED)
        is_whole = any(each.test is None for each in covering)
        excused = _folded(each.test for each in covering)
        failed = _folded(test.name for test in run.failures)
        listed = sum(test.status != "passed" for test in run.tests)
        counted = run.summary.failed + run.summary.other if run.summary else 0
        # A test that did not pass and is not listed may be another.
        is_excused = is_whole or (failed and failed <= excused and listed >= counted)
        return _effect(covering[0], Verdict.QUARANTINED) if is_excused else None


NO_QUARANTINE = Quarantine()
"""The quarantine that excuses nothing."""


def _folded(names: Iterable[object]) -> set[str]:
    return {str(name).casefold() for name in names if name is not None}


def _has_passed(run: Run) -> bool:
    """Return whether a run passed, with results: without any, it fails in a batch."""
    return run.is_success and run.has_results


def _effect(entry: QuarantineEntry, verdict: Verdict, why: str | None = None) -> Quarantined:
    return Quarantined(
        reason=why or entry.reason, owner=entry.owner, until=entry.until, verdict=verdict
    )


def _entry(path: Path, table: object, today: date) -> QuarantineEntry:
    """Return a checked entry.

    Raises:
        ConfigError: It is invalid.
    """
    members = cast("dict[str, Any]", table) if isinstance(table, dict) else {}
    where = f"{path}: [[quarantine]] of {members.get('feature') or members.get('test')!r}"
    for name, value in members.items():
        if name not in _FORMS:
            raise ConfigError(f"{where}: unknown key {name!r}; known are {', '.join(_FORMS)}")
        if type(value) is not _FORMS[name] or value == "":
            raise ConfigError(f"{where}: {name} must be {_WORDS[_FORMS[name]]}, not {value!r}")
    missing = [name for name in _REQUIRED if name not in members]
    if not members.keys() & {"feature", "test"}:
        missing.append("feature or test")
    if missing:
        raise ConfigError(f"{where} has no {', no '.join(missing)}")
    entry = QuarantineEntry(**members)
    latest = today + timedelta(days=MAX_DAYS)
    if entry.until > latest:
        raise ConfigError(f"{where}: until is at most {latest}, {MAX_DAYS} days ahead")
    return entry
