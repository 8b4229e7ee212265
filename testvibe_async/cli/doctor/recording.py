"""Recordings: what passed with synthetic values of the same shape, and what has changed since.

Decides what of an exchange is kept: the contract's names and words, the status words of the
service, counts, and the usual names of pages and errors. All else keeps its length, its classes of
characters, the order of ids and the differences of times; the same value is always replaced by the
same one, also in URLs. `check` looks for what was there before the file is written. `compared`
needs no synthetic values: it compares names and types alone.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from functools import cache
from random import Random
from types import NoneType
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from testvibe_async import ConfigError
from testvibe_async.cli.doctor.contract import (
    error_places,
    objects_at,
    operation,
    operations,
    shown_place,
    values_by_place,
)
from testvibe_async.cli.doctor.findings import differs, holds, unchecked
from testvibe_async.testing import RecordedExchange, Recording

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from testvibe_async._wire import Response
    from testvibe_async.cli.doctor.contract import Exchange, Operation, Tap
    from testvibe_async.cli.doctor.findings import Finding

__all__ = ["compared", "load", "preview", "record"]

ATTEMPTS = 10
"""The number of times that other values are drawn, should one hold an original by accident."""

_HEADERS = (
    *("Content-Type", "Content-Encoding", "Link", "Location", "ETag", "Age", "Retry-After"),
    *("Accept-Ranges", "Content-Range", "X-Total-Count"),
)
_SHORT = 4
"""Originals of fewer characters are not looked for: any text may hold them."""

_LONG_NUMBER, _LONGEST_NUMBER = 6, 18
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?')
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?|/Date\(-?\d+([+-]\d{4})?\)/"
)
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}")
_FRACTION = re.compile(r"(?<=:\d\d\.)\d{4,}")
_EPOCH = re.compile(r"1[6-9]\d{8}(\d{3})?")
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_RANGE = re.compile(r"[a-z]{1,5} (\d+-\d+|\*)/(\d+|\*)")
_DIGITS, _HEXADECIMAL = "0123456789", "0123456789abcdef"
_LETTERS = "bcdfghjklmnpqrstvwxz"
"""Without vowels, so that no word comes about by accident."""

_OTHER_LETTERS = "бвгджзклмнпрстфхцчшщ"


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STATUS_MEMBERS = _listed(
    "status state featurestatus overallstatus overallconclusion conclusion verdict kind source"
)
_STATUS_WORDS = _listed("""
    aborted active archived blocked broken building canceled cancelled complete completed created
    done draft ended error errored errors executing expired fail failed failure fine finished flaky
    generated generating idle in init initializing inprogress new not ok out partial partially pass
    passed paused pending planning preparing processing progress queued ready rejected retrying run
    running scheduled skip skipped started starting stopped stopping succeeded success successful
    terminated timed timedout timeout unknown unstable up verifying waiting warming warning with
""")
"""The words that a status may be made of; any other text there is replaced."""

_COUNTS = _listed("total totalcount count page pagesize limit offset skip top status")
_USUAL = _listed("""
    items value values data results rows records nextcursor nextlink nextpage next hasmore hasnext
    pages pagetoken continuationtoken cursor links href error message code title detail type
    instance errors traceid generation @odata.nextlink @odata.count odata prev first last bytes
    default true false null about:blank utf-8 html doctype testvibe example api v1 ops https http
    charset date
""")
"""Names and words that many services have around rows, ids and errors, and in addresses."""

_TYPES = _listed("application/json application/problem+json text/html text/plain text/json")
_ENCODINGS = _listed("gzip deflate br identity")


def load(path: Path) -> Recording:
    """Read a recording.

    Raises:
        ConfigError: It is none, or can't be read.
    """
    try:
        return Recording.load(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no recording of doctor: {error}") from error


def record(tap: Tap) -> Recording:
    """Return what passed, with synthetic values.

    Raises:
        ConfigError: Something of what was there would remain.
    """
    found = 0
    for _ in range(ATTEMPTS):
        disguise = Disguise(tap)
        recording = disguise.recording()
        found = check(recording, disguise)
        if not found:
            return recording
    raise ConfigError(f"nothing is written: {found} of the original texts would remain in the file")


def kept_words(recording: Recording) -> list[str]:
    """Return the service's own words that a recording holds, and the contract does not."""
    words = {
        word
        for exchange in recording.exchanges
        for key, word in _strings(exchange.answer)
        if key.casefold() in _STATUS_MEMBERS and _is_status(word)
    }
    return sorted(word for word in words if word.casefold() not in _vocabulary())


def preview(recording: Recording) -> Iterator[str]:
    """Describe a recording in a few lines, before it is written."""
    names = dict.fromkeys(each.operation for each in recording.exchanges)
    yield f"{len(recording.exchanges)} exchanges of {len(names)} operations; two of the answers:"
    for each in recording.exchanges[:1] + recording.exchanges[-1:]:
        yield f"  {each.method} {each.path}: {each.status} {each.answer[:300]}"
    if words := kept_words(recording):
        yield f"These words of the service are in it as they are: {', '.join(words)}"


def check(recording: Recording, disguise: Disguise) -> int:
    """Return how many originals of four or more characters a recording holds."""
    texts: list[str] = []
    for each in recording.exchanges:
        texts += [unquote(each.path), each.body or "", each.answer]
        texts += [*each.query, *each.query.values(), *each.headers.values()]
    kept = _vocabulary() | {word.casefold() for word in kept_words(recording)}
    words = [word for word in re.findall(r"\w+", " ".join(texts).casefold()) if word not in kept]
    searched, numbers = " ".join(words), {word for word in words if word.isdigit()}
    return sum(
        original in numbers if original.isdigit() else original in searched
        for original in disguise.originals - kept
    )


@cache
def _vocabulary() -> frozenset[str]:
    """Return the names and words that may stay, in lower case: mainly the contract's."""
    found = {*_USUAL, *_STATUS_MEMBERS, *_COUNTS, *_ENCODINGS}
    for each in operations().values():
        found.update(re.findall(r"[a-z]+", each.route))
        for place, declared in [*each.places.items(), *error_places().items()]:
            found.update([*(name.casefold() for name in place), *declared.words])
    return frozenset({*found, *re.findall(r"\w+", " ".join([*found, *_TYPES]))})


def compared(earlier: Recording, tap: Tap) -> Iterator[Finding]:
    """Describe where what passed now differs from an earlier recording, operation by operation."""
    before, now = _answers_in(earlier), _answers_in(Disguise(tap).recording())
    for name, answers in before.items():
        if name not in now:
            yield unchecked(name, "in the recording, and not tried now: see --run and --generate")
        elif changes := list(_changes(operation(name), answers, now[name])):
            yield differs(name, "; ".join(changes), "the service has changed since the recording")
        else:
            yield holds(name, "as in the recording")


Answers: TypeAlias = dict[int, list[object]]
"""The answers to an operation by status, each with its headers as one value."""


def _answers_in(recording: Recording) -> dict[str, Answers]:
    found: dict[str, Answers] = {}
    for each in recording.exchanges:
        try:
            document = json.loads(each.answer.removeprefix("\ufeff"))
        except ValueError:
            document = None
        media_type = each.headers.get("Content-Type", "").partition(";")[0]
        headers = [f"header {name}" for name in each.headers]
        answer = {"answer": document} | dict.fromkeys([f"type {media_type}", *headers])
        found.setdefault(each.operation, {}).setdefault(each.status, []).append(answer)
    return found


def _known_name(name: str) -> str:
    is_ours = name.startswith(("type ", "header ", "answer"))
    return name if is_ours or name.casefold() in _vocabulary() else "(another name)"


def _changes(known: Operation, before: Answers, now: Answers) -> Iterator[str]:
    """Describe what is new, gone or of another type. What data alone may cause is not named."""
    yield from (f"new: status {status}" for status in sorted(now.keys() - before.keys()))
    for status in sorted(now.keys() & before.keys()):
        was = values_by_place(before[status], name_of=_known_name)
        there = values_by_place(now[status], name_of=_known_name)
        for place in sorted({*was, *there}):
            shown, above = f"{status} {shown_place(place)}", place[:-1]
            # A declared member may depend on the state of the thing.
            is_declared = any(place[start:] in known.places for start in range(1, len(place)))
            if place not in was:
                if objects_at(was, above) and not is_declared:
                    yield f"new: {shown}"
            elif place not in there:
                if objects_at(there, above) and 0 < objects_at(was, above) <= len(was[place]):
                    yield f"no longer there: {shown}"
            elif (old := _types(was[place])) and _types(there[place]) - old:
                yield f"{shown}: another type"


def _types(values: Iterable[object]) -> set[type]:
    """Return the types of values; null is any, and whether a number is whole depends on data."""
    return {float if type(each) is int else type(each) for each in values} - {NoneType}


def _strings(text: str) -> Iterator[tuple[str, str]]:
    """Go through the names and strings of a JSON text, each with the name before it."""
    key = ""
    for found in _TOKEN.finditer(text):
        if found[0].startswith('"'):
            value = _unquoted(found[0])
            if text[found.end() :].lstrip().startswith(":"):
                key = value
            yield key, value


def _unquoted(token: str) -> str:
    try:
        return str(json.loads(token, strict=False))
    except ValueError:
        return token


def _is_status(text: str) -> bool:
    """Return whether a text is made of words that a status may have."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text)
    is_word = "".join(parts) == re.sub(r"[ _-]", "", text)
    return is_word and all(part.casefold() in _STATUS_WORDS for part in parts)


class Disguise:
    """Replaces values by synthetic ones; the same always by the same."""

    def __init__(self, tap: Tap) -> None:
        """Look through all that passed, so that numbers can keep their order."""
        self._tap = tap
        self._key = secrets.token_bytes(32)
        self._shift = Recording.START - int(tap.started_at.timestamp())
        self._host = urlsplit(tap.exchanges[0].response.url).netloc if tap.exchanges else ""
        self.originals: set[str] = set()
        """The words that must not remain, in lower case."""

        self._numbers: dict[str, str] = {}
        self._note_all(tap.exchanges)

    # What is there.

    def _note_all(self, exchanges: Sequence[Exchange]) -> None:
        digits: set[str] = set()
        for each in exchanges:
            texts = [each.response.body.decode(errors="replace"), json.dumps(each.request.body)]
            texts += [*each.response.headers.values(), unquote(each.request.path), self._host]
            texts += [*each.request.query.values(), *map(unquote, each.request.parameters.values())]
            texts += [value for _, value in _strings(texts[0])]
            for text in texts:
                digits.update(re.findall(r"\d+", text))
                self._note(_ESCAPE.sub(" ", _TIME.sub(" ", text)))
        for length in range(2, _LONGEST_NUMBER):
            alike = sorted(each for each in digits if len(each) == length and each[0] != "0")
            every = range(10 ** (length - 1), 10**length)
            drawn = sorted(self._rng(f"numbers of {length}").sample(every, len(alike)))
            self._numbers |= dict(zip(alike, map(str, drawn), strict=True))

    def _note(self, text: str) -> None:
        for word in re.findall(r"\w{4,}", text.casefold()):
            is_short = word.isdigit() and len(word) < _LONG_NUMBER
            if word.strip("_") and not is_short and not _EPOCH.fullmatch(word):
                self.originals.add(word)

    def _rng(self, purpose: str) -> Random:
        return Random(hmac.digest(self._key, purpose.encode("utf-8", "replace"), "sha256"))  # noqa: S311

    # What is written.

    def recording(self) -> Recording:
        """Return all that passed, with synthetic values."""
        return Recording(tuple(map(self._exchange, self._tap.exchanges)))

    def _exchange(self, exchange: Exchange) -> RecordedExchange:
        """Return an exchange with synthetic values."""
        request, response = exchange.request, exchange.response
        method, _, template = operation(request.endpoint.name).route.partition(" ")
        names = {name: self._segment(value) for name, value in request.parameters.items()}
        date = response.date
        skew = None
        if date is not None:
            skew = round((date - self._tap.started_at).total_seconds() - exchange.at)
        return RecordedExchange(
            at=round(exchange.at, 2),
            operation=request.endpoint.name,
            method=method,
            path=template.format_map(names),
            query=self._query(request.query),
            body=None if request.body is None else self.body(json.dumps(request.body)),
            status=response.status,
            headers=self._headers(response),
            skew=skew,
            answer=self.body(response.body.decode(errors="replace")),
        )

    def body(self, text: str) -> str:
        """Return a body: JSON, or any other text."""
        bare = text.removeprefix("\ufeff")
        try:
            json.loads(bare)
        except (ValueError, RecursionError):
            return self.text(text)
        moved = Recording.shift_times(bare, self._shift)
        moved = _FRACTION.sub(lambda found: _digits(found[0], self._rng(found[0])), moved)
        key = ""

        def replaced(found: re.Match[str]) -> str:
            nonlocal key
            token = found[0]
            if not token.startswith('"'):
                return self._number(token, key)
            value = _unquoted(token)
            if moved[found.end() :].lstrip().startswith(":"):
                key = value
                other = value if value.casefold() in _vocabulary() else self.text(value)
            else:
                other = self.value(value, key)
            return token if other == value else json.dumps(other, ensure_ascii="\\u" in token)

        return text[: len(text) - len(bare)] + _TOKEN.sub(replaced, moved)

    def value(self, text: str, key: str = "") -> str:
        """Return a string of an answer."""
        is_status = key.casefold() in _STATUS_MEMBERS and _is_status(text)
        if is_status or text.casefold() in _vocabulary() or _TIME.fullmatch(text):
            return text
        if text.isdecimal():
            return text if len(text) == 1 else self._numbers.get(text) or self.text(text)
        if re.match(r"https?://|/", text):
            return self._url(text)
        return self.text(text)

    def text(self, text: str) -> str:
        """Return a text of the same length, with the same classes of characters."""
        rng = self._rng(text.casefold())
        is_hexadecimal = bool(_GUID.fullmatch(text))
        return "".join(_character(each, rng, is_hexadecimal=is_hexadecimal) for each in text)

    def _number(self, token: str, key: str) -> str:
        name = key.casefold()
        if (name in _COUNTS and len(token) < _LONG_NUMBER) or _EPOCH.fullmatch(token):
            return token
        if not token.isdigit():
            rng = self._rng(token)
            digits = r"\d+" if "e" in token.casefold() else r"\d{4,}"
            return re.sub(digits, lambda found: _digits(found[0], rng), token)
        if len(token) < _SHORT and not name.endswith("id"):
            return token
        return self._numbers.get(token) or (token if len(token) == 1 else self.text(token))

    def _segment(self, segment: str) -> str:
        return quote(self.value(unquote(segment)), safe="")

    def _query(self, query: Mapping[str, str]) -> dict[str, str]:
        return {
            name if name.casefold() in _vocabulary() else self.text(name): (
                self._number(value, name) if value.isdecimal() else self.value(value)
            )
            for name, value in query.items()
        }

    def _url(self, text: str) -> str:
        try:
            parts = urlsplit(text)
        except ValueError:
            return self.text(text)
        path = "/".join(
            part if part.casefold() in _vocabulary() else self._segment(part)
            for part in parts.path.split("/")
        )
        query = urlencode(self._query(dict(parse_qsl(parts.query, keep_blank_values=True))))
        origin = f"{parts.scheme}://{self.text(parts.netloc)}" if parts.scheme else ""
        if parts.netloc == self._host:
            origin = Recording.ORIGIN
        return f"{origin}{path}?{query}" if query else f"{origin}{path}"

    def _headers(self, response: Response) -> dict[str, str]:
        found = {name: response.headers[name] for name in _HEADERS if name in response.headers}
        return {name: self._header(name, value) for name, value in found.items()}

    def _header(self, name: str, value: str) -> str:
        media_type = value.partition(";")[0].strip().casefold()
        if name == "Content-Type" and media_type in _TYPES:
            return f"{media_type}; charset=utf-8" if "utf-8" in value.casefold() else media_type
        if name == "Link":
            links = re.findall(r'<([^<>]*)>[^,<]*rel="?(next|prev|first|last)', value)
            return ", ".join(f'<{self._url(url)}>; rel="{rel}"' for url, rel in links)
        if name == "Location":
            return self._url(value)
        is_number = value.isdecimal() and len(value) < _LONG_NUMBER
        if is_number or _RANGE.fullmatch(value) or value.casefold() in _ENCODINGS:
            return value
        return self.text(value)


def _character(character: str, rng: Random, *, is_hexadecimal: bool) -> str:
    alphabet = ""
    if is_hexadecimal and character != "-":
        alphabet = _HEXADECIMAL
    elif character.isascii():
        alphabet = _DIGITS if character.isdigit() else _LETTERS if character.isalpha() else ""
    elif character.isprintable() and not character.isspace():
        alphabet = _OTHER_LETTERS
    drawn = rng.choice(alphabet or character)
    return drawn.upper() if character.isupper() else drawn


def _digits(text: str, rng: Random) -> str:
    # JSON has no number of several digits that begins with 0.
    return rng.choice(_DIGITS[1:]) + "".join(rng.choice(_DIGITS) for _ in text[1:])
