"""The meaning of exchanges: a finding for each way in which answers differ. Pure.

What differs and can be read has no consequences: then a command does the same as elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from testvibe_async import (
    ForbiddenError,
    MalformedResponseError,
    NotFoundError,
    RateLimitedError,
    TransportError,
    UnauthorizedError,
)
from testvibe_async._config import is_documented_key, is_loopback
from testvibe_async._wire import UnreadableError, read
from testvibe_async.cli.doctor.contract import (
    Difference,
    differences,
    error_schema,
    shown_name,
)
from testvibe_async.cli.doctor.findings import Finding, differs, holds
from testvibe_async.cli.words import plural, reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testvibe_async import Listing, Run, VibeError
    from testvibe_async._config import Settings
    from testvibe_async.cli.doctor.exchanges import Exchange

__all__ = [
    "about_address",
    "about_clock",
    "about_encoding",
    "about_errors",
    "about_key",
    "about_limits",
    "about_no_answer",
    "about_pages",
    "about_polls",
    "about_runs",
    "about_words",
    "findings_of",
    "phases_seen",
    "what_is_there_instead",
    "words_seen",
]

MAX_SKEW = 5.0
"""Seconds that two clocks may differ by: an HTTP date is good to one, and the way takes some."""

_NOTHING = "no command works"
_READ = "read all the same"
_DECIDING = {"status", "featureStatus"}
"""The members whose words decide what has become of something."""

_SEEN = {
    "digits": "digits in a string",
    "guid": "string",
    "url": "string",
    "empty": "an empty string",
}
"""Names of forms in a sentence, where their own name does not say the type."""

_COMMANDS = {
    "list_projects": "projects and use",
    "list_features": "features list, run --all, generate --all and patterns such as 'Log*'",
    "get_feature": "features show",
    "get_generation_status": "generate --watch and generation status",
    "get_generation_log": "generation log",
    "generate_feature": "generate",
    "run_feature": "run",
    "list_runs": "runs list",
    "get_run": "run --wait, wait and runs show",
    "diagnose_run": "runs diagnose",
    "get_run_artifacts": "runs artifacts, runs download and --artifacts",
    "list_files": "files list",
    "read_file": "files get",
    "list_configs": "configs",
}
"""The commands that need an operation. No command needs `get_project`."""

_INSTEAD = {
    "list_features": "; run and generate work with features by name",
    "list_runs": "; run --wait polls each run by itself, and can't find a run whose dispatch got "
    "no answer",
}
_CUT = {
    "list_features": "run --all, generate --all and patterns such as 'Log*' are refused; name the "
    "features, and they work",
    "list_runs": "runs list is not the whole; runs are polled by their ids",
}
_STATUSES = {
    "runs": ("list_runs.status", "get_run.status"),
    "features": ("list_features.status", "get_feature.status"),
    "generations": ("get_generation_status.featureStatus",),
}


def about_address(settings: Settings) -> Iterator[Finding]:
    """Describe the way to the service, which has answered."""
    parts = urlsplit(settings.server)
    if parts.scheme == "https":
        yield holds("server", "answers by HTTPS, with a certificate that is valid")
    elif is_loopback(parts.hostname or ""):
        yield holds("server", "answers by HTTP, on this machine")
    else:
        says = "answers by HTTP: the key and all else travel unencrypted"
        yield differs("server", says, "everybody on the way can read the key: use https://")
    if parts.path:
        yield holds("server", "is below a path, as the settings say", quoted=parts.path)


def about_key(settings: Settings) -> Finding:
    """Describe the form of the key, which was accepted."""
    if is_documented_key(settings.api_key):
        return holds("key", "accepted, and of the documented form")
    says = "accepted, and not of the documented form (tvb_ and 43 letters or digits)"
    return differs("key", says, "used as it is", is_harmless=True)


def about_clock(exchange: Exchange) -> Finding:
    """Compare the service's clock with ours."""
    date, ours = exchange.response.date, exchange.response.received_at
    if date is None:
        means = "a run whose dispatch got no answer is not found"
        return differs("clock", "the service does not say what time it has", means)
    skew = round((date - ours).total_seconds())
    if abs(skew) <= MAX_SKEW:
        return holds("clock", "the service's and ours agree")
    says = f"the service's is {abs(skew)} s {'ahead of' if skew > 0 else 'behind'} ours"
    return differs("clock", says, "times that are shown are the service's", is_harmless=True)


def about_no_answer(error: VibeError) -> Finding:
    """Describe the first request, which got no answer, or none that is HTTP."""
    says = "can't be reached" if isinstance(error, TransportError) else "does not answer by HTTP"
    means = f"{_NOTHING}: check the address, the network and a proxy on the way"
    return differs("server", says, means, quoted=reason(error))


def what_is_there_instead(exchange: Exchange) -> Finding | None:
    """Return what the first answer is if it is not the service's; None where it is."""
    error, status = exchange.error, exchange.response.status
    if isinstance(error, UnauthorizedError | ForbiddenError):
        means = f"{_NOTHING}: testvibe-async login stores another one"
        return differs("key", f"refused: {status}", means, quoted=reason(error))
    if error is None or error.is_from_service:
        return None
    says = f"answers {status}, and not as the service does"
    means = (
        f"{_NOTHING}: the address is not the service's, or something stands before it; if the "
        "service is below a path, the address ends with that"
    )
    return differs("server", says, means, quoted=reason(error))


def findings_of(exchange: Exchange) -> list[Finding]:
    """Describe one answer, one line for each way in which it differs."""
    if exchange.error is not None:
        return [_unusable(exchange)]
    return list(_found(exchange)) or [holds(exchange.operation.name, _agreement(exchange))]


def _agreement(exchange: Exchange) -> str:
    """Name what an answer agrees with: what is documented, or what is only assumed."""
    known = exchange.operation
    says = f"as {known.basis}" if len(known.bases) == 1 else "as documented, in parts as assumed"
    if known.is_list:
        rows = len(exchange.value)
        says += f", {plural(rows, 'row')}" if rows else "; no rows, so that none was seen"
    elif known.name.startswith("get_generation") and not exchange.value.request_id:
        says += ", of a feature that was never generated"
    return says


def _unusable(exchange: Exchange) -> Finding:
    """Describe an answer that is no success, or none that can be used."""
    error, name, route = exchange.error, exchange.operation.name, exchange.request.endpoint.route
    assert error is not None
    means = "no command needs it"
    if name in _COMMANDS:
        means = f"these do not work here: {_COMMANDS[name]}{_INSTEAD.get(name, '')}"
    more = {"quoted": reason(error)}
    is_route = exchange.operation.basis == "assumed" and error.code is None
    if is_route and exchange.response.status in {404, 405}:
        says = f"{route}: {exchange.response.status}; this route is assumed, and not there"
        more = {"setting": f'{name} = "{_elsewhere(route)}"'}
    elif isinstance(error, MalformedResponseError):
        says = f"{route}: the answer can't be read"
    else:
        says = f"{route}: {error.status} {shown_name(error.code or '')}".rstrip()
    return differs(name, says, means, is_harmless=name not in _COMMANDS, **more)


def _elsewhere(route: str) -> str:
    """Return a route with a gap to be filled in, and with its placeholders."""
    above, _, last = route.rpartition("/")
    return f"{above.rpartition('/')[0]}/…/{last}" if "{" in last else f"{above}/…"


def _found(exchange: Exchange) -> Iterator[Finding]:
    """Go through the differences of a usable answer, those of one kind together."""
    name, status = exchange.operation.name, exchange.response.status
    if exchange.envelope:
        beside = ", ".join(sorted(map(shown_name, exchange.envelope)))
        yield differs(name, f"its rows are in an object, beside {beside}", _READ, is_harmless=True)
    groups: defaultdict[tuple[str, ...], list[Difference]] = defaultdict(list)
    for each in exchange.differences:
        if each.kind != "known word":
            groups[_group_of(each)].append(each)
    for alike in groups.values():
        yield _finding(exchange, alike)
    if faults := len(getattr(exchange.value, "unreadable", ())):
        means = "those rows are left out, and the list is incomplete"
        yield differs(name, f"{plural(faults, 'row')} can't be read", means)
    if status != exchange.operation.status:
        says = f"answers {status}, not {exchange.operation.status}"
        yield differs(name, says, "taken for the same", is_harmless=True)


def _group_of(each: Difference) -> tuple[str, ...]:
    if each.kind in {"type", "form"}:
        return each.kind, each.declared, each.seen
    if each.kind == "word":
        return each.kind, each.place
    return (each.kind, each.basis, each.seen if each.kind == "needed" else "")


def _finding(exchange: Exchange, alike: list[Difference]) -> Finding:
    name, first = exchange.operation.name, alike[0]
    is_dispatch = exchange.request.method != "GET"  # its id was found elsewhere, or it is an error
    places = ", ".join(dict.fromkeys(each.place or "the answer" for each in alike))
    words = ", ".join(dict.fromkeys(each.seen for each in alike))
    means, is_harmless = _READ, True
    match first.kind:
        case "needed" | "missing":
            often = f" ({first.seen})" if first.seen else ""
            says = f"{first.basis} and not there: {places}{often}"
            if not is_dispatch:
                means = "shown empty"
            if not is_dispatch and first.kind == "needed":
                means, is_harmless = "that is shown empty, and what needs it does not work", False
        case "undeclared":
            seen = ", ".join(f"{each.place} ({each.seen})" for each in alike)
            says, means = f"there and nowhere documented: {seen}", "shown by --json alone"
        case "word":
            says = f"{first.place} has words that are not documented: {words}"
            if first.place in _DECIDING:
                means, is_harmless = _of_status(name), False
        case "spelling":
            says = f"{places}: the known words in another case: {words}"
        case _:
            says = f"{places}: {_SEEN.get(first.seen, first.seen)}, not {first.declared}"
            if any(exchange.unreadable & _names_in(each.place) for each in alike):
                means, is_harmless = "they can't be read, and are shown empty", False
    return differs(name, says, means, is_harmless=is_harmless)


def _names_in(place: str) -> set[str]:
    """Return the names of a place: where our reader can't read a member it leaves out the whole."""
    return set(place.replace("[]", "").split("."))


def _of_status(name: str) -> str:
    if "feature" in name:
        return "run --all and generate --all leave such features out"
    if "generation" in name:
        return "such a generation counts as neither generated nor failed: exit code 5"
    return "such a run counts as neither passed nor failed: exit code 5"


def about_pages(pages: Sequence[Exchange], rows: Listing[object]) -> Iterator[Finding]:
    """Describe how a list is paged, by the exchanges that it took and what came of them."""
    name = pages[0].operation.name
    first = plural(len(pages[0].value), "row")
    if rows.incomplete is not None:
        says = f"cut after {first}, and the rest can't be asked for"
        means = _CUT.get(name, "the command that lists them shows a part")
        yield differs(name, says, means, quoted=reason(rows.incomplete))
    elif len(pages) > 1:
        yield differs(name, f"in pages of {first}", "put together", is_harmless=True)


def about_runs(runs: Sequence[Run], limited: Sequence[Run]) -> Iterator[Finding]:
    """Describe in which order runs are listed, and whether a limit is kept.

    Args:
        runs: The list without a limit.
        limited: The list with the limit 1.
    """
    ids = [run.run_id for run in runs]
    newest_first = ids == sorted(ids, reverse=True)
    if len(ids) > 1 and not newest_first:
        means = (
            "runs list --limit shows the oldest, and a run whose dispatch got no answer may not "
            "be found"
        )
        yield differs("list_runs", "not the newest first", means)
    if len(limited) > 1:
        yield differs("list_runs", "a limit is not kept", "more rows are read than needed")
    elif newest_first and len(ids) > 1 and limited and limited[0].run_id != ids[0]:
        says = "a limit does not leave the newest"
        yield differs("list_runs", says, "runs list --limit shows old runs")


def about_errors(exchange: Exchange) -> Finding:
    """Describe an error, by the answer for a run that is not there."""
    status = exchange.response.status
    if not isinstance(exchange.error, NotFoundError):
        means = "a run that is not there is waited for in vain"
        return differs("errors", f"a run that is not there: {status}, not 404", means)
    means = "the status decides, and what can be read of the reason is shown"
    try:
        document = read(exchange.response.body, object)
    except UnreadableError:
        is_page = exchange.response.body.lstrip().startswith(b"<")
        says = f"404 comes as {'a web page' if is_page else 'no JSON'}, not as JSON"
        return differs("errors", says, means, is_harmless=True)
    found = [each for each in differences(error_schema(), [document]) if each.kind != "known word"]
    if not found:
        return holds("errors", "404 comes with the documented code and message")
    seen = f"a {type(document).__name__}".replace("a str", "a string")
    if isinstance(document, dict):
        names = map(shown_name, cast("dict[str, object]", document))
        seen = f"an object of {', '.join(sorted(names))}"
    says = f"404 comes as {seen}, not with error and message"
    return differs("errors", says, means, is_harmless=True)


def words_seen(exchanges: Sequence[Exchange]) -> dict[str, dict[str, str]]:
    """Return the service's words by operation and member, each `documented`, `assumed` or not."""
    seen: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for exchange in exchanges:
        for each in exchange.differences:
            if each.kind in {"word", "known word"}:
                basis = "undeclared" if each.kind == "word" else each.basis
                seen[f"{exchange.operation.name}.{each.place}"][each.seen] = basis
    return dict(sorted(seen.items()))


def about_words(exchanges: Sequence[Exchange]) -> Iterator[Finding]:
    """List the statuses that were seen."""
    seen = words_seen(exchanges)
    marks = {"assumed": " (assumed)", "undeclared": " (not documented)"}
    for what, places in _STATUSES.items():
        words = {word: basis for place in places for word, basis in seen.get(place, {}).items()}
        if words:
            shown = ", ".join(word + marks.get(basis, "") for word, basis in sorted(words.items()))
            yield holds("words", f"statuses of {what} seen: {shown}")


def about_encoding(exchanges: Sequence[Exchange]) -> Iterator[Finding]:
    """Describe how JSON is sent, where it is not sent as JSON."""
    usable = [each.response for each in exchanges if each.error is None]
    types = {each.headers.get("Content-Type", "").partition(";")[0].strip() for each in usable}
    if types - {"application/json"}:
        says = "JSON is sent as text/plain" if "text/plain" in types else "JSON is not sent as such"
        yield differs("encoding", says, _READ, is_harmless=True)
    if any(each.body.startswith(b"\xef\xbb\xbf") for each in usable):
        yield differs("encoding", "JSON begins with a byte order mark", _READ, is_harmless=True)


def about_limits(exchanges: Sequence[Exchange]) -> Iterator[Finding]:
    """Describe how the service refuses what is too fast."""
    for error in (each.error for each in exchanges):
        if isinstance(error, RateLimitedError):
            when = "without" if error.retry_after is None else "with"
            says = f"requests that come too fast are refused by {error.status}, {when} Retry-After"
            yield differs("rate", says, "all traffic pauses, and goes on", is_harmless=True)
            return


def phases_seen(polls: Sequence[Exchange]) -> list[str]:
    """Return the phases of an operation in order, and the word that it ended with."""
    phases = [each.value.phase.value for each in polls if each.error is None]
    words = [
        each.seen
        for poll in polls[-1:]
        for each in poll.differences
        if each.kind in {"word", "known word"} and each.place in _DECIDING
    ]
    return [*(phase for phase in dict.fromkeys(phases) if phase != "finished"), *words]


def about_polls(polls: Sequence[Exchange], subject: str) -> Iterator[Finding]:
    """Describe how long an operation was not there after its dispatch."""
    absent = [each for each in polls if isinstance(each.error, NotFoundError)]
    if absent and polls[-1].error is None:
        says = f"not there for {plural(len(absent), 'poll')} after its dispatch"
        means = "waited for: 404 is taken for that within a minute"
        yield differs(subject, says, means, is_harmless=True)
