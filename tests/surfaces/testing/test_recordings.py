"""Recordings of services, and the dialects that most of them are of: a client plays each."""

import asyncio
import re
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import client_of
from tests.contract import __main__ as contract
from tests.support.amounts import by_turns
from tests.support.checker import API, Checker, closed
from tests.support.recordings import RECORDINGS, dispatch_in, recording_of
from testvibe_async import DispatchUnknownError, Project
from testvibe_async._core.wire import openapi_document
from testvibe_async.testing import Emulator, Fault, RecordedExchange, Recording, Replay

UNKNOWN = {("documented-routes-404", "run"), ("dispatch-lag", "generate")}
"""What a recording does not show of a dispatch without an answer: no list, or only later."""

RECORDED = ("as-documented", *contract.RECORDED)
DIFFERS = {"paged-by-cursor", "documented-routes-404"}
SKIPPED_HEADERS = {"Content-Type", "Date"}


@asynccontextmanager
async def replayed(recording: Recording) -> AsyncGenerator[tuple[Emulator, Project]]:
    async with (
        Emulator(middleware=Replay(recording), **recording.options) as emulator,
        client_of(emulator) as client,
    ):
        yield emulator, client.project()


@pytest.mark.parametrize("name", RECORDINGS)
async def test_lists_are_whole(name: str) -> None:
    """A client reads every list that was recorded, page by page, with all of its rows."""
    recording = recording_of(name)
    async with replayed(recording) as (_, project):
        features = await project.list_features()
        assert features.is_complete
        assert len(features) == 7
        assert dispatch_in(recording, "run")[0] in {feature.name for feature in features}


@pytest.mark.parametrize(("name", "kind"), by_turns(RECORDINGS, ["run", "generate"]))
async def test_a_dispatch_ends_as_recorded(name: str, kind: str) -> None:
    """By a handle, and in a batch, and also where the answer to its POST is lost."""
    recording = recording_of(name)
    feature, status = dispatch_in(recording, kind)
    for loses_answer in (False, True):
        async with replayed(recording) as (emulator, project):
            if loses_answer:
                emulator.fail(f"{kind}_feature", Fault.lost(), times=1)
            try:
                handle: Any = await getattr(project, f"{kind}_feature")(feature)
                ended = (await handle).status
            except DispatchUnknownError:
                assert loses_answer
                assert (name, kind) in UNKNOWN
                ended = status
            assert ended == status
            assert emulator.count(f"{kind}_feature") == 1
    async with replayed(recording) as (emulator, project):
        (item,) = await getattr(project, f"{kind}_features")([feature])
        assert (item.outcome.status, emulator.count(f"{kind}_feature")) == (status, 1)


CONTRACT = Checker(closed(openapi_document()))
DOCUMENTED = Checker(closed(openapi_document(), is_documented=True))


def problems_of(each: RecordedExchange, checker: Checker) -> dict[str, str]:
    """Return what a recorded answer has that a document has not, by its place."""
    body = each.answer.removeprefix("\ufeff").encode()
    found = checker.answer(each.operation, each.status, body)
    return {re.sub(r"\[\d+\]", "[]", problem.rpartition(" at ")[2]): problem for problem in found}


def news_of(recording: Recording) -> dict[tuple[str, str], set[str]]:
    """Return what a recording has and the contract has not, per operation and axis.

    On the axis `assumed`, what is of the contract, but not of the service's documentation.
    """
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for each in recording.exchanges:
        name, is_success = each.operation, each.status < 400
        news = problems_of(each, CONTRACT)
        found[name, "success" if is_success else "refusals"].update(news.values())
        found[name, "headers"] |= each.headers.keys() - SKIPPED_HEADERS
        body = (each.body or "").encode()
        found[name, "request"].update(CONTRACT.request(name, API + each.path, each.query, body))
        if is_success:
            route = CONTRACT.operations[name].definition["x-basis"]
            found[name, "assumed"] |= {"the route"} if route == "assumed" else set()
            assumed = problems_of(each, DOCUMENTED)
            found[name, "assumed"].update(assumed[place] for place in assumed.keys() - news.keys())
    return {place: news for place, news in found.items() if news}


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_is_new_is_named(name: str) -> None:
    """Each exchange is held against the contract: what is new, and what assumed thing is seen."""
    news = news_of(recording_of(name))
    for (called, axis), found in sorted(news.items()):
        sys.stdout.write(f"{name}: {called}, {axis}: {'; '.join(sorted(found))}\n")
    is_other = any(axis in {"success", "refusals", "headers"} for _, axis in news)
    if name in RECORDED:  # of our own ones it is known whether their answers differ
        assert is_other == (name in DIFFERS)
    # What the client sends is of the contract, except the parameter that pages ask for.
    sent = {problem for place, found in news.items() if place[1] == "request" for problem in found}
    assert sent <= {"query: 'cursor' is not a parameter"}


async def test_instants_move_with_the_dispatch() -> None:
    """What is dispatched an hour later was created an hour later, by the service's own clock."""
    recording = recording_of("as-documented")
    feature, _ = dispatch_in(recording, "run")
    created: list[float] = []
    for seconds in (0, 3600):
        async with replayed(recording) as (_, project):
            await asyncio.sleep(seconds)
            run = await (await project.run_feature(feature))
            assert run.created_at is not None
            created.append(run.created_at.timestamp())
    assert abs(created[1] - created[0] - 3600) <= 1


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ('"2026-06-10T23:59:59.5Z"', '"2026-06-11T01:00:00.5Z"'),
        ('"2026-06-10T23:59:59+02:00"', '"2026-06-11T01:00:00+02:00"'),
        (r'"\/Date(1781102531999)\/"', r'"\/Date(1781106132999)\/"'),
        ('"/Date(1781102531000+0200)/"', '"/Date(1781106132000+0200)/"'),
        ('{"at": 1781102531}', '{"at": 1781106132}'),
        ("[1781102531042]", "[1781106132042]"),
        *[(same, same) for same in ('"0001-01-01T00:00:00"', '"2026-02-30T00:00:00"', "[178110]")],
        *[(same, same) for same in ('"9999-12-31T23:59:59"', '"1781102531"', "[17811025310]")],
    ],
)
def test_an_instant_moves_and_keeps_its_form(text: str, moved: str) -> None:
    """An instant moves in each form that is known; what is no instant stays as it is."""
    assert Recording.shift_times(text, 3601) == moved
    assert Recording.shift_times(text, 0) == text


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    """A file of another kind is a ValueError that names it."""
    for text in ("[]", "{}", '{"recording": 2, "exchanges": []}'):
        path = tmp_path / "other.json"
        path.write_text(text)
        with pytest.raises(ValueError, match="is no recording of version 1"):
            Recording.load(path)
