"""The meaning of exchanges: a finding for each way in which answers differ. Pure.

`CHECKS` is the table of the operations that read, with what depends on each.

What differs and can be read has no consequences: then a command does the same as elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from attrs import frozen

from testvibe_async import VibeError, errors
from testvibe_async._config import Settings, is_documented_key, is_loopback
from testvibe_async._wire import UnreadableError, read
from testvibe_async.cli.doctor.contract import Exchange, all_of, is_word, shown_name
from testvibe_async.cli.doctor.findings import Finding, Verdict, differs, holds, varies
from testvibe_async.cli.words import plural, reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from testvibe_async import Feature, Listing, Run


MAX_SKEW = 5.0
"""Seconds that two clocks may differ by: an HTTP date is good to one, and the way takes some."""


@frozen(kw_only=True)
class Check:
    """One operation that reads; the client's method of that name calls it."""

    of: str = "project"
    """The thing that it is called with: `project` for none but that, `run`, `feature` or `file`."""

    commands: str = ""
    """The commands that need it; empty for none."""

    instead: str = ""
    """The commands that work without it, or what does not."""

    cut: str = "the command that lists them shows a part"
    """The consequence of a list that is cut."""

    word: str = "such a run counts as neither passed nor failed: exit code 5"
    """The consequence of a status that is not known."""


_LEFT_OUT = "run --all and generate --all leave such features out"

CHECKS: dict[str, Check] = {
    "list_projects": Check(commands="projects and use"),
    "get_project": Check(),
    "list_features": Check(
        commands="features list, run --all, generate --all and patterns such as 'Log*'",
        instead="; run and generate work with features by name",
        cut="run --all, generate --all and patterns such as 'Log*' are refused; name the features, "
        "and they work",
        word=_LEFT_OUT,
    ),
    "list_runs": Check(
        commands="runs list",
        instead="; run --wait polls each run by itself, and can't find a run whose dispatch got "
        "no answer",
        cut="runs list is not the whole; runs are polled by their ids",
    ),
    "get_run": Check(of="run", commands="run --wait, wait and runs show"),
    "diagnose_run": Check(of="run", commands="runs diagnose"),
    "get_run_artifacts": Check(of="run", commands="runs artifacts, runs download and --artifacts"),
    "get_feature": Check(of="feature", commands="features show", word=_LEFT_OUT),
    "get_generation_status": Check(
        of="feature",
        commands="generate --watch and generation status",
        word="such a generation counts as neither generated nor failed: exit code 5",
    ),
    "get_generation_log": Check(of="feature", commands="generation log"),
    "list_files": Check(commands="files list"),
    "read_file": Check(of="file", commands="files get"),
    "list_configs": Check(commands="configs"),
}
"""The operations that read, in the order in which they are checked."""

_NOTHING = "no command works"
_READ = "read all the same"
_DIFFERENCES = {
    "undeclared": ("there and nowhere documented: {places} ({details})", "shown by --json alone"),
    "missing": ("not there: {places}", "shown empty"),
    "unreadable": ("{places}: {details}", "they can't be read, and are shown empty"),
    "form": ("{places}: written as {details}", _READ),
    "word": ("{places} has words that are not documented: {details}", _READ),
}
"""The sentence for each kind of difference, and its consequence."""

_NEEDED = {"name", "url"}
"""The members without which a command can't do its work."""

_DECIDING = {"status", "featureStatus"}
"""The members whose words decide the state of an operation or a feature."""


def is_lost(error: VibeError, exchanges: Sequence[Exchange], *, has_answered: bool = True) -> bool:
    """Return whether a call got no answer of the service.

    Args:
        error: The error of the call.
        exchanges: Its exchanges.
        has_answered: True if the service answered before, so that a page or a redirect is not all
            that is at this address.
    """
    is_refusal = isinstance(error, errors.ResponseError) and not isinstance(
        error, errors.ServerError | errors.RateLimitedError
    )
    if not exchanges or not is_refusal:
        return True
    answer = exchanges[-1].response
    is_page = answer.status == HTTPStatus.OK and answer.body.lstrip().startswith(b"<")
    return has_answered and (is_page or 300 <= answer.status < 400)  # noqa: PLR2004


def about_outage(error: VibeError, left: Collection[str]) -> Finding:
    """Describe the outage that ended the checks.

    Args:
        error: The error of the last call.
        left: The checks that were not made; none if the service never answered.
    """
    says, advice = "it does not answer", "check the address, the network and a proxy on the way"
    if left:
        says, advice = "it stopped answering", f"not checked: {', '.join(left)}; try again later"
    return Finding("service", says, advice, quoted=reason(error), verdict=Verdict.OUTAGE)


def about_obstacle(exchange: Exchange) -> Finding | None:
    """Describe why the first answer makes further ones pointless; None if it does not."""
    error = exchange.error
    if isinstance(error, errors.UnauthorizedError | errors.ForbiddenError):
        means = f"{_NOTHING}: testvibe-async login stores another; TESTVIBE_API_KEY overrides it"
        return differs("key", f"refused: {error.status}", means, quoted=reason(error))
    if error is not None and not error.is_from_service:
        says = f"answers {exchange.response.status}, and not as the service does"
        means = (
            f"{_NOTHING}: the address is not the service's, or something stands before it; if the "
            "service is below a path, the address ends with that"
        )
        return differs("server", says, means, quoted=reason(error))
    return None


def about_way(settings: Settings, exchange: Exchange) -> Iterator[Finding]:
    """Describe the address, the key and the clock, by the first answer of the service."""
    parts = urlsplit(settings.server)
    if parts.scheme == "https":
        yield holds("server", "answers by HTTPS, with a certificate that is valid")
    elif is_loopback(parts.hostname or ""):
        yield holds("server", "answers by HTTP, on this machine")
    else:
        says = "answers by HTTP: the key and all else travel unencrypted"
        yield differs("server", says, "everybody on the way can read the key: use https://")
    if exchange.error is None and is_documented_key(settings.api_key):
        yield holds("key", "accepted, and of the documented form")
    elif exchange.error is None:
        says = "accepted, and not of the documented form (tvb_ and 43 letters or digits)"
        yield varies("key", says, "used as it is")
    yield _about_clock(exchange)


def _about_clock(exchange: Exchange) -> Finding:
    date, ours = exchange.response.date, exchange.response.received_at
    if date is None:
        means = "a run whose dispatch got no answer is not found"
        return differs("clock", "the service does not say what time it has", means)
    skew = round((date - ours).total_seconds())
    if abs(skew) <= MAX_SKEW:
        return holds("clock", "the service's and ours agree")
    says = f"the service's is {abs(skew)} s {'ahead of' if skew > 0 else 'behind'} ours"
    return varies("clock", says, "times that are shown are the service's")


def about_answers(value: Any, exchanges: Sequence[Exchange]) -> Iterator[Finding]:  # noqa: ANN401 - of any call
    """Describe how the answers to one call hold against the contract.

    Args:
        value: The value of the call; None if it has none.
        exchanges: Its exchanges; what was refused for its rate, or failed, was asked again.
    """
    pages = [each for each in exchanges if each.error is None] or exchanges[-1:]
    for first in pages[:1]:
        yield from findings_of(first)
        if value is not None and first.is_list:
            yield from _about_pages(pages, value)


def findings_of(exchange: Exchange) -> list[Finding]:
    """Describe one answer, one line for each way in which it differs."""
    if exchange.error is not None:
        return [_unusable(exchange)]
    return list(_found(exchange)) or [holds(exchange.name, _agreement(exchange))]


def _agreement(exchange: Exchange) -> str:
    """Name what an answer agrees with: what is documented, or what is only assumed."""
    bases = {*all_of("x-basis", exchange.contract, alternatives=False)}
    says = f"as {bases.pop()}" if len(bases) == 1 else "as documented, in parts as assumed"
    if not exchange.is_list:
        return says
    rows = len(exchange.value)
    return f"{says}, {plural(rows, 'row')}" if rows else f"{says}; no rows, so that none was seen"


def _unusable(exchange: Exchange) -> Finding:
    """Describe an answer that is no success, or none that can be used."""
    error, name, route = exchange.error, exchange.name, exchange.request.endpoint.route
    assert error is not None
    # A dispatch is needed by the command of its name, `run` or `generate`.
    check = CHECKS.get(name) or Check(commands=name.partition("_")[0])
    setting, quoted = "", reason(error)
    if isinstance(error, errors.EndpointNotFoundError):
        says = f"{route}: {error.status}; this route is assumed, and not there"
        setting, quoted = f'{name} = "{_elsewhere(route)}"', ""
    elif isinstance(error, errors.MalformedResponseError):
        says = f"{route}: the answer can't be read"
    else:
        says = f"{route}: {error.status} {shown_name(error.code or '')}".rstrip()
    needed = f"these do not work here: {check.commands}{check.instead}"
    make, means = (differs, needed) if check.commands else (varies, "no command needs it")
    return make(name, says, means, setting=setting, quoted=quoted)


def _elsewhere(route: str) -> str:
    """Return a route with a gap to be filled in, and with its placeholders."""
    above, _, last = route.rpartition("/")
    return f"{above.rpartition('/')[0]}/…/{last}" if "{" in last else f"{above}/…"


def _found(exchange: Exchange) -> Iterator[Finding]:
    """Yield findings for the differences of a usable answer, grouped by kind."""
    name, status = exchange.name, exchange.response.status
    if exchange.is_list and exchange.value.extra:
        beside = ", ".join(sorted(map(shown_name, exchange.value.extra)))
        yield varies(name, f"its rows are in an object, beside {beside}", _READ)
    details: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for kind, place, detail in exchange.differences:
        details[kind, place].append(detail)
    places: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for (kind, place), found in details.items():
        places[kind, ", ".join(found)].append(place)
    for (kind, detail), found in places.items():
        says, means = _DIFFERENCES[kind]
        is_serious = kind == "unreadable"
        if kind == "word" and name in CHECKS and _DECIDING.intersection(found):
            means, is_serious = CHECKS[name].word, True
        elif kind == "missing" and _NEEDED.intersection(found):
            means, is_serious = "what needs it does not work", True
        text = says.format(places=", ".join(found), details=detail)
        yield (differs if is_serious else varies)(name, text, means)
    if faults := len(getattr(exchange.value, "unreadable", ())):
        means = "those rows are left out, and the list is incomplete"
        yield differs(name, f"{plural(faults, 'row')} can't be read", means)
    if status != exchange.usual_status:
        yield varies(name, f"answers {status}, not {exchange.usual_status}", "taken for the same")


def _about_pages(pages: Sequence[Exchange], rows: Listing[object]) -> Iterator[Finding]:
    """Describe the paging of a list, by its exchanges and their results."""
    name = pages[0].name
    first = plural(len(pages[0].value), "row")
    if rows.incomplete is not None:
        says = f"cut after {first}, and the rest can't be asked for"
        yield differs(name, says, CHECKS[name].cut, quoted=reason(rows.incomplete))
    elif len(pages) > 1:
        yield varies(name, f"in pages of {first}", "put together")


def about_runs(
    limited: Sequence[Run] | None, exchanges: Sequence[Exchange], *, runs: Sequence[Run]
) -> Iterator[Finding]:
    """Describe in which order runs are listed, and whether a limit is accepted.

    Args:
        limited: The list with the limit 1; None if it is refused.
        exchanges: The exchanges for that.
        runs: The list without a limit.
    """
    name, last, ids = "list_runs", exchanges[-1], [run.run_id for run in runs]
    newest = max(ids, default=0)
    if limited is None:
        means = "runs list --limit does not work; runs are polled by their ids"
        quoted = reason(last.error) if last.error is not None else ""
        yield differs(name, f"a limit is refused: {last.response.status}", means, quoted=quoted)
    elif ids != sorted(ids, reverse=True) or any(run.run_id < newest for run in limited[:1]):
        means = "runs list --limit shows the oldest, and a run whose dispatch got no answer may not"
        yield differs(name, "not the newest first", f"{means} be found")


def about_errors(_run: Run | None, exchanges: Sequence[Exchange]) -> Iterator[Finding]:
    """Describe an error, by the answer for a run that is not there."""
    error, response = exchanges[-1].error, exchanges[-1].response
    if not isinstance(error, errors.NotFoundError):
        means = "a run that is not there is waited for in vain"
        yield differs("errors", f"a run that is not there: {response.status}, not 404", means)
        return
    try:
        document: Any = read(response.body, object)
    except UnreadableError:
        seen = "no JSON"
    else:
        members = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
        if all(isinstance(members.get(name), str) for name in ("error", "message")):
            yield holds("errors", "404 comes with the documented code and message")
            return
        names = ", ".join(sorted(map(shown_name, members)))
        seen = f"an object of {names}" if names else "a text"
    means = "the status decides, and what can be read of the reason is shown"
    yield varies("errors", f"404 comes with {seen}, not with error and message", means)


def about_name(
    _feature: Feature | None, exchanges: Sequence[Exchange], *, what: str
) -> Iterator[Finding]:
    """Describe whether a feature was found by its name."""
    error = exchanges[-1].error
    if error is None:
        yield holds("names", f"a feature is found by its name {what}")
        return
    means = "use the id of such a feature" if "slash" in what else "use ids, or names as they are"
    says = f"a feature is not found by its name {what}: {exchanges[-1].response.status}"
    yield differs("names", says, means, quoted=reason(error))


def about_watch(subject: str, polls: Sequence[Exchange], quoted: str) -> Iterator[Finding]:
    """Describe an operation that was observed to its end."""
    seen = [each.value for each in polls if each.error is None]
    words = dict.fromkeys(
        [
            *(each.phase.value for each in seen if not each.is_finished),
            *(each.status for each in seen[-1:] if is_word(each.status or "")),
        ]
    )
    yield holds(subject, f"seen to its end: {', '.join(words)}", quoted=quoted)
    absent = [each for each in polls if isinstance(each.error, errors.NotFoundError)]
    if absent and polls[-1].error is None:
        says = f"not there for {plural(len(absent), 'poll')} after its dispatch"
        means = "waited for: 404 is taken for that within a minute"
        yield varies(subject, says, means)
