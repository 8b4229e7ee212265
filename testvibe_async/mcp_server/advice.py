"""Error messages for the model that called a tool: what happened, and what to do next.

Decides the next step for each kind of error, by the names of the tools. Pure; it never retries
anything.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from testvibe_async import ConfigError, VibeError, errors
from testvibe_async._core.util import clean
from testvibe_async._core.wire import KINDS
from testvibe_async.reports.reasons import why
from testvibe_async.runner.limit import GenerationLimitError
from testvibe_async.runner.names import GUID, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from pydantic_core import ErrorDetails

    from testvibe_async.errors import KindName

NAME_PROJECT = (
    "Pass `project` (list_projects shows the names and ids), or set TESTVIBE_PROJECT in the `env` "
    "of this server's configuration, or choose one with `testvibe-async use`, and restart it."
)

IN_PROGRESS = (
    "Wait for it with wait_for_generation, then run_feature runs its tests; or stop it with "
    "cancel_generation."
)

MAX_CHARACTERS = 1_000
"""Length of what happened, in an error."""

NAME_CHARACTERS = 100
"""Maximum characters of each suggested name, and of the name that they are compared with."""

_ADDRESS = re.compile(r"(?:[A-Z]+ )?https?://[^\s,;)]+?(?=[:.]?(?:[\s,;)]|$))")

_SHOWN_BY = {
    "feature": "list_features shows their names and ids.",
    "runId": "list_runs shows the ids.",
    "path": "list_files shows the paths.",
    "config": "list_configs shows the configurations.",
}
"""By argument, what shows its values."""


def not_configured(error: ConfigError | OSError) -> str:
    """Say what a server without a client lacks: settings, or the file of its ledger."""
    what = error.brief if isinstance(error, ConfigError) else str(error)
    needs = "TESTVIBE_SERVER and TESTVIBE_API_KEY"
    how = "(never in `args`), or run `testvibe-async login`,"
    if isinstance(error, OSError) or what.startswith("the ledger "):
        needs, how = "TESTVIBE_LEDGER, the file of what it starts,", ""
    return " ".join(
        f"This server is not configured: {what}. Set {needs} in the `env` of its configuration "
        f"{how} and restart it.".split()
    )


def nothing_done(error: ConfigError, *, started: bool = False) -> str:
    """Say what is wrong with a name, and that nothing was done; ids stay, to choose by them."""
    what = "started" if started else "done"
    return f"Nothing was {what}: {_ended(clean(str(error))[:MAX_CHARACTERS])}"


def explain(error: VibeError, arguments: Collection[str] = ()) -> str:
    """Say what happened to a tool's call, and what to do next.

    Args:
        error: The error that the call raised.
        arguments: The names of the arguments that the call gave.
    """
    return f"{described(error)} {_step_after(error, arguments)}".rstrip()


def described(error: VibeError) -> str:
    """Say what happened, in a sentence."""
    return f"{capitalized(reason_of(error, MAX_CHARACTERS))}."


def reason_of(error: VibeError, length: int = 200) -> str:
    """Return why there is no result, as reports word it, for a sentence of ours.

    Addresses and GUIDs are left out: a model can do nothing with them.
    """
    text = GUID.sub("…", _ADDRESS.sub("the service", clean(why(error))))
    return text[:length].rstrip(".: ")


def suggestion(name: str, names: Iterable[str]) -> str:
    """Return `did_you_mean` as a sentence to add to others."""
    text = did_you_mean(name[:NAME_CHARACTERS], [each[:NAME_CHARACTERS] for each in names])
    return f" {_ended(capitalized(text))}" if text else ""


def capitalized(text: str) -> str:
    """Return a text as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def _ended(text: str) -> str:
    return text if text.endswith("?") else f"{text}."


def explain_arguments(faults: Iterable[ErrorDetails], tool: str, names: Sequence[str]) -> str:
    """Describe the errors in a call's arguments, a sentence for each.

    Args:
        faults: The errors that pydantic found.
        tool: The tool's name.
        names: The names of the arguments that the tool has.
    """
    return " ".join(_fault(fault, tool, names).rstrip() for fault in faults)


def _fault(fault: ErrorDetails, tool: str, names: Sequence[str]) -> str:
    name, *places = map(str, fault["loc"])
    shown = _shown([name])
    if fault["type"] == "extra_forbidden":
        return f"{tool} has no argument {name!r}.{suggestion(name, names)}"
    if fault["type"] == "missing":
        return f"{tool} needs the argument {name}. {shown}"
    where = "".join([name, *(f"[{place}]" for place in places)])
    why = fault["msg"][:1].lower() + fault["msg"][1:]
    return f"The argument {where} is wrong: {why}. {shown}"


def _shown(arguments: Collection[str]) -> str:
    """Say what shows the values of arguments."""
    return " ".join(_SHOWN_BY[name] for name in arguments if name in _SHOWN_BY)


def _step_after(error: VibeError, arguments: Collection[str]) -> str:  # noqa: PLR0911 - a table
    """Return the next step after an error, by its kind and the arguments of the call."""
    match error:
        case errors.DispatchUnknownError():
            return UNKNOWN[error.kind]
        case errors.OperationNotFoundError():
            return f"{KINDS[error.ref.kind].listed_by.name} shows which there are."
        case errors.OutcomeUnknownError(method="GET") | errors.ServerError(method="GET"):
            return "Nothing was changed: try again later."
        case errors.NotFoundError() if error.url.endswith("/features"):
            return "list_projects shows which projects there are; run_features takes names."
        case errors.NotFoundError():
            return f"{_shown(arguments)} list_projects shows which projects there are.".strip()
        case errors.InvalidRequestError():
            return f"Correct the arguments and try again. {_shown(arguments)}"
        case errors.RateLimitedError(retry_after=seconds):
            return f"Try again in {seconds or 60:g} s."
        case _:
            return next((step for kind, step in _STEPS.items() if isinstance(error, kind)), "")


UNKNOWN: Mapping[KindName, str] = {
    "run": (
        "It was not sent again. Before you try again, check list_runs of the feature, or in "
        "TestVibe itself where that list is missing: if a new run is there, wait for that one. "
        "Within two minutes the same call looks for it; later it starts another."
    ),
    "generation": (
        "It was not sent again, for that could cost the credits twice. Check get_generation_status "
        "of the feature: if a new generation is there, wait for that one. The same call looks for "
        "it again. If it stays unknown, ask the user to decide, with "
        "`testvibe-async resume --unknown`."
    ),
}
"""The next step after a dispatch that may have taken effect, by its kind."""

_STEPS: dict[type[VibeError], str] = {
    GenerationLimitError: (
        "This server may start no more generations (its option --max-generations): tell the user. "
        "What was generated can be run."
    ),
    errors.OutcomeUnknownError: (
        "The service may have done it: read what is there before you try again."
    ),
    errors.NotSentError: (
        "Nothing was sent. Check TESTVIBE_SERVER and the network, then try again."
    ),
    errors.GenerationInProgressError: f"Nothing was started. {IN_PROGRESS}",
    errors.FeatureNotGeneratedError: (
        "Nothing was started. Call generate_feature first (it costs credits), unless get_feature "
        "shows that it is generating already; then wait with wait_for_generation."
    ),
    errors.ConflictError: (
        "Nothing was changed. get_feature shows what is there. If a generation is in flight, wait "
        "with wait_for_generation, or stop it with cancel_generation."
    ),
    errors.UnauthorizedError: (
        "The key was refused: set TESTVIBE_API_KEY in the `env` of this server's configuration to "
        "a valid key, and restart it."
    ),
    errors.ForbiddenError: (
        "The key in TESTVIBE_API_KEY may not do this, or there are no credits left: tell the user."
    ),
    errors.ServerError: "The service has a problem of its own: try again later.",
    errors.IncompleteListError: "run_features takes their names as `features`.",
    errors.MalformedResponseError: (
        "If the service answered before, try again later; else check TESTVIBE_SERVER."
    ),
    errors.OperationSupersededError: "Wait for the newer one with wait_for_generation.",
    errors.ObservationError: "It may still be in flight: call the same tool again later.",
    errors.ClientClosedError: (
        "This server is ending; what was dispatched continues at the service."
    ),
    errors.ResponseError: "The same call will bring the same: tell the user what the service said.",
}
"""By class of error; subclasses stand before their base classes, since the first match counts."""
