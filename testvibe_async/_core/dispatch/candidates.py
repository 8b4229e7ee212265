"""Which operation a dispatch started whose answer was lost. Pure.

A candidate is any operation newer than the newest at the intent that no row owns, and that is not
positively another request's. A field that is missing or spelled otherwise makes nothing positively
different, and no time that the service writes is compared with a clock of ours.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from testvibe_async._core.util import id_in
from testvibe_async.ledger import (
    Row,
    RowState,
    folded,
    folded_site,
    is_from_before,
    request_of,
    seconds_between,
)
from testvibe_async.models import DEFAULT_CONFIG, DRAFT, Generation, Run
from testvibe_async.refs import RunRef

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from testvibe_async.errors import UnknownReason
    from testvibe_async.models import Listing, Snapshot
    from testvibe_async.refs import Ref

BEFORE_SECONDS = 10.0
"""Maximum age in seconds of what was the newest operation at an intent."""


class Fit(Enum):
    """The result of comparing an operation with a request."""

    OURS = auto()
    """Each field that the request sets is there, and the same."""

    PERHAPS = auto()
    """Nothing differs, and a field that the request sets is missing."""

    OTHERS = auto()
    """A field that the request sets is there, and differs."""


@frozen
class Evidence:
    """The operations that the service shows since a dispatch."""

    shown: Sequence[tuple[Snapshot, Ref]] = ()
    """The operations that may be newer than the newest before the dispatch."""

    is_whole: bool = False
    """True if the service shows all of them."""

    why: str = ""
    """The reason why it does not, or why it could not be asked."""

    is_answered: bool = True
    """False if the service could not be asked."""

    may_change: bool = True
    """True if a later answer may show more."""


@frozen
class Decision:
    """The fate of a dispatch, as far as evidence shows it."""

    ref: Ref | None = None
    """Its operation."""

    reason: UnknownReason = "absent"
    """The reason why the operation is not known."""

    candidates: tuple[Ref, ...] = ()
    """The operations that may be its own, if the reason is `ambiguous`."""

    is_nothing: bool = False
    """True if nothing that could be its operation is to be seen."""

    is_final: bool = True
    """False if an answer under way, to the same request, may still tell the candidates apart."""


def fit(row: Row, operation: Snapshot) -> Fit:
    """Compare an operation with the request of a row."""
    fits = [_feature_fit(row, operation)]
    if isinstance(operation, Run):
        fits += [_config_fit(row, operation), _site_fit(row, operation)]
    return max(fits, key=lambda each: each.value)


def _feature_fit(row: Row, operation: Snapshot) -> Fit:
    number = id_in(str(row.feature))
    if number is not None:
        if operation.feature_id is not None:
            return Fit.OURS if operation.feature_id == number else Fit.OTHERS
        # A feature may have been renamed since its name was read.
        is_named = row.name is not None and _is_same(row.name, operation.feature_name)
        return Fit.OURS if is_named else Fit.PERHAPS
    if not operation.feature_name:
        return Fit.PERHAPS
    return Fit.OURS if _is_same(str(row.feature), operation.feature_name) else Fit.OTHERS


def _config_fit(row: Row, run: Run) -> Fit:
    asked, named = (folded(each or DEFAULT_CONFIG) for each in (row.config, run.config))
    if asked == named:
        return Fit.OURS
    return Fit.OTHERS if run.config else Fit.PERHAPS


def _site_fit(row: Row, run: Run) -> Fit:
    if row.site_url is None:  # The project's own site, whatever that is.
        return Fit.OURS
    if not run.site_url:
        return Fit.PERHAPS
    return Fit.OURS if folded_site(row.site_url) == folded_site(run.site_url) else Fit.OTHERS


def _is_same(first: str, second: str | None) -> bool:
    return second is not None and folded(first) == folded(second)


def decide(
    row: Row,
    evidence: Evidence,
    related: Iterable[Row],
    *,
    attached: Collection[Ref] = (),
    awaited: Collection[Row] = (),
) -> Decision:
    """Decide which of the operations shown is that of a dispatch.

    Args:
        row: The dispatch.
        evidence: What the service shows.
        related: The rows of the project that are open, or own an operation shown.
        attached: The operations that a caller attached to: another may have dispatched them.
        awaited: The rows whose answers may still come.
    """
    others = [each for each in related if each.identity != row.identity]
    operations = {ref: operation for operation, ref in evidence.shown}
    owners = [
        (each.ref, fit(each, operations[each.ref])) for each in others if each.ref in operations
    ]
    owned = {ref for ref, found in owners if found is not Fit.OTHERS}
    # An owner that an operation contradicts has it by a mistake of the service.
    contested = {ref for ref, found in owners if found is Fit.OTHERS}
    last = _last_id(row, [each for each in others if each.ref not in contested])
    fits = {
        ref: found
        for operation, ref in evidence.shown
        if ref not in owned
        and (last is None or getattr(ref, "run_id", 0) < last)
        and (found := fit(row, operation)) is not Fit.OTHERS
    }
    if not fits:
        is_nothing = evidence.is_answered and evidence.is_whole
        return Decision(reason="absent" if is_nothing else "unseen", is_nothing=is_nothing)
    ambiguous = Decision(reason="ambiguous", candidates=tuple(fits))
    is_clear = row.is_before_known and all(
        found is Fit.OURS and ref not in attached and ref not in contested
        for ref, found in fits.items()
    )
    peers = [each for each in others if _may_own(each, row, [operations[ref] for ref in fits])]
    if not is_clear or any(_request(each) != _request(row) for each in peers):
        return ambiguous
    if any(each in awaited for each in peers):  # Its id would tell.
        return evolve(ambiguous, is_final=False)
    attempts = sorted((row, *peers), key=_precedence)
    shares, left = _share(attempts, list(fits))
    if left:
        return ambiguous
    is_hidden = None in shares and not evidence.is_whole
    is_hidden = is_hidden or any(_may_own_older(each, row) for each in attempts)
    own = None if is_hidden else shares[attempts.index(row)]
    return evolve(ambiguous, is_final=False) if own is None else Decision(ref=own)


def _share(attempts: Iterable[Row], refs: list[Ref]) -> tuple[list[Ref | None], list[Ref]]:
    """Share operations among attempts of one request: return those of each, and what is left.

    The attempts are interchangeable, and so are their operations; but an operation that an attempt
    knew before is not its own.
    """
    left = sorted(refs, key=lambda ref: str(ref.key[-1]).zfill(20))
    shares: list[Ref | None] = []
    for attempt in attempts:
        share = next((ref for ref in left if not is_from_before(ref, attempt.before)), None)
        shares.append(share)
        if share is not None:
            left.remove(share)
    return shares, left


def _may_own_older(other: Row, row: Row) -> bool:
    """Return whether an attempt goes first, and may own what this one's evidence leaves out."""
    if _precedence(other) >= _precedence(row):
        return False
    if not other.is_before_known:
        return True
    earlier, later = other.before, row.before
    return isinstance(earlier, int) and isinstance(later, int) and earlier < later


def _precedence(row: Row) -> tuple[object, ...]:
    """Return the order of attempts of one request: first those that certainly started."""
    return row.state is not RowState.ACCEPTED, row.intended_at, row.identity


def _last_id(row: Row, others: Iterable[Row]) -> int | None:
    """Return the lowest id of a run that was dispatched after a row had expired; None without."""
    ids = [
        each.ref.run_id
        for each in others
        if isinstance(each.ref, RunRef)
        and (seconds := seconds_between(row, each)) is not None
        and seconds > row.expires_after
    ]
    return min(ids, default=None)


def _may_own(other: Row, row: Row, operations: Iterable[Snapshot]) -> bool:
    """Return whether one of some operations may be that of another open row.

    Not if the other had expired before this one was sent: `before` would then cover it.
    """
    if not other.is_open or other.kind != row.kind:
        return False
    seconds = seconds_between(other, row)
    if seconds is not None and seconds > other.expires_after + BEFORE_SECONDS:
        return False
    return any(fit(other, operation) is not Fit.OTHERS for operation in operations)


def _request(row: Row) -> tuple[object, ...]:
    return request_of(kind=row.kind, feature=row.feature, config=row.config, site_url=row.site_url)


def missing_ids(rows: Listing[Run], floor: int | None, *, limit: int) -> range | str | None:
    """Return the ids of runs above a floor that a list may lack.

    Args:
        rows: The list's first page.
        floor: The highest id before the dispatch; None if it is not known.
        limit: The number of rows that were requested.

    Returns:
        None if the list shows all; the ids between its last row and the floor; or the reason why
        runs of any id may be missing.
    """
    ids = [run.run_id for run in rows]
    if rows.unreadable:
        return "rows of the list of runs can't be read"
    if floor is not None and max(ids, default=0) < floor:
        return "the list lacks the latest run before it: it is old, or the service was reset"
    if rows.is_complete and len(ids) < limit:
        return None
    if floor is None or not ids or ids != sorted(ids, reverse=True):
        return "the list of runs is cut"
    return None if ids[-1] <= floor + 1 else range(floor + 1, ids[-1])


def generation_evidence(row: Row, latest: Generation, ref: Ref | None) -> Evidence:
    """Return what the status of a feature shows of a dispatched generation.

    Only a present value proves anything: a service may name a generation only once it has left the
    queue.
    """
    if latest.request_id:
        if latest.request_id == row.before:
            return Evidence(is_whole=True)
        # Both are the service's own times.
        if row.before_at and latest.updated_at and latest.updated_at < row.before_at:
            return Evidence(why="the status is of a generation from before the dispatch")
        if ref is not None:
            return Evidence([(latest, ref)])
    elif row.before is None and (latest.feature_status or "").casefold() == DRAFT:
        return Evidence(is_whole=True)
    return Evidence(why="the status of the feature does not say which generation it is of")
