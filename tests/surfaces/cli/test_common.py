"""The options of every command, and their effect."""

from __future__ import annotations

import pytest

from testvibe_async import ConfigError
from testvibe_async.cli.common import Common, connected

KEY = "tvb_" + "k" * 43


def test_options_decide_the_output() -> None:
    """JSON, quiet and colours apply to the output."""
    plain = Common().output
    assert (plain.is_json, plain.is_quiet, plain.console.no_color) == (False, False, False)
    assert Common(json=True).output.is_json
    assert Common(quiet=True).output.is_quiet
    assert Common(no_color=True).output.console.no_color


PROJECT = "7f3c9a4e-1f4b-4c53-9d0e-2b6a7c1d8e90"


async def test_options_decide_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Server and project apply to the client, and http:// to another machine must be allowed."""
    monkeypatch.setenv("TESTVIBE_API_KEY", KEY)
    common = Common(server="http://h.example", project=PROJECT, allow_http=True)
    async with connected(common, timeout=5.0) as connection:
        assert connection.client.server == "http://h.example"
        assert connection.project.id == PROJECT
    with pytest.raises(ConfigError, match="in the clear"):
        async with connected(Common(server="http://h.example")):
            pass
