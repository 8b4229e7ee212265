"""The key is taken out of answers, however its characters are spelt, and nothing else is."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testvibe_async._util import clean
from testvibe_async._wire import REDACTED, Redactor
from testvibe_async._wire.redaction import PIECE_BYTES

KEY = "tvb_Aq7Zx3Lm9Kt2Wb8Rn5Yc4Vd6Pf1GhJsEuTiOoQa0XkU"
REDACTOR = Redactor(KEY)


def spelt(key: str, *, start: str = "\\u{:04x}", end: str = "", step: int = 1) -> str:
    """Return a key with some of its characters as escapes."""
    return "".join(
        start.format(ord(char)) + end if place % step == 0 else char
        for place, char in enumerate(key)
    )


SPELLINGS = {
    "itself": KEY,
    "JSON": spelt(KEY),
    "JSON in capitals": spelt(KEY, start="\\u{:04X}", step=3),
    "its underscore in JSON": KEY.replace("_", "\\u005f"),
    "JSON in JSON": KEY.replace("_", "\\\\\\u005f"),
    "hexadecimal": spelt(KEY, start="\\x{:02x}", step=4),
    "a link": spelt(KEY, start="%{:02X}", step=2),
    "a link in a link": KEY.replace("_", "%255F"),
    "a link in JSON": KEY.replace("_", "\\u00255F"),
    "a digit of a link's escape": KEY.replace("_", "%25%35%46"),
    "decimal entities": spelt(KEY, start="&#{};", step=2),
    "hexadecimal entities": spelt(KEY, start="&#x{:x}", end=";"),
    "an entity in an entity": KEY.replace("_", "&amp;#95;"),
    "a named entity": KEY.replace("_", "&lowbar;"),
    ".NET's entity": KEY.replace("_", "\\u0026#x5f;"),
    "colours between": KEY[:9] + "\\u001b[31m" + KEY[9:20] + "\\u001b[0m" + KEY[20:],
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_each_spelling_is_redacted(spelling: str) -> None:
    """What decodes to the key is not there after decoding, and the JSON around it is as it was."""
    document = (
        f'{{"a": "before {spelling}", "b": ["{spelling}"], "c": 1, "d\\\\": "\\"{spelling}\\""}}'
    )
    found = json.loads(REDACTOR.redact(document.encode()))
    assert found["a"] == f"before {REDACTED}"
    assert found["b"] == [REDACTED]
    assert found["c"] == 1
    assert REDACTED in found["d\\"]
    assert KEY not in clean(unquote(html.unescape(json.dumps(found))))


@given(st.text(), st.lists(st.integers(0, 4), min_size=len(KEY), max_size=len(KEY)), st.text())
def test_any_mixture_of_spellings_is_redacted(before: str, kinds: list[int], after: str) -> None:
    """A key whose characters are each spelt in another way is in no decoded text."""
    spell = ("{0}", "\\u{1:04x}", "%{1:02x}", "&#{1};", "\\u0025{1:02x}")
    mixed = "".join(
        spell[kind].replace("{0}", "{0}").format(char, ord(char))
        for kind, char in zip(kinds, KEY, strict=True)
    )
    document = json.dumps([f"{before} ", f" {after}"]).replace('", "', mixed)
    (found,) = json.loads(REDACTOR.redact(document.encode()))
    assert KEY not in unquote(html.unescape(found))
    assert found == f"{before} {REDACTED} {after}"


@given(st.text() | st.text("tvb_\\%&#;ux025f\x1b[m").map(lambda text: text * 3))
def test_a_text_without_the_key_stays(text: str) -> None:
    """An answer that does not spell the key is not changed in a byte."""
    for body in (text.encode(errors="surrogatepass"), json.dumps(text).encode()):
        assert REDACTOR.redact(body) == body


@pytest.mark.parametrize("text", [quote(KEY[:-1] + "V").replace("_", "%5F"), spelt(KEY[:-1])])
def test_another_key_stays(text: str) -> None:
    """A key that differs in its last character is another one."""
    assert REDACTOR.redact_text(text) == text


def test_the_key_is_found_anywhere_in_a_long_answer() -> None:
    """An answer is searched in pieces, and none of them cuts a key."""
    spelling = KEY.replace("_", "\\u005f")
    for offset in range(0, 60, 7):
        words = f'"{"x" * 37}", ' * (3 * PIECE_BYTES // 40)
        place = PIECE_BYTES - offset
        found = REDACTOR.redact(f'{words[:place]} "{spelling}" {words[place:]}'.encode())
        assert spelling.encode() not in found
        assert found.count(REDACTED.encode()) == 1
        assert len(found) == len(words) + len(REDACTED) + 4


def test_a_word_without_end_is_searched_in_parts() -> None:
    """An answer that is one endless word is gone through all the same."""
    word = b"%41" * PIECE_BYTES * 6
    assert REDACTOR.redact(word) == word


def test_a_long_answer_without_escapes_is_not_copied() -> None:
    """Where there is nothing to take out, the answer is the same object."""
    body = b'["plain"]' * PIECE_BYTES
    assert REDACTOR.redact(body) is body


def test_a_short_key_is_not_searched_for() -> None:
    """A key that may be part of a word damages no answer."""
    assert Redactor("test").redact(b'{"name": "te\\u0073t"}') == b'{"name": "te\\u0073t"}'


ODD_KEY = "a/b+c=d\"e\\f&g<h>'i`j%k"


@pytest.mark.parametrize(
    "spelling",
    [
        json.dumps(ODD_KEY)[1:-1],
        json.dumps(ODD_KEY)[1:-1].replace("/", r"\/"),
        r"a/b\u002Bc=d\u0022e\u005Cf\u0026g\u003Ch\u003E\u0027i\u0060j%k",
        spelt(ODD_KEY),
    ],
    ids=["JSON", "PHP", ".NET", "all"],
)
def test_a_key_of_another_form_is_redacted(spelling: str) -> None:
    """A key with any signs is found in the spelling of each JSON writer."""
    redactor = Redactor(ODD_KEY)
    assert json.loads(redactor.redact(f'["{spelling}"]'.encode())) == [REDACTED]


def test_entities_beyond_ascii_stay() -> None:
    """An entity of another character is none of the key's, and no error."""
    text = f"&#233;&#999;{KEY[:-1]}&#x55;"
    assert REDACTOR.redact_text(text) == REDACTED
    assert REDACTOR.redact_text("&#233;" * 20) == "&#233;" * 20


def test_what_is_buried_deeper_than_anyone_writes_it_is_left() -> None:
    """The search for escapes within escapes has an end: eight layers are unfolded."""
    assert REDACTOR.redact_text(KEY.replace("_", f"%{'25' * 7}5F")) == REDACTED
    buried = KEY.replace("_", f"%{'25' * 20}5F")
    assert REDACTOR.redact_text(buried) == buried
