"""The options of every command, and what becomes of them."""

from __future__ import annotations

import pytest

from testvibe_async import ConfigError
from testvibe_async.cli.common import Common, connected

KEY = "tvb_" + "k" * 43


def test_options_decide_how_it_is_told() -> None:
    """JSON, quiet and colours are the output's."""
    plain = Common().output
    assert (plain.is_json, plain.is_quiet, plain.console.no_color) == (False, False, False)
    assert Common(json=True).output.is_json
    assert Common(quiet=True).output.is_quiet
    assert Common(no_color=True).output.console.no_color


async def test_options_decide_whom_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Server and project are the client's, and http:// elsewhere must be allowed."""
    monkeypatch.setenv("TESTVIBE_API_KEY", KEY)
    common = Common(server="http://h.example", project="p", allow_http=True)
    async with connected(common, timeout=5.0) as connection:
        assert connection.client.server == "http://h.example"
        assert connection.project.id == "p"
    with pytest.raises(ConfigError, match="in the clear"):
        async with connected(Common(server="http://h.example")):
            pass
