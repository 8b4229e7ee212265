"""Every error of the tree, raised for real through the public API."""

# ruff: noqa: S301 - the pickles are our own
import copy
import json
import pickle
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import NoneType
from typing import Any, cast

import aiohttp
import pytest
from attrs import frozen

from tests.conftest import client_of
from tests.support.ledgers import Notes
from tests.support.peer import KEY, http, peer
from tests.support.shop import DRAFT
from testvibe_async import Client, GenerationRef, Project, Ref, RetryPolicy, errors, models
from testvibe_async.ledger import RowState
from testvibe_async.testing import Emulator, Fault


async def superseded(client: Client, emulator: Emulator) -> object:
    first = await client.project().generate_feature(DRAFT)
    await first.poll()
    emulator.finish_generation(first.request_id)
    await client.project().generate_feature(DRAFT)
    return await first


async def closed(client: Client, _: Emulator) -> object:
    operation = await client.project().run_feature("Checkout")
    await client.aclose()
    return await operation


async def failed_run(client: Client, emulator: Emulator) -> object:
    operation = await client.project().run_feature("Checkout")
    emulator.finish_run(operation.run_id, "failed")
    return (await operation).raise_for_status()


async def failed_generation(client: Client, emulator: Emulator) -> object:
    operation = await client.project().generate_feature(DRAFT)
    emulator.finish_generation(operation.request_id, "failed")
    return (await operation).raise_for_status()


async def cancelled_generation(client: Client, _: Emulator) -> object:
    operation = await client.project().generate_feature(DRAFT)
    await operation.cancel()
    return (await operation).raise_for_status()


@frozen
class Case:
    """How an error is raised for real."""

    act: Callable[[Client, Emulator], Awaitable[object]]
    fault: tuple[Any, ...] = ()
    """The operation that meets a fault, and the fault."""
    options: Mapping[str, Any] = {}
    """Those of the client."""


def on_project(
    do: Callable[[Project], Awaitable[object]],
    *fault: Any,
    while_generating: bool = False,
    **options: Any,
) -> Case:
    """Return the case of a call of a project."""

    async def act(client: Client, _: Emulator) -> object:
        if while_generating:
            await client.project().generate_feature(DRAFT)
        return await do(client.project())

    return Case(act, fault, options)


def run(project: Project) -> Awaitable[object]:
    return project.run_feature("Checkout").wait()


async def run_batch(project: Project) -> None:
    (item,) = await project.run_features(["Checkout"])
    assert item.error is not None
    raise item.error


def read(project: Project) -> Awaitable[object]:
    return project.get_feature("Checkout")


CASES: dict[type[errors.VibeError], Case] = {
    errors.ConfigError: on_project(read, project=None),
    errors.NotSentError: on_project(read, server="http://127.0.0.1:1"),
    errors.LedgerError: on_project(run, ledger=Notes(failing=RowState.INTENDED)),
    errors.OutcomeUnknownError: on_project(
        lambda p: p.update_feature("Checkout", name="C"), "update_feature", Fault.lost()
    ),
    errors.DispatchUnknownError: on_project(run, "run_feature", Fault.reset()),
    errors.ResponseError: on_project(read, "get_feature", Fault.status(405)),
    errors.InvalidRequestError: on_project(lambda p: p.write_file("tests/../x", "")),
    errors.UnauthorizedError: on_project(read, api_key="tvb_" + "w" * 43),
    errors.ForbiddenError: on_project(
        lambda p: p.generate_feature("Checkout"), "generate_feature", Fault.status(403)
    ),
    errors.NotFoundError: on_project(lambda p: p.get_feature("none")),
    errors.EndpointNotFoundError: on_project(
        lambda p: p.list_runs(), "list_runs", Fault.status(404, body=b"<html>no such page</html>")
    ),
    errors.IncompleteListError: on_project(
        lambda p: p.run_features(),
        *("list_features", Fault.edit(lambda rows: {"rows": rows, "hasMore": True})),
    ),
    models.UndocumentedStatusError: Case(
        failed_run, ("get_run", Fault.edit(lambda run: {**run, "status": "exploded"}))
    ),
    errors.ConflictError: on_project(lambda p: p.cancel_generation("Checkout")),
    errors.GenerationInProgressError: on_project(
        lambda p: p.generate_feature(DRAFT), while_generating=True
    ),
    errors.FeatureNotGeneratedError: on_project(lambda p: p.run_feature(DRAFT)),
    errors.FeatureBusyError: on_project(lambda p: p.delete_feature(DRAFT), while_generating=True),
    errors.RateLimitedError: on_project(
        read, "get_feature", Fault.status(429, retry_after=7), retry=RetryPolicy(attempts=1)
    ),
    errors.ServerError: on_project(read, "get_feature", Fault.status(502, body=b"<html>No</html>")),
    errors.MalformedResponseError: on_project(read, "get_feature", Fault.body(b'{"id": "x"}')),
    errors.WaitTimeoutError: on_project(lambda p: p.run_feature("Checkout").wait(timeout=1.5)),
    errors.ObservationError: on_project(run, "get_run", Fault.status(500), max_outage=20.0),
    errors.OperationNotFoundError: on_project(lambda p: p.wait_for_run(999)),
    errors.ContradictionError: on_project(
        run_batch, "get_run", Fault.edit(lambda row: row | {"config": "Mobile"})
    ),
    errors.OperationSupersededError: Case(superseded),
    errors.ClientClosedError: Case(closed),
    models.RunFailedError: Case(failed_run),
    models.GenerationFailedError: Case(failed_generation),
    models.GenerationCancelledError: Case(cancelled_generation),
}


NEVER_ITSELF = {errors.VibeError, errors.TransportError, models.OutcomeError}
"""Classes that only group others."""


WITH_REF = {
    *(errors.GenerationInProgressError, errors.WaitTimeoutError, errors.ObservationError),
    *(errors.OperationNotFoundError, errors.OperationSupersededError, errors.ClientClosedError),
    errors.ContradictionError,
}


CAUSES: dict[type[errors.VibeError], type[BaseException]] = {
    errors.LedgerError: OSError,
    errors.NotSentError: aiohttp.ClientConnectorError,
    errors.OutcomeUnknownError: aiohttp.ClientError,
    errors.DispatchUnknownError: errors.OutcomeUnknownError,
    errors.MalformedResponseError: Exception,
    errors.ObservationError: errors.ServerError,
    errors.OperationNotFoundError: errors.NotFoundError,
}


ATTRIBUTES: dict[type[errors.VibeError], set[str]] = {
    errors.TransportError: {"method", "url", "attempts", "what"},
    errors.DispatchUnknownError: {
        *("project", "feature", "reason", "candidates", "polled_at", "key")
    },
    errors.ResponseError: {"status", "code", "message", "method", "url", "retry_after"},
    errors.EndpointNotFoundError: {"operation", "route"},
    errors.MalformedResponseError: {"problems"},
    errors.IncompleteListError: {"operation"},
    errors.WaitTimeoutError: {"ref", "status", "elapsed"},
    errors.OperationSupersededError: {"newer_request_id"},
    models.OutcomeError: {"outcome"},
}


def subclasses(kind: type[errors.VibeError]) -> Iterator[type[errors.VibeError]]:
    """Return a class and all below it that the package has."""
    if kind.__module__.startswith("testvibe_async"):
        yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


async def raised(kind: type[errors.VibeError], emulator: Emulator, **more: Any) -> Any:
    """Raise an error for real, and return it."""
    case = CASES[kind]
    if case.fault:
        emulator.fail(*case.fault)
    usual: dict[str, Any] = {"server": emulator.url, "api_key": emulator.api_key}
    usual |= {"project": emulator.project_id}
    async with Client(**usual | dict(case.options) | more) as client:
        with pytest.raises(errors.VibeError) as caught:
            await case.act(client, emulator)
    return caught.value


def chain(error: BaseException) -> Iterator[BaseException]:
    """Return an error and all that it came from or during."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        if id(one := todo.pop()) not in seen:
            seen.add(id(one))
            todo += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
            yield one


each_kind = pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)


def test_every_class_has_a_case() -> None:
    """Each class of the tree has a way to raise it, except those that group others."""
    kinds = {
        kind
        for kind in subclasses(errors.VibeError)
        # What the command line or a room catches is met by no caller of the library.
        if not kind.__module__.startswith(("testvibe_async.runner", "testvibe_async._"))
    }
    assert kinds == set(CASES) | NEVER_ITSELF
    outcomes = {kind.__name__ for kind in subclasses(models.OutcomeError)}
    assert {kind.__name__ for kind in kinds} == set(errors.__all__) | outcomes


ADVICE: dict[type[errors.VibeError], str] = {
    errors.FeatureNotGeneratedError: "generate them first, with generate_feature",
    errors.GenerationInProgressError: "wait_for_generation",
    errors.UnauthorizedError: "the argument api_key",
    errors.ObservationError: "client.attach(error.ref)",
    errors.WaitTimeoutError: "wait again",
    errors.DispatchUnknownError: "check the feature's runs",
}
"""What the advice names, in the words of this library."""


NAMED_BY_USERS: dict[type[errors.VibeError], int] = {errors.LedgerError: 130}
"""How long the part with the advice is where it follows what came from the caller."""


@each_kind
async def test_it_is_raised_for_real(emulator: Emulator, kind: type[errors.VibeError]) -> None:
    """The public API raises exactly this class, from its cause, in one line, with its attributes.

    An error of a request has its method, and its whole URL without the query. The first 120
    characters of a message say what happened and what to do next.
    """
    error = await raised(kind, emulator)
    assert type(error) is kind
    promised = {name for base in kind.__mro__ for name in ATTRIBUTES.get(base, ())}
    assert promised <= vars(error).keys()
    assert isinstance(error.__cause__, CAUSES.get(kind, NoneType))
    # The error of a failed run quotes a test's, which may have lines.
    assert str(error).isprintable() or kind is models.RunFailedError
    if isinstance(error, errors.TransportError | errors.ResponseError):
        assert error.method in {"GET", "POST", "PUT", "PATCH", "DELETE"}
        assert re.match(r"http://127\.0\.0\.1:\d+/api/v1/ops/[^?]*$", error.url)
        assert str(error).endswith(f"/{error.url.rpartition('/')[2]})")
    assert error.advice or kind is errors.ConfigError  # whose messages are advice as a whole
    assert error.advice in str(error)[: NAMED_BY_USERS.get(kind, 120)]
    check_message(error)
    assert not error.advice or error.advice not in error.brief
    assert ADVICE.get(kind, "") in error.advice
    await check_ref(error, kind, emulator)
    check_copies(error, kind)
    check_dict(error, emulator.api_key)


def check_message(error: errors.VibeError) -> None:
    """A message has at most 240 characters, quotes only the service, and repeats no clause."""
    text = str(error)
    assert len(text) <= 240
    assert text.count('"') in {0, 2}
    assert text.count('"') == 0 or re.search(r'(says|answer is) "[^"]*"', text)
    clauses = [each for each in re.split(r"[;:(),]\s*", text.casefold()) if len(each) > 12]
    assert len(clauses) == len(set(clauses))


LONG = "Checkout with a gift card, two addresses and a very long name" * 2
SAID = json.dumps({"error": "conflict", "message": "It can't be done now, as said before. " * 9})

LENGTHY: dict[str, Case] = {
    "a refusal": on_project(
        lambda p: p.run_feature(LONG), "run_feature", Fault.status(409, body=SAID.encode())
    ),
    "a page": on_project(
        lambda p: p.get_feature(LONG), "get_feature", Fault.status(404, body=b"<p>no" * 99)
    ),
    "a lost answer": on_project(lambda p: p.run_feature(LONG), "run_feature", Fault.reset()),
    "a lost answer with a key": on_project(
        lambda p: p.run_feature(LONG, key="nightly " * 9), "run_feature", Fault.reset()
    ),
    "a wait": on_project(run, "get_run", Fault.status(503, body=SAID.encode()), max_outage=9.0),
    "an unreadable answer": on_project(
        read, "get_feature", Fault.body(json.dumps({"id": LONG, "name": 7}).encode())
    ),
}


@pytest.mark.parametrize("case", LENGTHY)
async def test_long_words_leave_room_for_the_advice(emulator: Emulator, case: str) -> None:
    """However long a name or the service's text is, the message keeps its advice and its length."""
    lengthy = LENGTHY[case]
    if lengthy.fault:
        emulator.fail(*lengthy.fault)
    emulator.add_feature(LONG)
    async with client_of(emulator, **lengthy.options) as client:
        with pytest.raises(errors.VibeError) as caught:
            await lengthy.act(client, emulator)
    check_message(caught.value)
    assert caught.value.advice in str(caught.value)


@pytest.mark.parametrize("status", [200, 302, 503])
async def test_an_error_has_the_requests_id(status: int) -> None:
    """The headers of an answer are kept, and the id by which its operator finds the request."""
    lines = ("X-Request-Id: r-17", f"X-Seen: {KEY}", "Location: https://sso.example/" + "x" * 300)
    async with peer(http(status, b"[]", *lines)) as service, service.client() as client:
        with pytest.raises(errors.ResponseError) as caught:
            await client.project().get_feature("Checkout")
    error = caught.value
    check_message(error)
    assert error.request_id == error.to_dict()["requestId"] == "r-17"
    assert error.headers["x-request-id"] == "r-17"
    assert error.headers["X-Seen"] == "tvb_..."
    assert pickle.loads(pickle.dumps(error)).headers == error.headers
    assert errors.read_error(error.to_dict()).to_dict()["requestId"] == "r-17"


@pytest.mark.parametrize("escape", ["{char}", "\\u{code:04x}", "%{code:02X}", "&#{code};"])
async def test_a_key_is_hidden_however_it_is_spelled(
    emulator: Emulator, project: Project, escape: str
) -> None:
    """A service that echoes the key with escapes does not have it shown."""
    key = emulator.api_key
    spelled = key[:5] + "".join(escape.format(char=char, code=ord(char)) for char in key[5:])
    body = f'{{"error": "unauthorized", "message": "{spelled} is not known"}}'.encode()
    emulator.fail("get_feature", Fault.status(401, body=body))
    with pytest.raises(errors.UnauthorizedError) as caught:
        await project.get_feature("Checkout")
    assert caught.value.message == "tvb_... is not known"


async def check_ref(error: Any, kind: type[errors.VibeError], emulator: Emulator) -> None:
    """What can be picked up again is named, and a ref stands where there is an operation alone."""
    assert (error.ref is not None) == (kind in WITH_REF)
    if kind in WITH_REF:
        async with client_of(emulator) as client:
            ref: Ref = error.ref
            assert client.attach(ref).ref == ref
        if kind not in {errors.OperationNotFoundError, errors.GenerationInProgressError}:
            assert str(error.ref) in str(error) or kind is errors.OperationSupersededError


def is_plain(value: Any) -> bool:
    """Say whether a value is made of plain JSON alone: no subclass, no tuple."""
    if type(value) is dict:
        members = cast("dict[object, object]", value).items()
        return all(type(name) is str and is_plain(member) for name, member in members)
    if type(value) is list:
        return all(map(is_plain, cast("list[object]", value)))
    return type(value) in {str, int, float, bool, NoneType}


def check_dict(error: Any, key: str) -> None:
    """It makes a dict of plain JSON, without nulls or the key."""
    made = error.to_dict()
    assert is_plain(made)
    assert list(made)[:2] == ["type", "message"]
    assert None not in made.values()
    assert ("ref" in made) is (error.ref is not None)
    assert key not in json.dumps(made)


def check_copies(error: Any, kind: type[errors.VibeError]) -> None:
    """A copy has the class, the message, the arguments and every attribute."""
    pickled = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(2, 6)]
    for other in (*pickled, copy.copy(error), copy.deepcopy(error)):
        assert type(other) is kind
        assert str(other) == str(error) != ""
        assert repr(other) == repr(error)
        assert other.args == error.args
        assert vars(other) == vars(error)
        assert vars(other) is not vars(error)


async def test_the_services_words_are_quoted(emulator: Emulator, project: Project) -> None:
    """What the service says stands in quotes that it can't close."""
    said = {"error": "conflict", "message": 'no"; now obey'}
    emulator.fail("run_feature", Fault.status(409, body=json.dumps(said).encode()))
    with pytest.raises(errors.FeatureNotGeneratedError, match='says "no\'; now obey" ') as caught:
        await project.run_feature("Checkout")
    assert caught.value.to_dict()["said"] == caught.value.message == 'no"; now obey'


def test_no_word_of_the_service_is_obeyed_by_a_terminal() -> None:
    """Ids and statuses come from outside: a message shows them on one line, and not all of them."""
    nasty = "r1 of feature 1\nCRITICAL \x1b[2J" + "x" * 5000
    ref = GenerationRef(server="https://s.example", project="p", request_id=nasty, feature_id=1)
    shown: list[errors.VibeError] = [
        errors.WaitTimeoutError(ref=ref, status=nasty, elapsed=1.0),
        errors.OperationSupersededError(ref=ref, newer_request_id=nasty),
        errors.ObservationError("why", ref=ref),
    ]
    for error in shown:
        assert str(error).isprintable()
        assert len(str(error)) < 600
    assert str(ref).isprintable()
    assert shown[1].ref is ref


def test_an_unreadable_answer_commands_no_ci_system() -> None:
    """The text of an answer that an error quotes is harmless in the error's message."""
    error = errors.MalformedResponseError(
        ("got '##vso[x]'",), status=200, method="GET", url="https://h"
    )
    assert str(error).endswith("got '# #vso[x]' (200, GET h/)")
