"""The doctor's documents hold nothing of the service's data, wherever it stands in an answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.surfaces.cli.conftest import use
from testvibe_async.cli.doctor import judging
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario
from testvibe_async.testing.emulator.answers import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call

KEY = "tvb_Aq7Zx3Lm9Kt2Wb8Rn5Yc4Vd6Pf1GhJsEuTiOoQa0XkU"
PROJECT = "0f9e8d7c-6b5a-4f3e-8d2c-1b0a9f8e7d6c"
MARK = "zq"
"""Stands in each text that is planted, and in nothing that the package says."""

NUMBER = 918273645
WORDS = {
    *("status", "featureStatus", "overallStatus", "state", "verdict"),
    *("overallConclusion", "conclusion", "kind", "source"),
}
FILE = "Configurations/Default.config.js"
"""The path that the documentation names."""

UNKNOWN: dict[str, Any] = {
    "Zq Shop": "Zq text",
    "zq.acme.example": ["Zq line", {"zq key": None}],
    "extra": {"zqLogin": 1, "zqCheckout": 2, "zqReturns": 3},
    "zq-4c6f-9e8a": NUMBER,
}
"""Members that the contract does not have, with names that are data."""


def planted(name: str, value: Any, *, also_words: bool) -> Any:
    """Return a value in which each text is another one that could not be told."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return UNKNOWN | {
            key: planted(key, each, also_words=also_words) for key, each in members.items()
        }
    if isinstance(value, list):
        rows = cast("list[object]", value)
        return [planted(name, each, also_words=also_words) for each in rows]
    if isinstance(value, str) and value != FILE and (also_words or name not in WORDS):
        if name == "url":
            return f"https://zq.blob.example/{name}?sig=zq"
        return f"Zq {name} 7"
    if isinstance(value, int) and name in {"size", "durationMs"}:
        return NUMBER
    return value


@pytest.fixture(autouse=True)
def _patient_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clocks differ: the number of seconds could hold any other one."""
    monkeypatch.setattr(judging, "MAX_SKEW", 1e6)


@pytest.fixture
async def emulator(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Emulator]:
    """The service, with a key and an id whose parts occur in no other text."""
    outcomes = {"Checkout": Outcome(run_status="failed", run_queue=1, run_duration=1)}
    async with Emulator(
        api_key=KEY, project_id=PROJECT, scenario=Scenario(outcomes=outcomes)
    ) as emulator:
        use(emulator, monkeypatch)
        yield emulator


async def documents(call: Call, folder: Path, *arguments: str) -> list[str]:
    """Return all documents that one call writes, and that another one prints."""
    texts: list[str] = []
    for name in ("report.json", "report.md"):
        await call("doctor", *arguments, "--report", str(folder / name))
        texts.append((folder / name).read_text(encoding="utf-8"))
    texts.append((await call("doctor", *arguments, "--json")).output)
    assert json.loads(texts[0])["doctor"] == json.loads(texts[2])["doctor"] == 2
    return texts


def assert_nothing_is_told(texts: list[str], emulator: Emulator) -> None:
    port = emulator.url.rpartition(":")[2]
    for text in texts:
        assert MARK not in text.casefold()
        for secret in (KEY[4:12], KEY[-8:], PROJECT, PROJECT[:8], str(NUMBER)):
            assert secret not in text
        for place in ("127.0.0.1", port, emulator.artifact_url, "http://", "https://"):
            assert place not in text
        for text_of_shop in ("Acme", "Checkout", "Scenario", "Given ", "acme"):
            assert text_of_shop not in text


def test_the_search_finds_what_is_planted() -> None:
    """Each text and each name that is planted holds the mark."""
    texts = planted("", {"name": "x", "status": "y", "url": "z"}, also_words=True)
    assert all(MARK in texts[name].casefold() for name in ("name", "status", "url"))
    assert all(MARK in f"{name} {value}".casefold() for name, value in UNKNOWN.items())


@pytest.mark.parametrize("also_words", [False, True], ids=["texts", "texts and words"])
async def test_no_value_and_no_name_is_told(
    call: Call, emulator: Emulator, tmp_path: Path, *, also_words: bool
) -> None:
    """Planted in every text of every answer, in every member's name, it is in no document."""

    def change(document: Any) -> object:
        return planted("", document, also_words=also_words)

    emulator.fail("*", Fault.edit(change))
    texts = await documents(call, tmp_path, "--run", "Checkout")
    assert_nothing_is_told(texts, emulator)
    assert json.loads(texts[0])["dispatches"] == ["run_feature"]


async def test_an_untouched_answer_is_not_told_either(
    call: Call, emulator: Emulator, tmp_path: Path
) -> None:
    """Of the shop as it is no name, text, address or id is in a document."""
    texts = await documents(call, tmp_path, "--run", "Checkout")
    assert_nothing_is_told(texts, emulator)


def refusal(code: str, message: str) -> bytes:
    return json.dumps({"error": code, "message": message, "Zq trace": "Zq"}).encode()


PAGE = b"<!DOCTYPE html><html><head><title>Zq sign in</title></head><body>Zq</body></html>"


def break_key(emulator: Emulator) -> None:
    emulator.fail("*", Fault.body(refusal("Zq code", f"Zq: {KEY} is revoked"), status=401))


def break_address(emulator: Emulator) -> None:
    headers = {"Location": "https://zq.example/elsewhere"}
    emulator.fail("*", Fault(kind="answer", answer=Answer(302, PAGE, headers=headers)))


def break_some(emulator: Emulator) -> None:
    for operation, fault in {
        "list_features": Fault.body(refusal("Zq code", "Zq: no"), status=403),
        "list_runs": Fault.body(PAGE),
        "get_run": Fault.body(refusal("Zq code", "Zq: no such run"), status=404),
        "list_files": Fault.body(b'{"a": [], "Zq rows": []}'),
        "read_file": Fault.body(refusal("Zq code", "Zq: no such file"), status=404),
        "list_configs": Fault.body(
            b'{"Zq total": 1, "nextLink": "https://zq.example/", "r": []}',
            content_type="text/zq",
        ),
        "get_project": Fault.body(b'"Zq text"'),
    }.items():
        emulator.fail(operation, fault)


def answer_with_a_page(emulator: Emulator) -> None:
    emulator.fail("*", Fault.body(PAGE, content_type="text/zq"))


@pytest.mark.parametrize("harm", [break_key, break_address, break_some, answer_with_a_page])
async def test_no_error_is_told(
    harm: Callable[[Emulator], None], call: Call, emulator: Emulator, tmp_path: Path
) -> None:
    """What refusals, pages and redirections say of themselves is on the terminal alone."""
    harm(emulator)
    assert_nothing_is_told(await documents(call, tmp_path), emulator)
    assert MARK in (await call("doctor")).output.casefold()


async def test_a_name_of_a_feature_that_is_not_there_is_not_told(
    call: Call, emulator: Emulator, tmp_path: Path
) -> None:
    """What the user named is in no document."""
    assert_nothing_is_told(await documents(call, tmp_path, "--run", "Zq feature"), emulator)


async def test_an_address_that_answers_nothing_is_not_told(
    call: Call, emulator: Emulator, tmp_path: Path
) -> None:
    """Where the server can't be reached, its address is on the terminal alone."""
    address = emulator.url.rpartition(":")[0] + ":9"
    texts = await documents(call, tmp_path, "--server", address)
    assert_nothing_is_told(texts, emulator)
    assert address in (await call("doctor", "--server", address)).output
