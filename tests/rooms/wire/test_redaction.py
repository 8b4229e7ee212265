"""The key is taken out of answers as JSON, links and pages spell it, and nothing else is."""

import html
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testvibe_async._wire import REDACTED, Redactor

KEY = "tvb_Aq7Zx3Lm9Kt2Wb8Rn5Yc4Vd6Pf1GhJsEuTiOoQa0XkU"
ODD_KEY = "a/b+c=d\"e\\f&g<h>'i`j%k"
LINK, PAGE = quote(ODD_KEY, safe=""), html.escape(ODD_KEY)

SPELLINGS = {
    "JSON": json.dumps(ODD_KEY)[1:-1],
    "PHP": json.dumps(ODD_KEY)[1:-1].replace("/", r"\/"),
    "Go": r"""a/b+c=d\"e\\f\u0026g\u003ch\u003e'i`j%k""",
    ".NET": r"a/b\u002Bc=d\u0022e\\f\u0026g\u003Ch\u003E\u0027i\u0060j%k",
    "older .NET": r"a/b\u002Bc=d\u0022e\u005Cf\u0026g\u003Ch\u003E\u0027i\u0060j%k",
    "a link": LINK,
    "a path": quote(ODD_KEY),
    "a page": json.dumps(PAGE)[1:-1],
    "a page in Go": json.dumps(PAGE)[1:-1].replace("&", r"\u0026"),
    "a page in .NET": (
        r"a/b\u002Bc=d\u0026quot;e\\f\u0026amp;g\u0026lt;h\u0026gt;\u0026#x27;i\u0060j%k"
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_each_spelling_is_redacted(spelling: str) -> None:
    """A key with any signs is found in the spelling of each writer, also where it stands twice."""
    body = f'{{"a": "before {spelling}", "b": ["{spelling}"], "{spelling}": 1}}'.encode()
    found = json.loads(Redactor(ODD_KEY).redact(body))
    assert found == {"a": f"before {REDACTED}", "b": [REDACTED], REDACTED: 1}


@pytest.mark.parametrize("spelling", [ODD_KEY, LINK, PAGE])
def test_text_that_is_no_json_is_redacted(spelling: str) -> None:
    """A header and a page repeat it without the escapes of JSON."""
    assert Redactor(ODD_KEY).redact_text(f"<p>{spelling}</p>") == f"<p>{REDACTED}</p>"


@given(before=st.binary(), after=st.binary())
def test_a_key_between_any_bytes_is_redacted(before: bytes, after: bytes) -> None:
    """What stands around the key stays in every byte."""
    body = before + KEY.encode() + after
    assert Redactor(KEY).redact(body) == before + REDACTED.encode() + after
    assert Redactor(KEY).redact(before) is before


def test_another_key_stays() -> None:
    """A key that differs in its last character is another one."""
    assert Redactor(KEY).redact_text(KEY[:-1] + "V") == KEY[:-1] + "V"
