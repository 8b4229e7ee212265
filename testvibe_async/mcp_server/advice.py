"""Error messages for the model that called a tool: what happened, and what to do next.

Decides the next step for each kind of error, by the names of the tools. Pure; it never retries
anything.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias

from testvibe_async import (
    ClientClosedError,
    ConfigError,
    ConflictError,
    DispatchUnknownError,
    FeatureBusyError,
    FeatureNotGeneratedError,
    ForbiddenError,
    GenerationInProgressError,
    IncompleteListError,
    InvalidRequestError,
    MalformedResponseError,
    NotFoundError,
    NotSentError,
    ObservationError,
    OperationNotFoundError,
    OperationSupersededError,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseError,
    ServerError,
    UnauthorizedError,
)
from testvibe_async._names import GUID, did_you_mean
from testvibe_async._util import clean
from testvibe_async.intents import Intent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pydantic_core import ErrorDetails

    from testvibe_async import VibeError

    Advice: TypeAlias = str | Callable[[VibeError, str], str]

__all__ = [
    "DIGITS",
    "NO_PROJECT",
    "explain",
    "explain_arguments",
    "not_configured",
    "quoted",
    "suggestion",
    "without_addresses",
    "wrong_project",
]

NO_PROJECT = (
    "No project was named. Pass `project` (list_projects shows the ids), or set TESTVIBE_PROJECT "
    "in the `env` of this server's configuration, or choose one with `testvibe-async use`, and "
    "restart it."
)

MAX_CHARACTERS = 1_000
"""Length of what happened, in an error."""

MAX_QUOTED = 500
"""Length of what the service says, in an error."""

NAME_CHARACTERS = 100
"""How much of each name is suggested."""

_ADDRESS = re.compile(r"(?:[A-Z]+ )?https?://[^\s,;)]+?(?=[:.]?(?:[\s,;)]|$))")

_LISTS = {
    "get_run": "list_runs",
    "wait_for_run": "list_runs",
    "wait_for_runs": "list_runs",
    "diagnose_run": "list_runs",
    "get_run_artifacts": "list_runs",
    "read_file": "list_files",
    "get_project": "list_projects",
}
"""By tool, the list to look a wrong name up in; `list_features` for all other tools."""


_SHOWN_BY = {
    "feature": " list_features shows their names and ids.",
    "path": " list_files shows the paths.",
    "runId": " list_runs shows the ids.",
    "runIds": " list_runs shows the ids.",
}
"""By argument, what shows its values."""

DIGITS = " Digits are an id: a feature whose name is digits is reached by its id alone."


def not_configured(error: ConfigError) -> str:
    """Say what to set where the server has no client, since it is not configured."""
    return (
        f"This server is not configured: {error}. Set TESTVIBE_SERVER and TESTVIBE_API_KEY in the "
        "`env` of its configuration (never in `args`), or run `testvibe-async login`, and restart "
        "it."
    )


def wrong_project(error: ConfigError) -> str:
    """Say which project to name instead; ids stay, since the model has to choose by them."""
    text = clean(str(error))[:MAX_CHARACTERS]
    return f"Nothing was done: {_ended(text)} list_projects shows the names and ids."


def explain(error: VibeError, tool: str) -> str:
    """Say what happened to a tool's call, and what to do next.

    Args:
        error: What the call raised.
        tool: The tool's name.
    """
    advice = next((advice for kind, advice in _ADVICE.items() if isinstance(error, kind)), "")
    text = without_addresses(clean(_what(error)))[:MAX_CHARACTERS].rstrip(". ")
    return f"{text}. {advice if isinstance(advice, str) else advice(error, tool)}".rstrip()


def _what(error: VibeError) -> str:
    """Return what happened, without the request that it happened to."""
    if isinstance(error, ResponseError) and not isinstance(error, MalformedResponseError):
        code = f" {error.code}" if error.code else ""
        return f"The service says {quoted(error.message)} ({error.status}{code})"
    sqlite = getattr(error.__cause__, "sqlite_errorname", "")
    if isinstance(error, ConfigError) and sqlite.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "Another program has the journal of this call open, so call again later"
    return error.brief


def quoted(text: str) -> str:
    """Return a text of the service in quotes that it can't close: it is data, and no advice."""
    return '"{}"'.format(" ".join(text[:MAX_QUOTED].replace('"', "'").split()))


def without_addresses(text: str) -> str:
    """Leave addresses and GUIDs out of a text: a model can do nothing with them."""
    return GUID.sub("…", _ADDRESS.sub("the service", text))


def suggestion(name: str, names: Iterable[str]) -> str:
    """Return `did_you_mean` as a sentence to add to others."""
    text = did_you_mean(name, [each[:NAME_CHARACTERS] for each in names])
    return f" {text[0].upper()}{_ended(text[1:])}" if text else ""


def _ended(text: str) -> str:
    return text if text.endswith("?") else f"{text}."


def explain_arguments(faults: Iterable[ErrorDetails], tool: str, names: Sequence[str]) -> str:
    """Say what is wrong with a call's arguments, a sentence for each fault.

    Args:
        faults: What pydantic found.
        tool: The tool's name.
        names: The names of the arguments that the tool has.
    """
    return " ".join(_fault(fault, tool, names) for fault in faults)


def _fault(fault: ErrorDetails, tool: str, names: Sequence[str]) -> str:
    name, *places = fault["loc"]
    if fault["type"] == "extra_forbidden":
        part = str(name).casefold()
        similar = get_close_matches(str(name), names, n=1) or [
            each for each in names if part in each.casefold()
        ]
        right = f"did you mean {similar[0]}?" if similar else f"it has {', '.join(names)}."
        return f"{tool} has no argument {name!r}: {right}"
    shown = _SHOWN_BY.get(str(name), "")
    if fault["type"] == "missing":
        return f"{tool} needs the argument {name}.{shown}"
    where = "".join([str(name), *(f"[{place}]" for place in places)])
    shown = shown if name in {"runId", "runIds"} else ""
    return f"The argument {where} is wrong: {fault['msg'][:1].lower()}{fault['msg'][1:]}.{shown}"


def _if_unknown_dispatch(error: VibeError, _tool: str) -> str:
    assert isinstance(error, DispatchUnknownError)
    feature = f"feature {str(error.feature)!r}"
    kind = error.intent.kind if isinstance(error.intent, Intent) else None
    if kind == "generation" or error.url.endswith("/generate"):
        return (
            "It may have started, and was not sent again, for that could cost the credits twice. "
            f"Check get_generation_status of {feature}: if a new generation is there, wait for "
            "that one with wait_for_generation. The same call looks for it again, and starts "
            "another only once it is proved that none began."
        )
    return (
        "It may have started, and was not sent again. Before you try again, check list_runs of "
        f"{feature}, or in TestVibe itself where that list is missing: if a new run is there, "
        "wait for that one with wait_for_run."
    )


def _if_not_found(error: VibeError, tool: str) -> str:
    lists = _LISTS.get(tool, "list_features")
    if isinstance(error, ResponseError) and error.url.endswith("/features"):
        return "list_projects shows which projects there are; run_features takes names."
    if tool.startswith("list_") and tool != "list_runs":
        return "list_projects shows which projects there are."
    other = "" if lists == "list_projects" else ", and list_projects which projects"
    part = " (`name` finds a part of a name)" if lists == "list_features" else ""
    return f"{lists} shows what there is{part}{other}."


def _if_conflict(_error: VibeError, tool: str) -> str:
    if tool == "create_feature":
        return "get_feature shows the one that is there, and update_feature changes it."
    return "get_generation_status shows how the feature stands."


def _if_refused(error: VibeError, _tool: str) -> str:
    if isinstance(error, ResponseError) and error.status == HTTPStatus.PAYMENT_REQUIRED:
        return "There are no credits left, or the account may not do this: tell the user."
    return "The same call will bring the same: tell the user what the service said."


def _if_rate_limited(error: VibeError, _tool: str) -> str:
    seconds = error.retry_after if isinstance(error, RateLimitedError) else None
    return f"Try again in {seconds or 60:g} s."


def _if_outcome_unknown(error: VibeError, _tool: str) -> str:
    if isinstance(error, OutcomeUnknownError) and error.method == "GET":
        return "Nothing was changed: try again."
    return "The service may have done it: read it back before you try again."


_ADVICE: dict[type[VibeError], Advice] = {
    DispatchUnknownError: _if_unknown_dispatch,
    OutcomeUnknownError: _if_outcome_unknown,
    NotSentError: "Nothing was sent. Check TESTVIBE_SERVER and the network, then try again.",
    GenerationInProgressError: (
        "Nothing was started. Wait for the one in flight with wait_for_generation, then "
        "run_feature runs its tests; or stop it with cancel_generation."
    ),
    FeatureNotGeneratedError: (
        "Nothing was started. Call generate_feature first (it costs credits), and "
        "wait_for_generation until it is over; get_feature shows the feature's status."
    ),
    FeatureBusyError: (
        "Nothing was changed. Wait with wait_for_generation, or stop the generation with "
        "cancel_generation, then try again."
    ),
    ConflictError: _if_conflict,
    NotFoundError: _if_not_found,
    UnauthorizedError: (
        "The key was refused: set TESTVIBE_API_KEY in the `env` of this server's configuration to "
        "a valid key, and restart it."
    ),
    ForbiddenError: (
        "The key in TESTVIBE_API_KEY may not do this, or there are no credits left: tell the user."
    ),
    InvalidRequestError: "Correct the arguments and try again.",
    RateLimitedError: _if_rate_limited,
    ServerError: "The service has a problem of its own: try again later.",
    IncompleteListError: "run_features takes their names as `features`.",
    MalformedResponseError: "Check that TESTVIBE_SERVER is a TestVibe service.",
    OperationNotFoundError: "list_runs shows which runs there are.",
    OperationSupersededError: "Wait for the newer one with wait_for_generation.",
    ObservationError: "It may still be in flight: call the same tool again later.",
    ClientClosedError: "This server is ending; what was dispatched continues at the service.",
    ResponseError: _if_refused,
    ConfigError: "",
}
"""By class of error; subclasses stand before their base classes, since the first match counts."""
