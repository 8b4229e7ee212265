"""The key is removed from answers, and nothing else is."""

from hypothesis import given
from hypothesis import strategies as st

from testvibe_async._wire import REDACTED, Redactor

KEY = "tvb_Aq7Zx3Lm9Kt2Wb8Rn5Yc4Vd6Pf1GhJsEuTiOoQa0XkU"


@given(before=st.binary(), after=st.binary())
def test_a_key_between_any_bytes_is_redacted(before: bytes, after: bytes) -> None:
    """What stands around the key stays in every byte."""
    body = before + KEY.encode() + after
    assert Redactor(KEY).redact(body) == before + REDACTED.encode() + after
    assert Redactor(KEY).redact(before) is before


def test_another_key_stays() -> None:
    """A key that differs in its last character is another one."""
    assert Redactor(KEY).redact_text(KEY[:-1] + "V") == KEY[:-1] + "V"
