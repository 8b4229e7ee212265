"""Recordings: what passed, with synthetic values of the same shape.

Decides what of an exchange is kept: the contract's names and words, the status words of the
service, counts, and the usual names of pages and errors. All else keeps its length, its classes of
characters, the order of ids and the differences of times; the same value is always replaced by the
same one, also in URLs. `leaks` looks for what was there before the file is written.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from attrs import evolve

from testvibe_async import ConfigError
from testvibe_async._wire import Endpoints, openapi_document
from testvibe_async.cli.doctor.contract import NAMES, STATUS_MEMBERS, WORDS, Exchange, Tap, is_word
from testvibe_async.testing import RecordedExchange, Recording

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ATTEMPTS = 10
"""Maximum number of draws of synthetic values: one may contain an original text by accident."""

_HEADERS = (
    *("Content-Type", "Content-Encoding", "Link", "Location", "ETag", "Age", "Retry-After"),
    *("Accept-Ranges", "Content-Range", "X-Total-Count"),
)
_SHORT = 4
"""Originals of fewer characters are not searched for: any text may hold them."""

_LONG_NUMBER, _LONGEST_NUMBER = 6, 18
_TOKEN = re.compile(r'(?P<text>"(?:[^"\\]|\\.)*")(?P<colon>\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?')
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?|/Date\(-?\d+([+-]\d{4})?\)/"
)
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}")
_FRACTION = re.compile(r"(?<=:\d\d\.)\d{4,}")
_EPOCH = re.compile(r"1[6-9]\d{8}(\d{3})?")
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DIGITS, _HEXADECIMAL = "123456789", "0123456789abcdef"
"""Without 0, so that what is drawn is a number in JSON."""

_LETTERS = "bcdfghjklmnpqrstvwxz"
"""Without vowels, so that no word comes about by accident."""

_OTHER_LETTERS = "бвгджзклмнпрстфхцчшщ"


_STATUS_NAMES = {*map(str.casefold, STATUS_MEMBERS)}
_COUNTS = {
    *("total", "totalcount", "count", "page", "pagesize", "limit", "offset", "skip", "top"),
    "status",
}
_USUAL = """
    items value values data results rows records nextcursor nextlink nextpage next hasmore hasnext
    pages pagetoken continuationtoken cursor links href error message code title detail type
    instance errors traceid generation @odata.nextlink @odata.count odata prev first last bytes
    default true false null about:blank about blank utf-8 html doctype testvibe.example api v1 ops
    https http charset date rel gzip deflate br identity application json problem text plain
"""
"""Names and words that many services have around rows, ids and errors, in headers and addresses."""


def _with_parts(texts: Iterable[str]) -> set[str]:
    """Return texts and the words in them, in lower case."""
    texts = {*map(str.casefold, texts)}
    return texts | {*re.findall(r"\w+", " ".join(texts))}


_VOCABULARY = _with_parts([*_USUAL.split(), *_COUNTS, *NAMES, *WORDS, *openapi_document()["paths"]])
"""The names and words that may stay: mainly the contract's."""


def _observed(exchange: Exchange, tap: Tap) -> RecordedExchange:
    request, response = exchange.request, exchange.response
    # Where the settings have another route, the documented one is recorded.
    endpoint = getattr(Endpoints, exchange.name.upper())
    date = response.date
    skew = None if date is None else (date - tap.started_at).total_seconds() - exchange.at
    return RecordedExchange(
        at=round(exchange.at, 2),
        operation=exchange.name,
        method=endpoint.method,
        path=endpoint.path.format_map(request.parameters),
        query=request.query,
        body=None if request.body is None else json.dumps(request.body),
        status=response.status,
        headers={name: response.headers[name] for name in _HEADERS if name in response.headers},
        skew=None if skew is None else round(skew),
        answer=response.body.decode(errors="replace"),
    )


def disguised(tap: Tap) -> tuple[Recording, list[str]]:
    """Return what passed with synthetic values, and a few lines that describe it.

    Raises:
        ConfigError: Something of what was there would remain.
    """
    real, leaked = Recording(tuple(_observed(each, tap) for each in tap.exchanges)), 0
    for _ in range(ATTEMPTS):
        disguise = Disguise(real, tap)
        recording = Recording(tuple(map(disguise.exchange, real.exchanges)))
        leaked = leaks(real, recording, kept=disguise.kept)
        if not leaked:
            return recording, [*_preview(recording, disguise.kept)]
    raise ConfigError(
        f"nothing is written: {leaked} of the original texts would remain in the file"
    )


def _preview(recording: Recording, kept: set[str]) -> Iterator[str]:
    names = {each.operation for each in recording.exchanges}
    yield f"{len(recording.exchanges)} exchanges of {len(names)} operations; two of the answers:"
    for each in recording.exchanges[:1] + recording.exchanges[-1:]:
        yield f"  {each.method} {each.path}: {each.status} {each.answer[:300]}"
    if kept:
        yield f"These words of the service are in it as they are: {', '.join(sorted(kept))}"


def leaks(real: Recording, recording: Recording, *, kept: set[str]) -> int:
    """Return how many originals of four or more characters a recording holds."""
    known = _VOCABULARY | _with_parts(kept)
    words = _words_in(recording) - known
    searched = " ".join(words)
    return sum(
        original in (words if original.isdigit() else searched)
        for original in _words_in(real) - known
    )


def _words_in(recording: Recording) -> set[str]:
    """Return the words and long numbers of a recording, in lower case, without times."""
    cleared = _ESCAPE.sub(" ", _TIME.sub(" ", _text_of(recording)))
    return {
        word
        for word in re.findall(rf"\w{{{_SHORT},}}", cleared.casefold())
        if word.strip("_")
        and not _EPOCH.fullmatch(word)
        and not (word.isdigit() and len(word) < _LONG_NUMBER)
    }


def _text_of(recording: Recording) -> str:
    """Return all text of a recording, with the meaning of escapes beside them."""
    texts: list[str] = []
    for each in recording.exchanges:
        texts += [unquote(each.path), each.body or "", each.answer, *each.headers.values()]
        texts += [*each.query, *each.query.values()]
        texts += [_unquoted(found["text"]) for found in _TOKEN.finditer(each.answer) if found[1]]
    return "\n".join(texts)


def _unquoted(token: str) -> str:
    try:
        return str(json.loads(token, strict=False))
    except ValueError:
        return token


class Disguise:
    """Replaces values by synthetic ones; the same always by the same."""

    def __init__(self, real: Recording, tap: Tap) -> None:
        """Read all exchanges, so that numbers can keep their order."""
        self._key = secrets.token_bytes(32)
        self._shift = Recording.START - int(tap.started_at.timestamp())
        parts = urlsplit(tap.exchanges[0].response.url if tap.exchanges else "")
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self.kept: set[str] = set()
        """The service's own words that stay, and that the contract does not have."""

        digits = set(re.findall(r"\d+", unquote(_text_of(real))))
        self._numbers: dict[str, str] = {}
        for length in range(2, _LONGEST_NUMBER):
            alike = sorted(each for each in digits if len(each) == length and each[0] != "0")
            every = range(10 ** (length - 1), 10**length)
            drawn = sorted(self._rng(f"numbers of {length}").sample(every, len(alike)))
            self._numbers |= dict(zip(alike, map(str, drawn), strict=True))

    def _rng(self, purpose: str) -> Random:
        return Random(hmac.digest(self._key, purpose.encode("utf-8", "replace"), "sha256"))  # noqa: S311

    def exchange(self, each: RecordedExchange) -> RecordedExchange:
        """Return an exchange with synthetic values."""
        return evolve(
            each,
            path=self._url(each.path),
            query={self._name(name): self._value(text, name) for name, text in each.query.items()},
            body=None if each.body is None else self._body(each.body),
            headers={
                name: self.text(text) if name == "ETag" else self._header(text)
                for name, text in each.headers.items()
            },
            answer=self._body(each.answer),
        )

    def _body(self, text: str) -> str:
        """Return a body: JSON, or any other text."""
        try:
            json.loads(text.removeprefix("\ufeff"))
        except (ValueError, RecursionError):
            return self.text(text)
        key = ""

        def replaced(found: re.Match[str]) -> str:
            nonlocal key
            written = found["text"]
            if written is None:
                return self._number(found[0], key)
            value, colon = _unquoted(written), found["colon"] or ""
            key = value if colon else key
            other = self._name(value) if colon else self._value(value, key)
            if other != value:
                written = json.dumps(other, ensure_ascii="\\u" in written)
            return written + colon

        moved = Recording.shift_times(text, self._shift)
        return _TOKEN.sub(replaced, _FRACTION.sub(lambda found: self.text(found[0]), moved))

    def _name(self, text: str) -> str:
        """Return a name of a member or a parameter, or a part of an address or a header."""
        return text if text.casefold() in _VOCABULARY else self.text(text)

    def _value(self, text: str, key: str = "id") -> str:
        """Return the value of a member or a parameter, or a part of a path."""
        if text.casefold() in _VOCABULARY or _TIME.fullmatch(text):
            return text
        if key.casefold() in _STATUS_NAMES and is_word(text):
            self.kept.add(text)
            return text
        if text.isdecimal():
            return self._number(text, key)
        return self._url(text) if re.match(r"https?://|/", text) else self.text(text)

    def text(self, text: str) -> str:
        """Return a text of the same length, with the same classes of characters."""
        rng = self._rng(text.casefold())
        is_hexadecimal = bool(_GUID.fullmatch(text))
        return "".join(_character(each, rng, is_hexadecimal=is_hexadecimal) for each in text)

    def _number(self, token: str, key: str) -> str:
        name = key.casefold()
        if (name in _COUNTS and len(token) < _LONG_NUMBER) or _EPOCH.fullmatch(token):
            return token
        if not token.isdecimal():
            return re.sub(r"\d+", lambda found: self.text(found[0]), token)
        if len(token) == 1 or (len(token) < _SHORT and not name.endswith("id")):
            return token
        return self._numbers.get(token) or self.text(token)

    def _url(self, text: str) -> str:
        """Return a URL or a path, part by part."""
        key = "id"

        def replaced(found: re.Match[str]) -> str:
            nonlocal key
            part, equals = unquote(found[1]), found[2]
            other = self._name(part) if equals else self._value(part, key)
            key = part if equals else "id"
            return quote(other, safe="", errors="replace") + equals

        moved = text.replace(self._origin, Recording.ORIGIN)
        return re.sub(r"([^/?&=:#]+)(=?)", replaced, moved)

    def _header(self, text: str) -> str:
        """Return a header: its addresses, short numbers and usual words stay readable."""
        if re.match(r"https?://|/", text):
            return self._url(text)

        def replaced(found: re.Match[str]) -> str:
            part = found[0]
            if part.startswith("<"):
                return f"<{self._url(part[1:-1])}>"
            return self._number(part, "count") if part.isdecimal() else self._name(part)

        return re.sub(r'<[^<>]*>|[^\s;,="/+-]+', replaced, text)


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
