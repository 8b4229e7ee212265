"""What several answers say together: pages, limits, names, errors, words, encodings. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from testvibe_async import NotFoundError
from testvibe_async._wire import UnreadableError, read
from testvibe_async.cli.doctor.contract import error_answer
from testvibe_async.cli.doctor.differences import differences
from testvibe_async.cli.doctor.findings import differs, holds
from testvibe_async.cli.doctor.shapes import Shape
from testvibe_async.cli.words import plural, reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from testvibe_async import Feature, ResponseError, Run
    from testvibe_async.cli.doctor.answers import Answer
    from testvibe_async.cli.doctor.contract import Declared
    from testvibe_async.cli.doctor.findings import Finding

__all__ = [
    "about_encoding",
    "about_errors",
    "about_limits",
    "about_name",
    "about_pages",
    "about_runs",
    "about_words",
    "names_to_try",
    "sample_feature",
    "sample_run",
    "words_seen",
]

_CUT = {
    "list_features": "run --all, generate --all and patterns such as 'Log*' are refused; name the "
    "features, and they work",
    "list_runs": "runs list is not the whole; runs are polled by their ids",
}


def sample_run(runs: Sequence[Run]) -> int | None:
    """Choose a run to read: a failed one says most; None where there is none."""
    ranked = sorted(runs, key=lambda run: (run.is_failure, run.is_finished), reverse=True)
    return ranked[0].run_id if ranked else None


def sample_feature(features: Sequence[Feature]) -> Feature | None:
    """Choose a feature to read: one that has tests; None where there is none."""
    return next((each for each in features if each.has_tests), features[0] if features else None)


def names_to_try(features: Sequence[Feature]) -> Iterator[tuple[str, str]]:
    """Choose names by which features are to be found, and say what each of them shows."""
    named = [each.name for each in features if each.name and not each.name.isdigit()]
    if named:
        other = named[0].swapcase()
        is_same = other.casefold() == named[0].casefold()
        yield (other, "in any case") if is_same else (named[0], "as it is")
    if slashed := [name for name in named if "/" in name]:
        yield slashed[0], "with a slash in it"


def about_name(answer: Answer, what: str) -> Finding:
    """Say whether a feature was found by its name."""
    if answer.error is None:
        return holds("names", f"a feature is found by its name {what}")
    means = "use the id of such a feature" if "slash" in what else "use ids, or names as they are"
    says = f"a feature is not found by its name {what}: {answer.response.status}"
    return differs("names", says, means=means, quoted=reason(answer.error))


def about_pages(answer: Answer, page: Answer | None) -> Finding:
    """Say how a list is paged, by its first page and the second one, if it could be asked for."""
    name = answer.operation.name
    means = _CUT.get(name, "the command that lists them shows a part")
    if isinstance(answer.following, str):
        says = f"cut after {plural(answer.shape.count, 'row')}, and the rest can't be asked for"
        return differs(name, says, means=means, quoted=answer.following)
    if page is None or page.error is not None or page.value == answer.value:
        says = "in pages, and the second one can't be had"
        return differs(name, says, means=means)
    says = f"in pages of {plural(answer.shape.count, 'row')}"
    return differs(name, says, means="put together", is_harmless=True)


def about_runs(runs: Answer, limited: Answer) -> Iterator[Finding]:
    """Say in which order runs are listed, and whether a limit is kept.

    Args:
        runs: The list without a limit.
        limited: The list with the limit 1.
    """
    name, rows = "list_runs", runs.value
    ids = [run.run_id for run in rows]
    newest_first = ids == sorted(ids, reverse=True)
    if len(ids) > 1 and not newest_first:
        means = (
            "runs list --limit shows the oldest, and a run whose dispatch got no answer may not "
            "be found"
        )
        yield differs(name, "not the newest first", means=means)
    if limited.error is not None:
        says = f"a limit is refused: {limited.response.status}"
        means = "runs list --limit does not work; runs are polled by their ids"
        yield differs(name, says, means=means, quoted=reason(limited.error))
    elif len(limited.value) > 1:
        yield differs(name, "a limit is not kept", means="more rows are read than needed")
    elif newest_first and len(ids) > 1 and limited.value[0].run_id != ids[0]:
        yield differs(
            name, "a limit does not leave the newest", means="runs list --limit shows old runs"
        )


def about_errors(answer: Answer) -> Iterator[Finding]:
    """Say how an error looks, by the answer for a run that is not there."""
    status = answer.response.status
    if not isinstance(answer.error, NotFoundError):
        means = "a run that is not there is waited for in vain"
        yield differs("errors", f"a run that is not there: {status}, not 404", means=means)
        return
    means = "the status decides, and what can be read of the reason is shown"
    shape = Shape()
    try:
        shape.add(read(answer.response.body, object), error_answer())
    except UnreadableError:
        is_page = answer.response.body.lstrip().startswith(b"<")
        says = f"404 comes as {'a web page' if is_page else 'no JSON'}, not as JSON"
        yield differs("errors", says, means=means, is_harmless=True)
        return
    found = list(differences(error_answer(), shape))
    if not found:
        yield holds("errors", "404 comes with the documented code and message")
        return
    says = f"404 comes as {_members(shape)}, not with error and message"
    yield differs("errors", says, means=means, is_harmless=True)


def _members(shape: Shape) -> str:
    names = [*shape.members, *shape.others]
    return f"an object of {', '.join(sorted(names))}" if names else shape.text


def words_seen(answers: Iterable[Answer]) -> dict[str, dict[str, str]]:
    """Return the service's words by operation and member, each `documented`, `assumed` or not."""
    seen: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def visit(declared: Declared, shape: Shape, place: str) -> None:
        for word in sorted(shape.words):
            seen[place][word] = declared.words.get(word.casefold(), "undeclared")
        for name, member in shape.members.items():
            visit(declared.members[name], member, f"{place}.{name}")
        if shape.items is not None and declared.items is not None:
            visit(declared.items, shape.items, f"{place}[]")

    for answer in answers:
        visit(answer.operation.row, answer.shape, answer.operation.name)
    return dict(sorted(seen.items()))


_STATUSES = {
    "runs": ("list_runs.status", "get_run.status"),
    "features": ("list_features.status", "get_feature.status"),
    "generations": ("get_generation_status.featureStatus",),
}


def about_words(answers: Sequence[Answer]) -> Iterator[Finding]:
    """List the statuses that were seen."""
    seen = words_seen(answers)
    for what, places in _STATUSES.items():
        words = {word: basis for place in places for word, basis in seen.get(place, {}).items()}
        if words:
            shown = ", ".join(_marked(word, basis) for word, basis in sorted(words.items()))
            yield holds("words", f"statuses of {what} seen: {shown}")


def _marked(word: str, basis: str) -> str:
    marks = {"assumed": " (assumed)", "undeclared": " (not documented)"}
    return word + marks.get(basis, "")


def about_encoding(answers: Iterable[Answer]) -> Iterator[Finding]:
    """Say how JSON is sent, where it is not sent as JSON."""
    usable = [answer.response for answer in answers if answer.error is None]
    types = {each.headers.get("Content-Type", "").partition(";")[0].strip() for each in usable}
    if types - {"application/json"}:
        says = "JSON is sent as text/plain" if "text/plain" in types else "JSON is not sent as such"
        yield differs("encoding", says, means="read all the same", is_harmless=True)
    if any(each.body.startswith(b"\xef\xbb\xbf") for each in usable):
        says = "JSON begins with a byte order mark"
        yield differs("encoding", says, means="read all the same", is_harmless=True)


def about_limits(refusals: Sequence[ResponseError]) -> Iterator[Finding]:
    """Say how the service refuses what is too fast."""
    if not refusals:
        return
    first = refusals[0]
    when = "without" if first.retry_after is None else "with"
    says = f"requests that come too fast are refused by {first.status}, {when} Retry-After"
    yield differs("rate", says, means="all traffic pauses, and goes on", is_harmless=True)
