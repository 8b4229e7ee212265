"""Questions and standard input of the commands for features and files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import client_of
from testvibe_async.cli.app import perform

if TYPE_CHECKING:
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call, Give
    from testvibe_async.testing import Emulator


async def test_gherkin_may_come_through_a_pipe(call: Call, signed_in: Emulator, give: Give) -> None:
    """`--file -` takes standard input, its line ends and letters as they are."""
    give("Feature: Grüße\r\n".encode())
    assert (await call("features", "create", "Grüße", "--file", "-")).code == 0
    assert signed_in.features["Grüße"].gherkin == "Feature: Grüße\r\n"
    give(b"Feature: Others\n")
    assert (await call("features", "update", "Grüße", "-f", "-")).code == 0
    assert signed_in.features["Grüße"].gherkin == "Feature: Others\n"
    give(b"module.exports = { retries: 2 };\n")
    assert (await call("files", "put", "Configurations/Piped.config.js", "--file", "-")).code == 0
    assert (
        await call("files", "get", "Configurations/Piped.config.js")
    ).output == "module.exports = { retries: 2 };\n"


@pytest.mark.parametrize("options", [(), ("--gherkin",), ("--quiet",)])
async def test_a_feature_goes_through_a_file_and_back(  # the recipe of the page
    options: tuple[str, ...], signed_in: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`features show X > f` and `features update X --file f` leave the Gherkin byte for byte."""
    gherkin = "Feature: Grüße\r\n  Scenario: ::error::a\n\n\n    Given ##vso[x]\u202e  "
    signed_in.features["Checkout"].gherkin = gherkin
    path = tmp_path / "checkout.feature"
    with path.open("w") as file, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", file)
        assert await perform(["features", "show", "Checkout", *options]) == 0
    assert path.read_bytes() == gherkin.encode()
    assert await perform(["features", "update", "Checkout", "--file", str(path)]) == 0
    assert signed_in.features["Checkout"].gherkin == gherkin


async def test_bytes_that_are_no_text_are_not_sent(
    call: Call, signed_in: Emulator, give: Give
) -> None:
    """Text that is not UTF-8 is refused with the place of the first wrong byte."""
    give(b"Feature: \xff")
    ended = await call("features", "update", "Checkout", "--file", "-")
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors == "testvibe-async: standard input is no text in UTF-8 (byte 9)\n"
    assert not signed_in.requests


async def test_a_new_name_alone_leaves_the_gherkin(call: Call, signed_in: Emulator) -> None:
    """`features update --name` changes the name and nothing else."""
    before = signed_in.features["Checkout"].gherkin
    assert (await call("features", "update", "checkout", "--name", "Pay")).code == 0
    assert signed_in.features["Pay"].gherkin == before


async def test_what_is_generating_is_left_alone(call: Call, signed_in: Emulator) -> None:
    """A feature that is being generated can be neither changed nor deleted: 409, exit code 3."""
    async with client_of(signed_in) as client:
        await client.project().generate_feature("Checkout")
    for arguments in (("update", "Checkout", "--name", "Pay"), ("delete", "Checkout", "--yes")):
        ended = await call("features", *arguments)
        assert (ended.code, ended.output) == (3, "")
        assert "(409 conflict)" in ended.errors
    assert "Checkout" in signed_in.features


@pytest.mark.parametrize("answer", [b"y\n", b"YES\n"])
async def test_a_feature_is_deleted_after_a_yes(
    answer: bytes, call: Call, signed_in: Emulator, give: Give
) -> None:
    """On a terminal it asks first, on standard error."""
    give(answer, on_terminal=True)
    ended = await call("features", "delete", "Checkout")
    assert (ended.code, ended.output) == (0, "Checkout is deleted.\n")
    assert ended.errors == "Delete the feature 'Checkout'? [y/N] "
    assert "Checkout" not in signed_in.features


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"", b"yeah\n"])
async def test_a_feature_stays_without_a_yes(
    answer: bytes, call: Call, signed_in: Emulator, give: Give
) -> None:
    """Any other answer deletes nothing, and says so."""
    give(answer, on_terminal=True)
    ended = await call("features", "delete", "Checkout")
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors.endswith("testvibe-async: nothing was deleted\n")
    assert not signed_in.requests


async def test_a_suggestion_shows_why(call: Call, signed_in: Emulator) -> None:
    """The facts of a feature, and a suggestion's reason, are notes beside its Gherkin."""
    assert signed_in
    ended = await call("features", "show", "Abandoned cart reminder")
    lines = ended.errors.splitlines()
    assert lines[0].startswith("12  Abandoned cart reminder  draft  suggestion  updated 20")
    assert lines[2].startswith("The cart keeps its items")
    assert ended.output.startswith("Feature: Abandoned cart reminder\n")
    only = await call("features", "show", "Abandoned cart reminder", "--gherkin")
    assert (only.output, only.errors) == (ended.output, "")


async def test_a_name_takes_no_effect_on_a_terminal(call: Call, signed_in: Emulator) -> None:
    """A feature's name is one line of plain text, in a list and alone."""
    number = signed_in.add_feature("\x1b[2J\nevil").id
    for arguments in (("list",), ("show", str(number))):
        ended = await call("features", *arguments)
        assert f"{number}" in ended.output + ended.errors
        assert "\\x1b[2J\\nevil" in ended.output + ended.errors


async def test_a_name_with_a_slash_is_one_name(call: Call, signed_in: Emulator) -> None:
    """A feature is found by any name, also one with special characters."""
    signed_in.add_feature("Pay / refund? 100 %")
    ended = await call("features", "show", "pay / refund? 100 %", "--quiet")
    assert (ended.code, ended.errors) == (0, "")
