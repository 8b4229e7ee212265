"""The exit code of each error."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

import testvibe_async
from testvibe_async import (
    ClientClosedError,
    ConfigError,
    ConflictError,
    DispatchUnknownError,
    FeatureBusyError,
    FeatureNotGeneratedError,
    ForbiddenError,
    Generation,
    GenerationFailedError,
    InvalidRequestError,
    MalformedResponseError,
    NotFoundError,
    NotSentError,
    ObservationError,
    OperationNotFoundError,
    OperationSupersededError,
    OutcomeUnknownError,
    RateLimitedError,
    Run,
    RunFailedError,
    RunRef,
    ServerError,
    UnauthorizedError,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async.cli.exits import (
    ExitCode,
    exit_code_of,
    log_to_standard_error,
    shown_elsewhere,
)
from testvibe_async.events import Emitter, Hooks, Paused, logger, told_logger

if TYPE_CHECKING:
    from collections.abc import Generator

REF = RunRef(server="https://h.example", project="p", run_id=214)
ANSWER: dict[str, Any] = {"method": "GET", "url": "https://h.example"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("wrong"), 2),
        (RunFailedError("failed", outcome=Run(214, "failed")), 1),
        (GenerationFailedError("failed", outcome=Generation()), 1),
        (WaitTimeoutError(ref=REF, status="running", elapsed=5), 4),
        (ClientClosedError(ref=REF), 4),
        (InvalidRequestError("no", status=400, **ANSWER), 3),
        (UnauthorizedError("no", status=401, **ANSWER), 3),
        (ForbiddenError("no", status=403, **ANSWER), 3),
        (NotFoundError("no", status=404, **ANSWER), 3),
        (ConflictError("no", status=409, **ANSWER), 3),
        (FeatureNotGeneratedError("no", status=409, **ANSWER), 3),
        (FeatureBusyError("no", status=409, **ANSWER), 3),
        (OperationNotFoundError("gone", ref=REF), 3),
        (OperationSupersededError(ref=REF, newer_request_id="b2"), 3),
        (RateLimitedError("slow", status=429, **ANSWER), 5),
        (ServerError("oops", status=503, **ANSWER), 5),
        (MalformedResponseError(("what",), status=200, **ANSWER), 5),
        (NotSentError("refused", **ANSWER), 5),
        (OutcomeUnknownError("reset", **ANSWER), 5),
        (DispatchUnknownError("lost", project="p", feature="f", **ANSWER), 5),
        (ObservationError("dark", ref=REF), 5),
        (VibeError("unheard of"), 70),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_has_the_code_of_who_must_act(error: VibeError, code: int) -> None:
    """Each kind of error has the exit code that says who must act."""
    assert exit_code_of(error) == code


def test_every_error_has_a_code() -> None:
    """Every public error class has an exit code."""
    kinds = [getattr(testvibe_async, name) for name in testvibe_async.__all__]
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, VibeError) and kind is not VibeError:
            assert exit_code_of(kind.__new__(kind)) is not ExitCode.DEFECT, kind


@pytest.mark.usefixtures("_logging")
def test_what_is_told_at_the_end_is_no_line_of_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Which warnings are told elsewhere is said where they are logged, not by a module's name."""
    with shown_elsewhere():
        for module in ("jobs", "dispatcher", "reconcile", "any"):
            logger.handle(
                logger.makeRecord(
                    logger.name, logging.WARNING, f"/{module}.py", 1, module, (), None
                )
            )
        told_logger.warning("of a dispatch")
    told_logger.warning("after the end")
    assert capsys.readouterr().err.split("\n") == [
        *(f"testvibe-async: {module}" for module in ("jobs", "dispatcher", "reconcile", "any")),
        "testvibe-async: after the end",
        "",
    ]


@pytest.mark.usefixtures("_logging")
def test_pause_that_is_logged_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """A pause says for how long, with the reason in short."""
    Emitter(Hooks()).emit(Paused(2.5, RateLimitedError("Too many.", status=429, **ANSWER)))
    assert capsys.readouterr().err == (
        "testvibe-async: the service asks for a pause, so nothing is sent for 2.5 s: Too many.\n"
    )


@pytest.fixture
def _logging() -> Generator[None]:
    """The log on standard error, as a command sets it up."""
    level, handlers = logger.level, list(logger.handlers)
    log_to_standard_error(0)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


def test_the_codes_are_those_that_scripts_know() -> None:
    """The numbers are part of the interface."""
    assert {code.name: code.value for code in ExitCode} == {
        "PASSED": 0,
        "FAILED": 1,
        "USAGE": 2,
        "REFUSED": 3,
        "IN_FLIGHT": 4,
        "UNREACHABLE": 5,
        "DEFECT": 70,
        "INTERRUPTED": 130,
        "PIPE_CLOSED": 141,
        "TERMINATED": 143,
        "HUNG_UP": 129,
        "QUIT": 131,
    }
