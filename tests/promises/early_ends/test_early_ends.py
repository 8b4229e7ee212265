"""Plays every cell of the table of early ends, and checks what is said against the service."""

from collections.abc import Iterator
from itertools import product
from logging import LogRecord

import pytest

from tests.promises.early_ends.stage import END_SECONDS, Scene, Stage
from tests.promises.early_ends.table import IMPOSSIBLE, RAISES, TABLE, Cell, Ending, Known, Subject
from tests.support.amounts import some
from testvibe_async import BatchSummary, Ref, Verdict, errors
from testvibe_async.events import Dispatched, DispatchUnknown

WAYS = {
    Subject.WAIT: ["wait", "finished", "gather", "iteration"],
    Subject.BATCH: ["await", "async with"],
    Subject.DISPATCH: ["await"],
}
"""How each is waited for."""

SOME_WAYS = {
    (Subject.WAIT, Ending.TIME_OUT): ["wait", "finished"],  # the others have no `timeout=`
    (Subject.WAIT, Ending.BODY): ["iteration"],  # the others have no body while they wait
    (Subject.BATCH, Ending.BODY): ["async with"],
}
"""The same where not each way can end so."""


def scenes(cell: Cell) -> Iterator[Scene]:
    """Return what a cell is for: runs waited for in every way, and a generation in the first."""
    for ending, known in product(cell.endings, cell.known):
        ways = SOME_WAYS.get((cell.subject, ending), WAYS[cell.subject])
        acts = [True, False] if known is Known.SILENT else [True]
        orders = [False, True] if ending in Ending.SHUTDOWN | Ending.CTRL_C_TWICE else [False]
        for way, has_acted, is_inside_out in product(ways, acts, orders):
            for kind in ("run", "generation") if way == ways[0] else ("run",):
                yield Scene(cell.subject, ending, known, kind, way, has_acted, is_inside_out)


def test_the_table_is_whole() -> None:
    """Each subject has one cell for each way to end and each thing that may be known."""
    rows = [(cell.subject, cell.endings, cell.known) for cell in TABLE]
    rows += [(subject, endings, known) for subject, endings, known, _ in IMPOSSIBLE]
    places = [(subject, *each) for subject, ends, known in rows for each in product(ends, known)]
    assert len(places) == len(set(places)) == len(Subject) * len(Ending) * len(Known)


PLAYED = [
    pytest.param(cell, scene, id=str(scene))
    for cell in TABLE
    for scene in some(scenes(cell), few=5)
]
"""All scenes, or by default one of five of each cell."""


@pytest.mark.parametrize(("cell", "scene"), PLAYED)
def test_an_early_end(cell: Cell, scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Caller, program and log have what the cell says, and none says more than the service."""
    stage = Stage(scene)
    stage.play()

    raises = RAISES[scene.ending] if cell.raises is BaseException else cell.raises
    assert type(stage.raised) is (raises or type(None))
    assert stage.is_interrupted == (scene.ending in Ending.CTRL_C | Ending.CTRL_C_TWICE)
    assert (stage.then.verdict, stage.later.verdict) == (cell.verdict, cell.later)
    started = {Verdict.SUCCEEDED, Verdict.IN_FLIGHT}
    has_ref, is_unknown = cell.verdict in started, cell.later is Verdict.UNKNOWN
    refs = stage.then.ref is not None, stage.later.ref is not None
    assert refs == (has_ref, cell.later in started)
    comes_later = cell.later in started and not has_ref
    expected = "unknown" if is_unknown else "its ref" if comes_later else None
    assert log_line(caplog.records, stage) == expected
    check_truth(stage)
    check_time(stage)
    if scene.subject is Subject.BATCH:
        check_batch(stage)


def log_line(records: list[LogRecord], stage: Stage) -> str | None:
    """Return what the log says at WARNING or above, asyncio's own lines included."""
    # That the service does not answer any more is no line about an operation.
    records = [each for each in records if not each.getMessage().startswith("OutageStarted")]
    lines = [(each.name, each.levelname) for each in records if each.levelname != "INFO"]
    if not lines:
        return None
    assert lines == [("testvibe_async", "WARNING")]
    text = records[-1].getMessage()
    if "may have taken effect" in text:
        assert f"feature={stage.feature}" in text
        return "unknown"
    assert [Ref.from_json(text[text.index("{") :]).key[-1]] == ids_begun(stage)
    return "its ref"


def ids_begun(stage: Stage) -> list[object]:
    """Return the ids of what the service began for the feature."""
    return [each.id if stage.scene.kind == "run" else each.request_id for each in stage.begun()]


def check_truth(stage: Stage) -> None:
    """Compare what is said with what the service did, now that nothing more can come."""
    begun, later = ids_begun(stage), stage.later
    assert len(begun) <= 1
    for said in (stage.then, later):
        if said.ref is not None:
            assert [said.ref.key[-1]] == begun
        elif said.verdict not in {None, Verdict.UNKNOWN}:
            assert begun == []
        if said.error is not None:  # What it names is all that its reader has.
            assert said.error.ref == said.ref
    if later.verdict is None:
        assert begun == []
    if stage.then.verdict is Verdict.SUCCEEDED:
        assert stage.was_over

    # The hooks are for those who store refs: they have each, and each that is unknown.
    stored = [event.ref for event in stage.events if isinstance(event, Dispatched)]
    assert later.ref is None or later.ref in stored
    is_unknown = any(isinstance(event, DispatchUnknown) for event in stage.events)
    assert is_unknown == (later.verdict is Verdict.UNKNOWN)


def check_time(stage: Stage) -> None:
    """An early end is at once; a batch and a close wait 10 s for answers, if cancelled 2 s."""
    subject, ending, known = stage.scene.subject, stage.scene.ending, stage.scene.known
    is_answered = known in Known.ANSWERED | Known.ENDED | Known.OVER
    if ending is Ending.CONSUMER or (ending is Ending.TIME_OUT and not is_answered):
        return  # The first ends nothing, and the second takes as long as a request may.
    has_grace = subject is Subject.BATCH or ending in Ending.CLOSE | Ending.BODY
    is_cancelled = ending in Ending.FOREIGN_TIME_OUT | Ending.CANCELLED | Ending.CTRL_C
    longest = 2.0 if subject is Subject.BATCH and is_cancelled else 10.0
    grace = longest if has_grace and not is_answered else 0.0
    assert stage.ended_at <= END_SECONDS + grace + 0.1


def check_batch(stage: Stage) -> None:
    """The item has the error of its verdict; what waits behind it is not dispatched any more."""
    scene, batch, then = stage.scene, stage.batch, stage.then
    assert batch is not None
    expected: dict[Verdict | None, type[errors.VibeError]] = {
        Verdict.UNKNOWN: errors.DispatchUnknownError
    }
    if scene.ending is Ending.TIME_OUT:
        expected[Verdict.IN_FLIGHT] = errors.WaitTimeoutError
    assert type(then.error) is expected.get(then.verdict, type(None))

    items = batch.items
    assert batch.summary == BatchSummary.of(items)
    assert batch.refs == [item.ref for item in items if item.ref]
    if scene.ending is not Ending.CONSUMER and scene.known is not Known.OVER:
        assert items[1].verdict is Verdict.SKIPPED
        assert items[1].ref is None
        assert stage.begun(behind=True) == []
