"""Which operation a lost dispatch started: a table of cases, and what holds for all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from testvibe_async import Generation, GenerationRef, Listing, Run, RunRef, errors
from testvibe_async._core.dispatch.candidates import (
    Decision,
    Evidence,
    Fit,
    decide,
    fit,
    generation_evidence,
    missing_ids,
)
from testvibe_async.ledger import Row, RowState

SERVER = "https://testvibe.example"
AT = datetime(2026, 6, 10, 16, 0, tzinfo=UTC)


def row(feature: int | str = "Checkout", **values: Any) -> Row:
    """Return the row of a lost dispatch of a run."""
    known: dict[str, Any] = {
        "server": SERVER,
        "project": "p",
        "key": "ours",
        "kind": "run",
        "feature": feature,
        "state": RowState.LOST,
        "intended_at": AT,
        "expires_after": 65.0,
        "before": 213,
        "is_before_known": True,
    }
    known |= values
    known.setdefault("boot", "boot")
    known.setdefault("boot_seconds", known["intended_at"].timestamp())
    return Row(**known)


def run(number: int = 214, **values: Any) -> Run:
    """Return a run as a list shows it."""
    known: dict[str, Any] = {
        "feature_id": 12,
        "feature_name": "Checkout",
        "config": "Default",
        "site_url": "https://shop.example",
    }
    return Run(number, "running", **known | values)


def ref(number: int = 214) -> RunRef:
    return RunRef(server=SERVER, project="p", run_id=number)


def shown(*runs: Run, is_whole: bool = True) -> Evidence:
    """Return evidence of runs."""
    return Evidence([(each, ref(each.run_id)) for each in runs], is_whole=is_whole)


@pytest.mark.parametrize(
    ("asked", "found", "expected"),
    [
        ({}, {}, Fit.OURS),
        # A name in another spelling is the same name.
        ({"feature": "Caf\u00e9  au lait"}, {"feature_name": "cafe\u0301 au lait "}, Fit.OURS),
        ({"feature": "\uff23heckout"}, {}, Fit.OURS),
        ({"feature": "Returns"}, {}, Fit.OTHERS),
        ({}, {"feature_name": None}, Fit.PERHAPS),
        ({}, {"feature_name": ""}, Fit.PERHAPS),
        # A feature that was asked for by its id is compared by that, since it may be renamed.
        ({"feature": 12}, {"feature_name": "Renamed"}, Fit.OURS),
        ({"feature": "12"}, {"feature_name": "Renamed"}, Fit.OURS),
        ({"feature": 13}, {}, Fit.OTHERS),
        ({"feature": 12}, {"feature_id": None}, Fit.PERHAPS),
        ({"feature": 12, "name": "Checkout"}, {"feature_id": None}, Fit.OURS),
        (
            {"feature": 12, "name": "Returns"},
            {"feature_id": None, "feature_name": "Checkout"},
            Fit.PERHAPS,
        ),
        ({}, {"config": None}, Fit.OURS),
        ({}, {"config": ""}, Fit.OURS),
        ({}, {"config": "default"}, Fit.OURS),
        ({}, {"config": "Mobile"}, Fit.OTHERS),
        ({"config": "Default"}, {"config": None}, Fit.OURS),
        ({"config": "Mobile"}, {"config": None}, Fit.PERHAPS),
        ({"config": "Mobile"}, {}, Fit.OTHERS),
        ({"config": "Mobile"}, {"config": " MOBILE"}, Fit.OURS),
        # Without a site in the request, any may be the project's own.
        ({}, {"site_url": "https://other.example"}, Fit.OURS),
        ({"site_url": "https://shop.example/"}, {}, Fit.OURS),
        ({"site_url": "https://SHOP.example"}, {}, Fit.OURS),
        ({"site_url": "https://shop.example"}, {"site_url": None}, Fit.PERHAPS),
        ({"site_url": "https://other.example"}, {}, Fit.OTHERS),
        # The field that differs outweighs the one that is missing.
        ({"config": "Mobile"}, {"config": None, "feature_name": "Returns"}, Fit.OTHERS),
    ],
)
def test_a_run_is_compared_with_a_request(
    asked: dict[str, Any], found: dict[str, Any], expected: Fit
) -> None:
    """Only a field that is there and differs makes a run another's."""
    assert fit(row(**asked), run(**found)) is expected


OWNER = row(key="owner", state=RowState.DISPATCHED, ref=ref(214))
TWIN = row(key="twin")
LATER_TWIN = row(key="twin", intended_at=AT + timedelta(seconds=1))
AFTERWARDS = row(
    "Returns",
    key="later",
    state=RowState.DISPATCHED,
    ref=ref(215),
    intended_at=AT + timedelta(seconds=75),
)
EARLIER_TWIN = row(key="twin", intended_at=AT - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("ours", "evidence", "related", "expected"),
    [
        # One that is certainly ours.
        (row(), shown(run()), [], ref(214)),
        (row(), shown(run(), is_whole=False), [], ref(214)),
        (row(), shown(run(), run(215, feature_name="Returns")), [], ref(214)),
        # Nothing, seen in all that there is; and nothing, seen in a part or not at all.
        (row(), shown(), [], "nothing"),
        (row(), shown(run(feature_name="Returns")), [], "nothing"),
        (row(), shown(is_whole=False), [], "unseen"),
        (row(), Evidence(is_answered=False), [], "unseen"),
        # What another row owns is no candidate.
        (row(), shown(run()), [OWNER], "nothing"),
        (row(), shown(run(), run(215)), [OWNER], ref(215)),
        # One that may be ours, or of which it is unknown whether it is new, is no adoption.
        (row(), shown(run(feature_name=None)), [], "ambiguous"),
        (row(is_before_known=False), shown(run()), [], "ambiguous"),
        # More than were lost.
        (row(), shown(run(), run(215)), [], "ambiguous"),
        # As many as were lost of one request: in the order of the intents, each gets one.
        (row(), shown(run(), run(215)), [LATER_TWIN], ref(214)),
        (row(), shown(run(), run(215)), [EARLIER_TWIN], ref(215)),
        (row(), shown(run(), run(215), run(216)), [TWIN], "ambiguous"),
        # Fewer: those that were intended first.
        (row(), shown(run()), [LATER_TWIN], ref(214)),
        (row(), shown(run()), [EARLIER_TWIN], "ambiguous"),
        # Where more may be hidden, the one that is shown may be the other's.
        (row(), shown(run(), is_whole=False), [LATER_TWIN], "ambiguous"),
        # Another request that may have started it.
        (row(), shown(run(config=None)), [row(key="other", config="Mobile")], "ambiguous"),
        (row(), shown(run()), [row(key="other", config="Mobile")], ref(214)),
        # A row that had expired by then, and one of another kind, are no peers.
        (
            row(),
            shown(run(), run(215)),
            [evolve(TWIN, boot_seconds=0.0)],
            "ambiguous",
        ),
        (row(), shown(run()), [evolve(EARLIER_TWIN, kind="generation")], ref(214)),
        # What began after a later dispatch is not ours, unless only a clock says that it is later.
        (row(), shown(run(216)), [AFTERWARDS], "nothing"),
        (row(), shown(run(216)), [evolve(AFTERWARDS, boot="another machine")], ref(216)),
    ],
)
def test_a_lost_dispatch_is_decided(
    ours: Row, evidence: Evidence, related: list[Row], expected: object
) -> None:
    """One that is positively ours is taken; nothing is proved only by all that there is."""
    decision = decide(ours, evidence, [*related, ours])
    what = decision.ref or ("nothing" if decision.is_nothing else decision.reason)
    assert what == expected
    assert decision.is_final or {each.key for each in related} == {TWIN.key}
    assert bool(decision.candidates) == (what == "ambiguous")


def test_an_answer_that_may_come_is_waited_for() -> None:
    """While another attempt of the request is awaited, its answer may tell which is which."""
    twin = row(key="twin", state=RowState.INTENDED, intended_at=AT + timedelta(seconds=1))
    decision = decide(row(), shown(run()), [twin], awaited=[twin])
    assert (decision.reason, decision.is_final) == ("ambiguous", False)
    assert decide(row(), shown(run()), [twin]).ref == ref()


def test_an_attached_operation_is_not_taken() -> None:
    """A caller who attached to it has it from somebody."""
    decision = decide(row(), shown(run()), [], attached=[ref()])
    assert decision.reason == "ambiguous"


STATES = st.sampled_from([RowState.LOST, RowState.ACCEPTED, RowState.UNKNOWN])
RUNS = st.lists(
    st.builds(
        run,
        st.integers(214, 220),
        feature_name=st.sampled_from(["Checkout", "Returns", None]),
        config=st.sampled_from(["Default", "Mobile", None]),
    ),
    unique_by=lambda each: each.run_id,
    max_size=6,
)
ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from(["Checkout", "Returns"]),
        key=st.sampled_from("abcdef"),
        config=st.sampled_from([None, "Mobile"]),
        state=STATES,
        intended_at=st.integers(0, 30).map(lambda seconds: AT + timedelta(seconds=seconds)),
        before=st.sampled_from([213, 213, 215]),
        is_before_known=st.sampled_from([True, True, False]),
    ),
    unique_by=lambda each: each.key,
    min_size=1,
    max_size=5,
)


def evidence_of(row: Row, runs: list[Run], *, is_whole: bool = True) -> Evidence:
    """Return what the reader makes of a list for a row."""
    floor: Any = row.before
    return shown(*(each for each in runs if each.run_id > floor), is_whole=is_whole)


@given(ROWS, RUNS, st.booleans())
def test_no_two_dispatches_take_one_operation(
    rows: list[Row],
    runs: list[Run],
    is_whole: bool,  # noqa: FBT001 - drawn
) -> None:
    """Whatever is lost and shown, each run is taken once, by a row that it fits."""
    taken = dict[Any, Row]()
    for each in rows:
        decision = decide(each, evidence_of(each, runs, is_whole=is_whole), rows)
        if decision.ref is not None:
            assert decision.ref not in taken
            taken[decision.ref] = each
            (found,) = [every for every in runs if ref(every.run_id) == decision.ref]
            assert fit(each, found) is Fit.OURS


@given(ROWS, RUNS)
def test_what_is_stored_changes_no_other_decision(rows: list[Row], runs: list[Run]) -> None:
    """Taken one after the other, the dispatches get what they get at once."""
    at_once = [decide(each, evidence_of(each, runs), rows).ref for each in rows]
    stored = list(rows)
    for index, each in enumerate(rows):
        decision: Decision = decide(each, evidence_of(each, runs), stored)
        if decision.ref is not None:
            stored[index] = evolve(each, ref=decision.ref, state=RowState.DISPATCHED)
    in_turn = [each.ref for each in stored]
    for once, later in zip(at_once, in_turn, strict=True):
        assert once is None or once == later


def listing(*ids: int, unreadable: int = 0, is_cut: bool = False) -> Listing[Run]:
    """Return a list of runs."""
    rows = Listing([run(each) for each in ids], unreadable=["a row"] * unreadable)
    if is_cut:
        rows.incomplete = errors.IncompleteListError(
            "it has more", status=200, method="GET", url=""
        )
    return rows


@pytest.mark.parametrize(
    ("rows", "floor", "expected"),
    [
        # A whole list has all, in whatever order.
        (listing(), 0, None),
        (listing(3, 2, 1), 2, None),
        (listing(1, 2, 3), 2, None),
        (listing(3, 2, 1), None, None),
        # A list that lacks the newest from before is an old one.
        (listing(3, 2, 1), 4, "old"),
        (listing(), 4, "old"),
        (listing(4, 3), 5, "old"),
        (listing(3, unreadable=1), 2, "read"),
        # One that is cut, or as long as was asked for, lacks what is between its end and the floor.
        (listing(9, 8, is_cut=True), 8, None),
        (listing(9, 8, is_cut=True), 7, None),
        (listing(9, 8, is_cut=True), 5, range(6, 8)),
        (listing(9, 8, 7, 6), 4, range(5, 6)),
        (listing(9, 8, 7, 6), 6, None),
        # Whatever has no order, or no floor, may lack any.
        (listing(8, 9, is_cut=True), 5, "cut"),
        (listing(9, 8, is_cut=True), None, "cut"),
        (listing(is_cut=True), 0, "cut"),
    ],
)
def test_what_a_list_lacks(
    rows: Listing[Run], floor: int | None, expected: range | str | None
) -> None:
    """Absence is believed only of a list that shows all runs, or with those read by id."""
    found = missing_ids(rows, floor, limit=4)
    if isinstance(expected, str):
        assert isinstance(found, str)
        assert expected in found
    else:
        assert found == expected


GENERATION = row(kind="generation", before="r1", before_at=AT)
FIRST = row(kind="generation", before=None)


def status(request_id: str | None, **values: Any) -> Generation:
    """Return the status of a feature."""
    return Generation(request_id=request_id, feature_id=12, feature_name="Checkout", **values)


@pytest.mark.parametrize(
    ("ours", "latest", "expected"),
    [
        (GENERATION, status("r1"), "nothing"),
        (GENERATION, status("r2"), "r2"),
        (GENERATION, status(None), "unseen"),
        (GENERATION, status(None, feature_status="draft"), "unseen"),
        (GENERATION, status("r0", updated_at=AT - timedelta(seconds=1)), "unseen"),
        (GENERATION, status("r2", updated_at=AT), "r2"),
        (FIRST, status(None, feature_status="draft"), "nothing"),
        (FIRST, status(None, feature_status="Draft"), "nothing"),
        (FIRST, status(None, feature_status="generating"), "unseen"),
        (FIRST, status(None), "unseen"),
        (FIRST, status("r1"), "r1"),
        (evolve(GENERATION, is_before_known=False), status("r2"), "ambiguous"),
    ],
)
def test_what_a_status_shows(ours: Row, latest: Generation, expected: str) -> None:
    """A generation is proved absent only by the same id as before, or by a draft without one."""
    found = GenerationRef(
        server=SERVER, project="p", request_id=str(latest.request_id), feature_id=12
    )
    evidence = generation_evidence(ours, latest, found if latest.request_id else None)
    decision = decide(ours, evidence, [])
    what = "nothing" if decision.is_nothing else decision.reason
    assert (decision.ref.key[-1] if decision.ref else what) == expected


def test_an_unnamed_feature_proves_nothing() -> None:
    """A status that does not say of which feature it is makes no ref."""
    evidence = generation_evidence(GENERATION, Generation(request_id="r2"), None)
    assert (evidence.shown, evidence.is_whole) == ((), False)
