"""Every error of the tree, raised for real through the public API."""

# ruff: noqa: S301 - the pickles are our own

import asyncio
import copy
import json
import pickle
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from types import NoneType
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_reqrep import ConnectionKey
from aioresponses import aioresponses

from tests.conftest import KEY, client_of
from testvibe_async import (
    Client,
    ClientClosedError,
    ConfigError,
    ConflictError,
    DispatchUnknownError,
    EndpointNotFoundError,
    FeatureBusyError,
    FeatureNotGeneratedError,
    ForbiddenError,
    GenerationCancelledError,
    GenerationFailedError,
    GenerationInProgressError,
    GenerationRef,
    IncompleteListError,
    InvalidRequestError,
    MalformedResponseError,
    NotFoundError,
    NotSentError,
    ObservationError,
    OperationNotFoundError,
    OperationSupersededError,
    OutcomeError,
    OutcomeUnknownError,
    RateLimitedError,
    RecorderError,
    Ref,
    ResponseError,
    RetryPolicy,
    RunFailedError,
    RunRef,
    ServerError,
    TransportError,
    UnauthorizedError,
    UndocumentedStatusError,
    VibeError,
    WaitTimeoutError,
    errors,
)
from testvibe_async.intents import Intent
from testvibe_async.testing import Emulator, Fault

ONCE = RetryPolicy(attempts=1)
DRAFT = "Checkout with gift card"


def closed_port() -> int:
    """Return a port without a listener."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def config_error(emulator: Emulator) -> None:
    async with Client(emulator.url, api_key=emulator.api_key) as client:
        client.project()


async def not_sent(emulator: Emulator) -> None:
    async with Client(f"http://127.0.0.1:{closed_port()}", api_key=emulator.api_key) as client:
        await client.list_projects()


async def outcome_unknown(emulator: Emulator) -> None:
    emulator.fail("update_feature", Fault.lost())
    async with client_of(emulator) as client:
        await client.project().update_feature("Checkout", gherkin="Feature: C")


async def dispatch_unknown(emulator: Emulator) -> None:
    emulator.fail("run_feature", Fault.reset())
    async with client_of(emulator) as client:
        await client.project().run_feature("Checkout")


async def response_error(emulator: Emulator) -> None:
    emulator.fail("list_projects", Fault.status(405))
    async with client_of(emulator) as client:
        await client.list_projects()


async def invalid_request(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        await client.project().write_file("tests/../x", "")


async def unauthorized(emulator: Emulator) -> None:
    async with Client(emulator.url, api_key="tvb_" + "w" * 43) as client:
        await client.list_projects()


async def forbidden(emulator: Emulator) -> None:
    emulator.fail("generate_feature", Fault.status(403))
    async with client_of(emulator) as client:
        await client.project().generate_feature("Checkout")


async def not_found(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        await client.project().get_feature("none")


async def conflict(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        await client.project().cancel_generation("Checkout")


async def generation_in_progress(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        await client.project().generate_feature(DRAFT)
        await client.project().generate_feature(DRAFT)


async def feature_not_generated(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        await client.project().run_feature(DRAFT)


async def feature_busy(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        await client.project().generate_feature(DRAFT)
        await client.project().delete_feature(DRAFT)


async def rate_limited(emulator: Emulator) -> None:
    emulator.fail("list_projects", Fault.status(429, retry_after=7))
    async with client_of(emulator, retry=ONCE) as client:
        await client.list_projects()


async def server_error(emulator: Emulator) -> None:
    emulator.fail("list_projects", Fault.status(502, body=b"<html>Bad Gateway</html>"))
    async with client_of(emulator) as client:
        await client.list_projects()


async def malformed_response(emulator: Emulator) -> None:
    emulator.fail("get_feature", Fault.body(b'{"id": "x"}'))
    async with client_of(emulator) as client:
        await client.project().get_feature("Checkout")


async def wait_timeout(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        await (await client.project().run_feature("Checkout")).wait(timeout=1.5)


async def observation_error(emulator: Emulator) -> None:
    emulator.fail("get_run", Fault.status(500))
    async with client_of(emulator, max_outage=20.0) as client:
        await (await client.project().run_feature("Checkout"))


async def operation_not_found(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        await client.project().wait_for_run(999)


async def operation_superseded(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        first = await client.project().generate_feature(DRAFT)
        await first.poll()
        emulator.finish_generation(first.request_id)
        await client.project().generate_feature(DRAFT)
        await first


async def client_closed(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        operation = await client.project().run_feature("Checkout")
    await operation


async def endpoint_not_found(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        emulator.fail("list_runs", Fault.status(404, body=b"<html>no such page</html>"))
        await client.project().list_runs()


async def incomplete_list(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        emulator.fail("list_features", Fault.edit(lambda rows: {"rows": rows, "hasMore": True}))
        await client.project().run_features()


async def undocumented_status(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        operation = await client.project().run_feature("Checkout")
        emulator.finish_run(operation.run_id, "failed")
        emulator.fail("get_run", Fault.edit(lambda run: {**run, "status": "exploded"}))
        (await operation).raise_for_status()


async def run_failed(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        operation = await client.project().run_feature("Checkout")
        emulator.finish_run(operation.run_id, "failed")
        (await operation).raise_for_status()


async def generation_failed(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        operation = await client.project().generate_feature(DRAFT)
        emulator.finish_generation(operation.request_id, "failed")
        (await operation).raise_for_status()


async def generation_cancelled(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        operation = await client.project().generate_feature(DRAFT)
        await operation.cancel()
        (await operation).raise_for_status()


class FullDisk:
    """A recorder that can store nothing."""

    async def intended(self, _intent: Intent) -> None:
        raise OSError("no space left on device")

    async def dispatched(self, _intent: Intent, _ref: Ref) -> None:
        """Is not called."""

    async def not_dispatched(self, _intent: Intent, _error: VibeError) -> None:
        """Note nothing."""


async def recorder_error(emulator: Emulator) -> None:
    async with client_of(emulator, recorder=FullDisk()) as client:
        await client.project().run_feature("Checkout")


CASES: dict[type[VibeError], Callable[[Emulator], Awaitable[None]]] = {
    ConfigError: config_error,
    NotSentError: not_sent,
    RecorderError: recorder_error,
    OutcomeUnknownError: outcome_unknown,
    DispatchUnknownError: dispatch_unknown,
    ResponseError: response_error,
    InvalidRequestError: invalid_request,
    UnauthorizedError: unauthorized,
    ForbiddenError: forbidden,
    NotFoundError: not_found,
    EndpointNotFoundError: endpoint_not_found,
    IncompleteListError: incomplete_list,
    UndocumentedStatusError: undocumented_status,
    ConflictError: conflict,
    GenerationInProgressError: generation_in_progress,
    FeatureNotGeneratedError: feature_not_generated,
    FeatureBusyError: feature_busy,
    RateLimitedError: rate_limited,
    ServerError: server_error,
    MalformedResponseError: malformed_response,
    WaitTimeoutError: wait_timeout,
    ObservationError: observation_error,
    OperationNotFoundError: operation_not_found,
    OperationSupersededError: operation_superseded,
    ClientClosedError: client_closed,
    RunFailedError: run_failed,
    GenerationFailedError: generation_failed,
    GenerationCancelledError: generation_cancelled,
}

NEVER_ITSELF: set[type[VibeError]] = {VibeError, TransportError, OutcomeError}
"""Classes that only group others."""

WITH_REF = {
    GenerationInProgressError,
    WaitTimeoutError,
    ObservationError,
    OperationNotFoundError,
    OperationSupersededError,
    ClientClosedError,
}

CAUSES: dict[type[VibeError], type[BaseException]] = {
    RecorderError: OSError,
    NotSentError: aiohttp.ClientConnectorError,
    OutcomeUnknownError: aiohttp.ClientError,
    DispatchUnknownError: OutcomeUnknownError,
    MalformedResponseError: Exception,
    ObservationError: ServerError,
    OperationNotFoundError: NotFoundError,
}

ATTRIBUTES: dict[type[VibeError], set[str]] = {
    TransportError: {"method", "url", "attempts", "what"},
    DispatchUnknownError: {"project", "feature", "reason", "candidates", "polled_at", "intent"},
    ResponseError: {"status", "code", "message", "method", "url", "retry_after"},
    EndpointNotFoundError: {"operation", "route"},
    MalformedResponseError: {"problems"},
    IncompleteListError: {"operation"},
    WaitTimeoutError: {"ref", "status", "elapsed"},
    OperationSupersededError: {"newer_request_id"},
    OutcomeError: {"outcome"},
}


def subclasses(kind: type[VibeError]) -> Iterator[type[VibeError]]:
    """Return a class and all below it that the package has."""
    if kind.__module__.startswith("testvibe_async"):
        yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


async def raised(kind: type[VibeError], emulator: Emulator) -> Any:
    """Raise an error for real, and return it."""
    with pytest.raises(VibeError) as caught:
        await CASES[kind](emulator)
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
        for kind in subclasses(VibeError)
        # What the command line or a room catches is met by no caller of the library.
        if not kind.__module__.startswith(("testvibe_async.runner", "testvibe_async._"))
    }
    assert kinds == set(CASES) | NEVER_ITSELF
    outcomes = {kind.__name__ for kind in subclasses(OutcomeError)}
    assert {kind.__name__ for kind in kinds} == set(errors.__all__) | outcomes


@each_kind
async def test_it_is_raised_for_real(emulator: Emulator, kind: type[VibeError]) -> None:
    """The public API raises exactly this class, from its cause, in one line, with its attributes.

    An error of a request has its method, and its whole URL without the query.
    """
    error = await raised(kind, emulator)
    assert type(error) is kind
    promised = {name for base in kind.__mro__ for name in ATTRIBUTES.get(base, ())}
    assert promised <= vars(error).keys()
    assert isinstance(error.__cause__, CAUSES.get(kind, NoneType))
    # The error of a failed run quotes a test's, which may have lines.
    assert str(error).isprintable() or kind is RunFailedError
    if isinstance(error, TransportError | ResponseError):
        assert error.method in {"GET", "POST", "PUT", "PATCH", "DELETE"}
        assert re.match(r"http://127\.0\.0\.1:\d+/api/v1/ops/[^?]*$", error.url)
        assert str(error).endswith(f"{error.method} {error.url})")


@each_kind
async def test_it_pickles_and_copies(emulator: Emulator, kind: type[VibeError]) -> None:
    """A copy has the class, the message, the arguments and every attribute."""
    error = await raised(kind, emulator)
    pickled = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(2, 6)]
    for other in (*pickled, copy.copy(error), copy.deepcopy(error)):
        assert type(other) is kind
        assert str(other) == str(error) != ""
        assert repr(other) == repr(error)
        assert other.args == error.args
        assert vars(other) == vars(error)
        assert vars(other) is not vars(error)


@each_kind
async def test_it_has_the_ref_that_it_promises(emulator: Emulator, kind: type[VibeError]) -> None:
    """What can be picked up again is named, and a ref stands where there is an operation alone."""
    error = await raised(kind, emulator)
    if kind in WITH_REF:
        ref: Ref = error.ref
        async with client_of(emulator) as client:
            assert client.attach(ref).ref == ref
        if kind not in {OperationNotFoundError, GenerationInProgressError}:
            assert str(error.ref) in str(error) or kind is OperationSupersededError
    else:
        assert error.ref is None


NAMED_BY_USERS: dict[type[VibeError], int] = {RecorderError: 130}
"""How long the part with the advice is where it follows what came from the caller."""


@each_kind
async def test_it_advises_before_a_log_would_cut_it(
    emulator: Emulator, kind: type[VibeError]
) -> None:
    """The first 120 characters of a message say what happened and what to do next."""
    error = await raised(kind, emulator)
    assert error.advice or kind is ConfigError  # whose messages are advice as a whole
    assert error.advice in str(error)[: NAMED_BY_USERS.get(kind, 120)]


ADVICE: dict[type[VibeError], str] = {
    FeatureNotGeneratedError: 'on_conflict="generate"',
    GenerationInProgressError: '"attach"',
    UnauthorizedError: "the argument api_key",
    ObservationError: "client.attach(error.ref)",
    WaitTimeoutError: "wait again",
    DispatchUnknownError: "look at the feature's runs",
}


@pytest.mark.parametrize("kind", ADVICE, ids=lambda kind: kind.__name__)
async def test_its_advice_names_the_next_call(emulator: Emulator, kind: type[VibeError]) -> None:
    """The advice is in the words of this library, and short of nothing that is needed to go on."""
    assert ADVICE[kind] in (await raised(kind, emulator)).advice


async def test_a_refused_key_says_where_it_came_from(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of a key that a variable holds names the variable."""
    monkeypatch.setenv("TESTVIBE_API_KEY", "tvb_" + "w" * 43)
    async with Client(emulator.url) as client:
        with pytest.raises(UnauthorizedError, match="it came from TESTVIBE_API_KEY") as caught:
            await client.list_projects()
    assert pickle.loads(pickle.dumps(caught.value)).advice == caught.value.advice


async def test_the_services_words_are_quoted(emulator: Emulator) -> None:
    """What the service says stands in quotes that it can't close."""
    said = {"error": "conflict", "message": 'no"; now obey'}
    emulator.fail("run_feature", Fault.status(409, body=json.dumps(said).encode()))
    async with client_of(emulator) as client:
        with pytest.raises(FeatureNotGeneratedError, match='says "no\'; now obey" ') as caught:
            await client.project().run_feature("Checkout")
    assert caught.value.to_dict()["said"] == caught.value.message == 'no"; now obey'


class NoNames(AbstractResolver):
    """A DNS that resolves no name."""

    async def resolve(
        self,
        host: str,
        port: int = 0,  # noqa: ARG002 - aiohttp passes it
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - aiohttp passes it
    ) -> list[ResolveResult]:
        raise socket.gaierror(-2, f"{host}: Name or service not known")

    async def close(self) -> None:
        pass


async def test_a_name_that_is_unknown_to_dns_was_not_sent() -> None:
    """A DNS failure is NotSentError after every attempt, from aiohttp's own error."""
    server = "https://testvibe.example"
    connector = aiohttp.TCPConnector(resolver=NoNames())
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        Client(server, api_key="tvb_" + "k" * 43, session=session) as client,
    ):
        with pytest.raises(NotSentError) as caught:
            await client.list_projects()
    assert caught.value.attempts == 4
    assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorDNSError)
    assert "testvibe.example" in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_wait_that_may_not_see_names_the_operation(emulator: Emulator, status: int) -> None:
    """A key that may not see an operation ends its wait with the ref to go on with another key."""
    async with client_of(emulator) as client:
        operation = await client.project().run_feature("Checkout")
        emulator.fail("get_run", Fault.status(status))
        with pytest.raises(UnauthorizedError if status == 401 else ForbiddenError) as caught:
            await operation
    assert caught.value.ref == operation.ref


async def test_a_superseded_operation_names_the_newer_one(emulator: Emulator) -> None:
    """OperationSupersededError names the generation that superseded it."""
    error = await raised(OperationSupersededError, emulator)
    assert [error.ref.request_id, error.newer_request_id] == list(emulator.generations)
    assert error.newer_request_id in str(error)


async def test_the_error_of_a_lost_dispatch_says_what_to_do(emulator: Emulator) -> None:
    """DispatchUnknownError names what was dispatched, and what to check before a second try."""
    error = await raised(DispatchUnknownError, emulator)
    assert (error.project, error.feature, error.method) == (emulator.project_id, "Checkout", "POST")
    assert "showed nothing of it, so most likely nothing began" in str(error)
    assert emulator.count("run_feature") == 1


async def test_a_time_out_is_one_for_python_too(emulator: Emulator) -> None:
    """WaitTimeoutError is caught as TimeoutError, and says status, time, and that it goes on."""
    with pytest.raises(TimeoutError):
        await CASES[WaitTimeoutError](emulator)
    error = await raised(WaitTimeoutError, emulator)
    assert error.status == "running"
    assert error.elapsed == pytest.approx(1.5)
    assert "1.5 s" in str(error)
    assert "nothing was cancelled" in str(error)


@pytest.mark.parametrize("kind", [TransportError, NotSentError, OutcomeUnknownError])
def test_several_attempts_are_in_the_message(kind: type[TransportError]) -> None:
    """The message counts the attempts from two on."""
    once = kind("lost", method="GET", url="https://h/x")
    assert str(once) == f"lost; {kind.advice} (GET https://h/x)"
    assert once.attempts == 1
    assert str(kind("lost", method="GET", url="https://h/x", attempts=3)).startswith(
        "lost (3 attempts); "
    )


def test_a_ref_is_none_unless_there_is_an_operation() -> None:
    """Every error has `.ref`, also those about no operation."""
    assert VibeError.ref is None
    assert ClientClosedError().ref is None
    assert "still running" not in str(ClientClosedError())
    ref = RunRef(server="https://h", project="p", run_id=214)
    assert "run 214 is still running" in str(ClientClosedError(ref=ref))


def test_a_note_survives_pickling() -> None:
    """A note that a caller added to an error is kept."""
    error = ConfigError("x")
    error.add_note("seen in the nightly job")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["seen in the nightly job"]


async def test_cancelling_is_no_vibe_error(emulator: Emulator) -> None:
    """A cancelled call raises CancelledError and nothing else."""
    emulator.fail("list_projects", Fault.hang())
    async with client_of(emulator) as client:
        task = asyncio.create_task(client.list_projects())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_dns_failure_that_is_forged() -> None:
    """A DNS failure, as aiohttp raises it, is NotSentError, and a dispatch is tried again."""
    key = ConnectionKey("testvibe.example", 443, True, True, None, None, None)  # noqa: FBT003
    failure = aiohttp.ClientConnectorDNSError(key, OSError("Name or service not known"))
    url = "https://testvibe.example/api/v1/ops/projects/p/features/f/run"
    with aioresponses() as forged:
        forged.post(url, exception=failure, repeat=True)  # pyright: ignore[reportUnknownMemberType]
        async with Client(
            "https://testvibe.example", api_key=KEY, retry=RetryPolicy(attempts=3)
        ) as client:
            with pytest.raises(NotSentError) as caught:
                await client.project("p").run_feature("f")
        calls = next(calls for (method, _), calls in forged.requests.items() if method == "POST")
    assert len(calls) == 3
    assert caught.value.__cause__ is failure


def test_no_word_of_the_service_is_obeyed_by_a_terminal() -> None:
    """Ids and statuses come from outside: a message shows them on one line, and not all of them."""
    nasty = "r1 of feature 1\nCRITICAL \x1b[2J" + "x" * 5000
    ref = GenerationRef(server="https://s.example", project="p", request_id=nasty, feature_id=1)
    errors: list[VibeError] = [
        WaitTimeoutError(ref=ref, status=nasty, elapsed=1.0),
        OperationSupersededError(ref=ref, newer_request_id=nasty),
        ObservationError("why", ref=ref),
    ]
    for error in errors:
        assert str(error).isprintable()
        assert len(str(error)) < 600
    assert str(ref).isprintable()
    assert errors[1].ref is ref


def test_an_unreadable_answer_commands_no_ci_system() -> None:
    """The text of an answer that an error quotes is harmless in the error's message."""
    error = MalformedResponseError(("got '##vso[x]'",), status=200, method="GET", url="https://h")
    assert str(error).endswith("got '# #vso[x]' (200, GET https://h)")
