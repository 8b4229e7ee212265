"""Findings: the meaning of exchanges, with the consequence for our commands, as rows and as JSON.

`CHECKS` is the table of the operations that read, with what depends on each. What differs and can
be read has no consequences: then a command does the same as elsewhere. A finding's sentences are
made of our own words, of declarations and of types. What the service or the user called something
is in `quoted` alone, which only a terminal shows: so a document holds no value of an answer, no
address, no key and no id. Pure.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from testvibe_async import errors
from testvibe_async._core.config import REPOSITORY_FILE, is_loopback
from testvibe_async._core.util import __version__
from testvibe_async._core.util.serialization import Serializable
from testvibe_async.cli.doctor.exchanges import Exchange, notes_on, shown_name
from testvibe_async.cli.text import reason
from testvibe_async.runner.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testvibe_async import Run


VERSION = 4
"""The version of the document's form."""

_ORDER = ("holds", "differs", "unchecked", "outage")
"""The outcomes of a check, in printing order: people read the end first."""


@frozen
class Finding(Serializable):
    """One line of the result."""

    subject: str
    """The thing it is about: an operation by the service's name, or a word such as `server`."""

    says: str
    """The finding, or the reason why it was not checked."""

    means: str = ""
    """The consequence, and for which commands; empty if there is none."""

    quoted: str | None = None
    """The reason of an error, with the service's own words, or a name. Never part of a document."""

    verdict: str = field(kw_only=True)
    has_consequences: bool = False
    """True if a command does less than it should."""

    @property
    def sentence(self) -> str:
        """The whole of it."""
        means = f"so {self.means}" if self.has_consequences else self.means
        return "; ".join(filter(None, (self.says, self.quoted, means)))


holds: partial[Finding] = partial(Finding, verdict="holds")
"""Make a finding that something is as it should be."""

varies: partial[Finding] = partial(Finding, verdict="differs")
"""Create a finding of a difference from the contract without consequences."""

differs: partial[Finding] = partial(Finding, verdict="differs", has_consequences=True)
"""Create a finding of a difference from the contract that limits a command."""

unchecked: partial[Finding] = partial(Finding, verdict="unchecked")
"""Make a finding that something could not be checked, and why."""


MAX_SKEW = 5.0
"""Seconds that two clocks may differ by: an HTTP date is good to one, and the way takes some."""

CHECKS: dict[str, tuple[str, str]] = {
    "list_projects": ("project", "projects and use"),
    "get_project": ("project", ""),
    "list_features": ("project", "features list, run --all, generate --all, names such as 'Log*'"),
    "list_runs": ("project", "runs list, and finding a run whose dispatch got no answer"),
    "get_run": ("run", "run --wait, wait and runs show"),
    "diagnose_run": ("run", "runs diagnose"),
    "get_run_artifacts": ("run", "runs download and --artifacts"),
    "get_feature": ("feature", "features show"),
    "get_generation_status": ("feature", "generate --watch and generation show"),
    "get_generation_log": ("feature", "the logs of generation show"),
    "list_files": ("project", ""),
    "read_file": ("file", "files get"),
    "list_configs": ("project", ""),
}
"""The operations that read, in the order in which they are checked.

The client's method of that name calls each with a thing, beside the project if it is another. Then
come the commands that need it; empty for none.
"""

_NO_COMMAND = "no command works"
_NOTES = {
    "undeclared": "there and nowhere documented",
    "unreadable": "can't be read",
    "missing": "not there",
    "word": "words that are not documented",
}
_DECIDING = ("status (", "featureStatus (")
"""The members whose words decide the state of an operation or a feature."""


def about_obstacle(error: errors.ResponseError) -> Finding | None:
    """Describe why the first answer makes further ones pointless; None if it does not."""
    if isinstance(error, errors.UnauthorizedError | errors.ForbiddenError):
        means = f"{_NO_COMMAND}: testvibe-async login stores another; TESTVIBE_API_KEY overrides it"
        return differs("key", f"refused: {error.status}", means, quoted=reason(error))
    if not error.is_from_service:
        means = (
            f"{_NO_COMMAND}: the address is not the service's, or something stands before it; if "
            "the service is below a path, the address ends with that"
        )
        says = f"answers {error.status}, and not as the service does"
        return differs("server", says, means, quoted=reason(error))
    return None


def about_way(server: str, exchange: Exchange) -> Iterator[Finding]:
    """Describe the address and the clock, by the first answer of the service."""
    parts = urlsplit(server)
    if parts.scheme == "https" or is_loopback(parts.hostname or ""):
        yield holds("server", "answers, and accepts the key")
    else:
        says = "answers by HTTP: the key and all else travel unencrypted"
        yield differs("server", says, "everybody on the way can read the key: use https://")
    if (date := exchange.response.date) is None:
        means = "a run whose dispatch got no answer is not found"
        yield differs("clock", "the service does not say what time it has", means)
        return
    skew = round((date - exchange.response.received_at).total_seconds())
    if abs(skew) <= MAX_SKEW:
        yield holds("clock", "the service's and ours agree")
    else:
        says = f"the service's is {abs(skew)} s {'ahead of' if skew > 0 else 'behind'} ours"
        yield varies("clock", says, "times that are shown are the service's")


def about_answers(value: Any, exchanges: Sequence[Exchange]) -> Iterator[Finding]:  # noqa: ANN401 - of any call
    """Describe the answers to one call.

    Args:
        value: The value of the call; None if it has none.
        exchanges: Its exchanges; what was refused for its rate, or failed, was asked again.
    """
    pages = [each for each in exchanges if each.error is None]
    if not pages:
        yield _unusable(exchanges[-1])
        return
    endpoint, whole = pages[0].request.endpoint, pages[0].value if value is None else value
    says = f"{'documented' if endpoint.is_documented else 'assumed'} route, and all of it is read"
    says += f": {counted(len(whole), 'row')}" if endpoint.is_list else ""
    yield from list(_about_notes(endpoint.name, whole)) or [holds(endpoint.name, says)]
    if endpoint.is_list and whole.incomplete is not None:
        means = f"these are incomplete, or refused: {CHECKS[endpoint.name][1]}"
        yield differs(endpoint.name, "cut", means, quoted=reason(whole.incomplete))


def _unusable(exchange: Exchange) -> Finding:
    """Describe an answer that is no success, or none that can be used."""
    error, name = exchange.error, exchange.name
    assert error is not None
    says, quoted = f"{exchange.request.endpoint.route}: {error.status}", reason(error)
    if isinstance(error, errors.EndpointNotFoundError):
        says += (
            f'; if it is elsewhere, put {name} = "GET /…" under [endpoints] in {REPOSITORY_FILE}'
        )
        quoted = ""
    elif error.code is not None:
        says += f" {shown_name(error.code)}"
    _, commands = CHECKS[name]
    if not commands:
        return varies(name, says, "no command needs it", quoted=quoted)
    return differs(name, says, f"these do not work here: {commands}", quoted=quoted)


def _about_notes(name: str, value: Any) -> Iterator[Finding]:  # noqa: ANN401 - of any answer
    """Yield a finding for each kind of thing that the client noted of an answer."""
    notes = sorted({*notes_on(value)})
    for kind, said in _NOTES.items():
        found = [text for each, text in notes if each == kind]
        says = f"{said}: {', '.join(found)}"
        if found and kind == "word" and any(text.startswith(_DECIDING) for text in found):
            means = (
                "such a run or generation ends in exit code 5, and --all leaves such features out"
            )
            yield differs(name, says, means)
        elif found and kind in {"missing", "unreadable"}:
            yield differs(name, says, "it is shown empty, and what needs it does not work")
        elif found:
            yield varies(name, says, "shown as it is")
    if faults := len(getattr(value, "unreadable", ())):
        means = "those rows are left out, and the list is incomplete"
        yield differs(name, f"{counted(faults, 'row')} can't be read", means)


def about_runs(
    runs: Sequence[Run], limited: Sequence[Run] | None, exchanges: Sequence[Exchange]
) -> Iterator[Finding]:
    """Describe in which order runs are listed, and whether a limit is accepted.

    Args:
        runs: The list without a limit.
        limited: The list with the limit 1; None if it is refused.
        exchanges: The exchanges for that.
    """
    name, error, ids = "list_runs", exchanges[-1].error, [run.run_id for run in runs]
    newest = max(ids, default=0)
    if error is not None:
        means = "runs list --limit does not work; runs are polled by their ids"
        yield differs(name, f"a limit is refused: {error.status}", means, quoted=reason(error))
    elif ids != sorted(ids, reverse=True) or any(run.run_id < newest for run in limited or ()):
        means = "runs list --limit shows the oldest, and a run whose dispatch got no answer may not"
        yield differs(name, "not the newest first", f"{means} be found")


def about_errors(_run: Run | None, exchanges: Sequence[Exchange]) -> Iterator[Finding]:
    """Describe an error, by the answer for a run that is not there."""
    error = exchanges[-1].error
    if not isinstance(error, errors.NotFoundError):
        means = "a run that is not there is waited for in vain"
        says = f"a run that is not there: {exchanges[-1].response.status}, not 404"
        yield differs("errors", says, means)
    elif error.is_from_service:
        yield holds("errors", "404 comes with a code and a message")
    else:
        means = "the status decides, and what can be read of the reason is shown"
        yield varies("errors", "404 comes without a code", means)


def document(findings: Sequence[Finding], exit_code: int) -> dict[str, Any]:
    """Return the findings as JSON, without the service's own words."""
    return {
        "doctor": VERSION,
        "package": __version__,
        "exitCode": exit_code,
        "conclusion": conclusion(findings),
        "findings": [evolve(each, quoted=None).to_dict() for each in findings],
    }


def conclusion(findings: Sequence[Finding]) -> str:
    """Say in a sentence what the findings come to."""
    verdicts = [each.verdict for each in findings]
    said = "the checks ended in an outage" if "outage" in verdicts else "all that was checked holds"
    if found := verdicts.count("differs"):
        serious = sum(each.has_consequences for each in findings)
        said = f"{counted(found, 'difference')}, {serious or 'none'} with consequences"
    if skipped := verdicts.count("unchecked"):
        said += f"; {skipped} not checked"
    return f"{said[:1].upper()}{said[1:]}."


def rows(findings: Sequence[Finding], *, only_differences: bool) -> list[tuple[str, str, str]]:
    """Return the findings as cells: verdict, subject and sentence, the consequences first.

    Args:
        findings: The findings.
        only_differences: True to leave out findings that agree with the contract.
    """
    shown = [each for each in findings if not (only_differences and each.verdict == "holds")]
    shown.sort(key=lambda each: (_ORDER.index(each.verdict), not each.has_consequences))
    return [(each.verdict, each.subject, each.sentence) for each in shown]
