"""Commands that read, and those for features and files: on a terminal, in a pipe, as JSON."""

import sys
from pathlib import Path

import pytest

from tests.support.ci_systems import WICKED, obeyed, wicked
from tests.surfaces.cli.conftest import Call, Give, write
from testvibe_async.cli.app import perform
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

SCENARIO = Scenario(
    run_queue=1,
    run_duration=20,
    failing_runs=0,
    outcomes={
        "Checkout": Outcome(generation_duration=5, generation_status="failed"),
        "Returns": Outcome(run_status="failed"),
    },
)

READING = {
    "projects": "Acme Shop",
    "features list": "Login Functionality",
    "features show 'login functionality'": "Feature: Login Functionality\n",
    "files get Configurations/Default.config.js": "module.exports = {\n",
    "settings": "TESTVIBE_API_KEY",
}
"""Commands that change nothing, and what is in their output."""


@pytest.mark.parametrize("typed", READING)
async def test_reads_in_a_pipe(typed: str, call: Call, emulator: Emulator) -> None:
    """In a pipe there are rows without a header, with --quiet no remark, with --json a document."""
    ended = await call(typed)
    assert ended.code == 0
    assert READING[typed] in ended.output
    assert ended.output.partition("\t")[0] not in {"Id", "Name", "Path", "Setting"}
    assert "\x1b" not in ended.output + ended.errors
    assert emulator.api_key not in ended.output + ended.errors
    quiet = await call(f"{typed} --quiet")
    assert (quiet.code, quiet.output, quiet.errors) == (0, ended.output, "")
    assert (await call(f"{typed} --json")).json
    assert (await call(f"{typed} --json=lines")).events


async def test_without_a_server_each_says_where_to_get_one(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is set, a command names the ways to set it."""
    monkeypatch.delenv("TESTVIBE_SERVER")
    monkeypatch.delenv("TESTVIBE_API_KEY")
    for typed in ({*READING} | {"doctor"}) - {"settings"}:
        said = "no server: log in with testvibe-async login, pass --server, or set TESTVIBE_SERVER"
        (await call(typed)).refuses(said)
        said = "no API key for https://testvibe.example: log in"
        (await call(f"{typed} --server https://testvibe.example")).refuses(said)


async def test_without_a_project_it_says_how_to_choose_one(
    emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no project is in force, a command that needs one says how; it may be given by name."""
    monkeypatch.delenv("TESTVIBE_PROJECT")
    said = "no project: pass --project, set TESTVIBE_PROJECT"
    (await call("features list")).refuses(said)
    assert (await call(f"features list -p {emulator.project_id}")).code == 0
    assert (await call("run Checkout -p 'acme shop'")).code == 0
    emulator.fail("list_projects", Fault.status(403))  # Then it is taken for an id.
    assert (await call("features list -p 'Acme Shop'")).code == 3


NAMES = ["Gift cards", "Pay / refund? 100 %", "\x1b[2J evil"]
GHERKIN = "Feature: Grüße\r\n  Scenario: ::error::a\n\n\n    Given ##vso[x]\u202e  "


@pytest.mark.parametrize("name", NAMES)
async def test_a_feature_lives_and_dies(
    name: str, call: Call, emulator: Emulator, give: Give
) -> None:
    """A feature is created, shown, changed, renamed and deleted, by any name, as plain text."""
    write("gift.feature", GHERKIN)
    created = await call("features create", name, "--file", "gift.feature", "--json")
    assert (created.code, emulator.features[name].gherkin) == (0, GHERKIN)
    number = created.json["id"]
    assert (await call(f"features show {number} --json")).json["gherkin"] == GHERKIN
    shown = name.replace("\x1b", "\\x1b")
    assert f"{number}\t{shown}\t" in (await call("features list")).output
    assert f"{number}  {shown}  " in (await call("features show", name.upper())).errors
    give(b"Feature: Others\n")
    changed = await call("features update", name, *["--file", "-", "--name", "Gifts"])
    assert (changed.code, changed.output) == (0, f"{shown} is updated.\n")
    assert emulator.features["Gifts"].gherkin == "Feature: Others\n"
    await call("features update Gifts --name Presents")
    assert emulator.features["Presents"].gherkin == "Feature: Others\n"
    deleted = await call("features delete Presents --yes")
    assert (deleted.code, deleted.output) == (0, "Presents is deleted.\n")
    assert (await call("features show Presents")).code == 3


@pytest.mark.parametrize("options", ["", "--quiet"])
async def test_a_feature_goes_through_a_file_and_back(  # the recipe of the page
    options: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`features show X > f` and `features update X --file f` leave the Gherkin byte for byte."""
    emulator.features["Checkout"].gherkin = GHERKIN
    path = Path("checkout.feature")
    with path.open("w") as file, monkeypatch.context() as patched:  # noqa: ASYNC230
        patched.setattr(sys, "stdout", file)
        assert await perform(["features", "show", "Checkout", *options.split()]) == 0
    assert path.read_bytes() == GHERKIN.encode()  # noqa: ASYNC240
    assert await perform(["features", "update", "Checkout", "--file", str(path)]) == 0
    assert emulator.features["Checkout"].gherkin == GHERKIN


async def test_a_file_is_put_and_got(call: Call, give: Give) -> None:
    """A file that was put is the same when got again, byte for byte."""
    content = 'module.exports = { grüße: "\r\n" };\n::error::a\n##vso[x]\u202e  \t'
    write("own.config.js", content)
    put = await call("files put Configurations/Own.config.js -f own.config.js")
    assert (put.code, put.output) == (0, "Configurations/Own.config.js is written.\n")
    assert (await call("files get Configurations/Own.config.js")).output == content
    document = (await call("files get Configurations/Own.config.js --json")).json
    assert document["content"] == content
    give(b"module.exports = {};\n")
    assert (await call("files put Configurations/Own.config.js --file -")).code == 0
    ended = await call("files get Configurations/Own.config.js")
    assert ended.output == "module.exports = {};\n"
    give(b"Feature: \xff")
    ended = await call("features update Checkout --file -")
    ended.refuses("testvibe-async: standard input is no text in UTF-8 (byte 9)\n")


@pytest.mark.parametrize("answer", ["YES\n", "", "yeah\n"])
async def test_a_feature_is_deleted_after_a_yes(
    answer: str, call: Call, emulator: Emulator, give: Give
) -> None:
    """On a terminal it asks first, on standard error; any other answer deletes nothing."""
    give(answer.encode(), on_terminal=True)
    ended = await call("features delete Checkout")
    assert ended.errors.startswith("Delete the feature 'Checkout'? [y/N] ")
    if answer.casefold().strip() in {"y", "yes"}:
        assert (ended.code, ended.output) == (0, "Checkout is deleted.\n")
        assert "Checkout" not in emulator.features
    else:
        assert ended.code == 2
        assert ended.errors.endswith("testvibe-async: nothing was deleted\n")
        assert not emulator.requests


async def test_a_suggestion_shows_why(call: Call) -> None:
    """The facts of a feature, and a suggestion's reason, are notes beside its Gherkin."""
    ended = await call("features show 'Abandoned cart reminder'")
    lines = ended.errors.splitlines()
    assert lines[0].startswith("12  Abandoned cart reminder  draft  suggestion  updated 20")
    assert lines[2].startswith("The cart keeps its items")
    assert ended.output.startswith("Feature: Abandoned cart reminder\n")


COMMANDS = [
    *("projects", "features list", "features show {id}", "doctor"),
    *("wait 214", "report", "history", "runs list", "runs show 214"),
    "runs diagnose 214",
    *("run {id} --wait", "run {id} --wait -vv", "run {id} --wait --json=lines"),
    *("generate Checkout --watch", "generate Checkout --watch -v", "run {id}"),
    *("generation show {id}", "generate Checkout"),
]
"""Those that leave something in flight are the last ones."""
NAMELESS = ("doctor", "wait 214", "history", "run {id}", "generate Checkout")
"""Those that print no name of the service."""


@pytest.mark.parametrize("more", ["", "--json"])
async def test_what_came_from_the_service_is_only_text(
    more: str, emulator: Emulator, call: Call
) -> None:
    """No text is a command to a CI system or a terminal, nor turns the direction of writing."""
    hostile = "[red]x[/red] \x1b]0;owned\x07\x9b2J" + WICKED
    emulator.fail("*", Fault.edit(lambda document: wicked(document, hostile)))
    number = emulator.features["Returns"].id
    await call(f"run {number} --wait --quiet")
    for typed in COMMANDS:
        ended = await call(f"{typed.format(id=number)} {more}")
        # A configuration of another name contradicts the request.
        assert ended.code in {0, 1, 3, 5}, (typed, ended)
        said = ended.output + ended.errors
        is_text_itself = typed.startswith("features show") and not more
        assert not obeyed(ended.errors if is_text_itself else said), typed
        assert is_text_itself or not set(said) & set("\x1b\x07\x9b\r\u202e"), typed
        assert typed in NAMELESS or "[red]x[/red] " in said, (typed, said)
