"""Recordings: what passed, with synthetic values of the same shape.

Decides what of an exchange is kept: the names and status words of the contract, counts, and the
usual names of pages and errors. Everything else is replaced: a text keeps its length and classes of
characters, ids keep their order, and times their differences. The same value always becomes the
same one, also in URLs. `leaks` looks for what was there before the file is written.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from random import Random
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

from testvibe_async import ConfigError
from testvibe_async._core.util import API_PATH
from testvibe_async._core.wire import (
    Endpoints,
    UnreadableError,
    openapi_document,
    read,
    says_in_flight,
)
from testvibe_async.cli.doctor.exchanges import DEFAULT_FILE, NAMES, STATUS_MEMBERS, WORDS
from testvibe_async.models import DEFAULT_CONFIG
from testvibe_async.testing import RecordedExchange, Recording

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testvibe_async.cli.doctor.exchanges import Exchange, Tap

_HEADERS = ("Content-Type", "Content-Encoding", "Link", "Location", "ETag", "Accept-Ranges")
_COUNTING_HEADERS = ("Age", "Retry-After", "Content-Range", "X-Total-Count")

_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?|/Date\(-?\d+([+-]\d{4})?\)/"
)
_NO_TIME = "0001-01-01T00:00:00"
"""The instant that .NET writes for a missing one."""

_ID = re.compile(r'id"\s*:\s*"?([0-9]{1,18})"?\s*[,}\]]|/([0-9]{1,18})(?![^/\n])', re.IGNORECASE)
_COUNT = re.compile(r"[0-9]{1,5}")
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)")
"""A character in JSON that would else become a part of the word behind it."""

_PART = re.compile(r'([^\s/?&=:#;,"<>]+)(=?)')
_DIGITS = "123456789"
"""Without 0, so that what is drawn is a number in JSON."""

_LETTERS = "bcdfghjklmnpqrstvwxz"
"""Without vowels, so that no word comes about by accident."""

_OTHERS = "бвгджзклмнпрстфхцчшщ"
_BY_ACCIDENT = re.compile(f"[{_DIGITS}{_LETTERS}{_OTHERS}]{{,9}}|[0-9]{{,5}}")
"""The words that may be drawn although they were there, and counts."""

_WORD_NAMES = {*map(str.casefold, STATUS_MEMBERS), "error", "code"}
_COUNT_NAMES = {
    *("total", "passed", "failed", "other", "totalcount", "count", "page", "pagesize", "limit"),
    *("offset", "skip", "top", "status"),
}
_USUAL = """
    items value values data results rows records nextcursor nextlink nextpage next hasmore hasnext
    pages pagetoken continuationtoken cursor links href error message code title detail type
    instance errors traceid generation @odata.nextlink @odata.count prev first last rel
    bytes testvibe.example http https charset utf-8 gzip deflate br identity
    application json problem+json text plain html true false null
"""
"""Names and words that many services have around rows and errors, in headers and addresses."""

_CONSTANTS = {DEFAULT_CONFIG, DEFAULT_FILE}
"""Names that the documentation gives."""

_VOCABULARY = {
    *(*_USUAL.split(), *_COUNT_NAMES, *map(str.casefold, NAMES)),
    *re.findall(r"\w+", " ".join([API_PATH, *openapi_document()["paths"]])),
}
"""The names of members and parameters, and the parts of addresses, that may stay."""


def disguised(tap: Tap) -> tuple[Recording, list[str]]:
    """Return what passed with synthetic values, and a few lines that describe it.

    Raises:
        ConfigError: Something of what was there would remain.
    """
    original = "\n".join(map(_original, tap.exchanges))
    disguise = Disguise(original, tap)
    recording = Recording(tuple(map(disguise.exchange, tap.exchanges)))
    if leaked := leaks(original, recording):
        raise ConfigError(
            f"nothing is written: {leaked} of the original texts would remain in the file"
        )
    made = recording.exchanges
    names = {each.operation for each in made}
    return recording, [
        f"{len(made)} exchanges of {len(names)} operations; two of the answers:",
        *(
            f"  {each.method} {each.path}: {each.status} {each.answer[:300]}"
            for each in made[:1] + made[-1:]
        ),
    ]


def leaks(original: str, recording: Recording) -> int:
    """Return how many words of four or more characters of the originals a recording holds."""
    written = "\n".join(
        _text_of(each.path, each.query, each.headers, f"{each.body}", each.answer)
        for each in recording.exchanges
    )
    known = _words_in(" ".join([*_VOCABULARY, *WORDS, *_CONSTANTS]))
    remaining = _words_in(original) & _words_in(written) - known
    return sum(not (_BY_ACCIDENT.fullmatch(word) or says_in_flight(word)) for word in remaining)


def _words_in(text: str) -> set[str]:
    plain = _ESCAPE.sub(" ", _TIME.sub(" ", text))
    return {*re.findall(r"[^\W_]{4,}", plain.casefold())}


def _original(exchange: Exchange) -> str:
    """Return all text of an exchange that a recording could hold."""
    request, response = exchange.request, exchange.response
    body = json.dumps(request.body)
    return _text_of(request.path, request.query, response.headers, body, _answer(exchange))


def _answer(exchange: Exchange) -> str:
    return exchange.response.body.decode("utf-8-sig", errors="replace")


def _text_of(path: str, query: Mapping[str, str], headers: Mapping[str, str], *bodies: str) -> str:
    """Return all text of an exchange, without escapes."""
    texts = [path, *query, *query.values(), *headers.values()]
    for body in bodies:
        try:
            texts.append(json.dumps(read(body.encode(), object), ensure_ascii=False))
        except (UnreadableError, RecursionError):
            texts.append(body)
    return "\n".join(unquote(unquote(text)) for text in texts)  # An address may hold another.


class Disguise:
    """Replaces values by synthetic ones; the same always by the same."""

    def __init__(self, original: str, tap: Tap) -> None:
        """Read all that was there, so that ids can keep their order."""
        self._key = secrets.token_bytes(32)
        self._started_at = tap.started_at
        self._shift = Recording.START - int(tap.started_at.timestamp())
        self._origin = tap.exchanges[0].response.url.partition(API_PATH)[0] if tap.exchanges else ""
        ids = sorted({found[1] or found[2] for found in _ID.finditer(original)}, key=int)
        drawn = sorted(self._rng("ids").sample(range(10**8, 10**9), len(ids)))
        self._ids = dict(zip(ids, map(str, drawn), strict=True))

    def _rng(self, purpose: str) -> Random:
        return Random(hmac.digest(self._key, purpose.encode("utf-8", "replace"), "sha256"))  # noqa: S311

    def exchange(self, exchange: Exchange) -> RecordedExchange:
        """Return an exchange with synthetic values."""
        request, response, skew = exchange.request, exchange.response, None
        # Where the settings have another route, the documented one is recorded.
        endpoint = getattr(Endpoints, exchange.name.upper())
        path = {name: self._value(unquote(text)) for name, text in request.parameters.items()}
        if response.date is not None:
            skew = round((response.date - self._started_at).total_seconds() - exchange.at)
        headers = {name: self._address(response.headers.get(name, "")) for name in _HEADERS}
        for name in _COUNTING_HEADERS:
            headers[name] = self._address(response.headers.get(name, ""), "count")
        return RecordedExchange(
            at=round(exchange.at, 2),
            operation=exchange.name,
            method=endpoint.method,
            path=endpoint.path.format_map({name: quote(path[name], safe="") for name in path}),
            query={
                self._name(name): self._value(text, name) for name, text in request.query.items()
            },
            body=None if request.body is None else json.dumps(self._value(request.body)),
            status=response.status,
            headers={name: text for name, text in headers.items() if text},
            skew=skew,
            answer=self._answer(_answer(exchange)),
        )

    def _answer(self, text: str) -> str:
        """Return an answer: JSON, or any other text."""
        try:
            return json.dumps(self._value(read(text.encode(), object))) if text.strip() else text
        except (UnreadableError, RecursionError):
            return self.text(text)

    def _value(self, value: Any, name: str = "") -> Any:  # noqa: ANN401 - JSON
        """Return the value of a member or a parameter, or of an element of it."""
        match value:
            case dict():
                members = cast("dict[str, Any]", value)
                return {self._name(key): self._value(each, key) for key, each in members.items()}
            case list():
                return [self._value(each, name) for each in value]  # pyright: ignore[reportUnknownVariableType]
            case str():
                return self._text(value, name)
            case None | bool():
                return value
            case _:
                return self._number(json.dumps(value), name)

    def _number(self, number: str, name: str) -> Any:  # noqa: ANN401 - int or float
        moved = Recording.shift_times(f"[{number}]", self._shift)[1:-1]
        if moved == number or not name.endswith("Utc"):
            moved = re.sub(r"\d+", lambda found: self._text(found[0], name), number)
        return json.loads(moved)

    def _name(self, text: str) -> str:
        """Return the name of a member or of a parameter."""
        return text if text.casefold() in _VOCABULARY else self.text(text)

    def _text(self, text: str, name: str) -> str:
        """Return a text that is a value."""
        is_word = text.casefold() in WORDS or says_in_flight(text)
        is_count = name.casefold() in _COUNT_NAMES and _COUNT.fullmatch(text)
        if is_count or (is_word and name.casefold() in _WORD_NAMES) or text in _CONSTANTS:
            return text
        if name.endswith("Utc") and _TIME.fullmatch(text):
            moved = Recording.shift_times(text, self._shift)
            if moved != text or text.startswith(_NO_TIME):
                return re.sub(r"(?<=\d\.)\d+", lambda found: "0" * len(found[0]), moved)
        if re.fullmatch(r"(https?://|[/?])\S*", text):
            return self._address(text)
        return self._ids.get(text) or self.text(text)

    def _address(self, text: str, name: str = "") -> str:
        """Return a URL or a header: its usual words stay, and its other parts are replaced."""
        key = name

        def replaced(found: re.Match[str]) -> str:
            nonlocal key
            part, of, key = unquote(found[1]), key, name
            if found[2]:
                key, other = part, self._name(part)
            elif part.casefold() in _VOCABULARY and of in {name, "rel", "charset"}:
                other = part
            else:
                other = self._text(part, of)
            return quote(other, safe="@+") + found[2]

        return _PART.sub(replaced, text.replace(self._origin, Recording.ORIGIN))

    def text(self, text: str) -> str:
        """Return a text of the same length, with the same classes of characters."""
        rng = self._rng(text.casefold())
        return "".join(_drawn(each, rng) for each in text)


def _drawn(character: str, rng: Random) -> str:
    """Return another character of the same class; of ASCII, marks stay."""
    alphabet = _OTHERS
    if character.isascii():
        is_letter = character.isalpha()
        alphabet = _LETTERS if is_letter else _DIGITS if character.isdigit() else character
    drawn = rng.choice(alphabet)
    return drawn.upper() if character.isupper() else drawn
