"""What a service sends commands no CI system that reads the output of a command."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.ci_systems import WICKED, obeyed, wicked
from testvibe_async.cli.app import perform
from testvibe_async.cli.output import Output, json_of
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call

SCENARIO = Scenario(
    run_queue=1,
    run_duration=2,
    failing_runs=1,
    outcomes={"Checkout": Outcome(generation_duration=5, generation_status="failed")},
)

COMMANDS = [
    "projects",
    "features list",
    "features show Returns",
    "files list",
    "configs",
    "run Returns --wait",
    "run Returns --wait -vv",
    "generate Checkout --watch",
    "generate Checkout --watch -v",
    "runs list",
    "runs show 214",
    "runs diagnose 214",
    "runs artifacts 214",
    "doctor",
]


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    async with Emulator(scenario=SCENARIO) as emulator:
        emulator.fail("*", Fault.edit(wicked))
        yield emulator


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize("command", COMMANDS)
async def test_no_line_of_a_command_is_obeyed(emulator: Emulator, call: Call, command: str) -> None:
    """No line is a command, and nothing but a text itself turns the direction of writing."""
    ids = {name: str(feature.id) for name, feature in emulator.features.items()}
    await call("run", ids["Returns"], "--wait", "--quiet")
    for more in ((), ("--json",)):
        ended = await call(*(ids.get(word, word) for word in command.split()), *more)
        assert ended.code in {0, 1}, ended.errors
        assert ended.output
        assert not obeyed(ended.output)
        assert not obeyed(ended.errors)
        is_text_itself = command.startswith("features show") and not more
        assert is_text_itself or "\u202e" not in ended.output
        assert "\u202e" not in ended.errors


@pytest.mark.usefixtures("signed_in")
async def test_no_line_of_an_error_is_obeyed(emulator: Emulator, call: Call) -> None:
    """A refusal's own words command nothing, and no more does an answer that is unreadable."""
    for body in (b"::error::a\n##vso[x]", json.dumps({"message": WICKED}).encode()):
        rule = emulator.fail("get_run", Fault.body(body, status=400))
        ended = await call("runs", "show", "214", "-vv")
        assert ended.code != 0
        assert not obeyed(ended.errors)
        rule.remove()


def test_json_says_what_the_service_said() -> None:
    """A command within JSON is an escape, which a program reads as the text that it was."""
    text = json_of({WICKED: WICKED}, indent=2)
    assert not obeyed(text)
    assert json.loads(text) == {WICKED: WICKED}


@pytest.mark.parametrize("command", ["features show Returns --gherkin", "files get a.feature"])
async def test_data_is_byte_for_byte(
    command: str, signed_in: Emulator, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """What a program is to read is written as the service has it, also to a pipe."""
    text = "Feature: Grüße\r\n  # ::error::a\n##vso[task]\u202e\n  \t"
    signed_in.fail("get_feature", Fault.edit(lambda document: {**document, "gherkin": text}))
    signed_in.fail("read_file", Fault.edit(lambda document: {**document, "content": text}))
    signed_in.fail("read_file", Fault.body(json.dumps({"path": "a", "content": text}).encode()))
    await perform(command.split())
    assert capsysbinary.readouterr().out == text.encode()


def test_a_text_is_as_it_is_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirected text is the service's, byte for byte; in a pipe it commands nothing."""
    Output().text(WICKED)
    assert not obeyed(capsys.readouterr().out)
    path = tmp_path / "feature"
    with path.open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        Output().text(WICKED)
    assert path.read_bytes() == WICKED.encode()
