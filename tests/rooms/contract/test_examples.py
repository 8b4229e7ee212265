"""The examples that the service's documentation prints, and those who have to agree with them.

They stand in the contract's document. Our models read them, and the emulator answers the like in
the same state.
"""

import asyncio
import json
from typing import Any, cast

import pytest

from tests.conftest import KEY
from tests.support.checker import API, Checker, closed
from tests.support.shop import P
from testvibe_async import Client, ConflictError, UnauthorizedError
from testvibe_async._core.util.serialization import serialize
from testvibe_async._core.wire import openapi_document, read
from testvibe_async._core.wire.endpoints import ENDPOINTS
from testvibe_async.testing import Emulator, Outcome, Scenario

CHECKER = Checker()
CLOSED = Checker(closed(openapi_document()))
LOGIN = "Login Functionality"
FAILING = "Locked-out user sees an error"

EXAMPLES: dict[tuple[str, str], Any] = {
    (name, status): media["examples"]["documented"]["value"]
    for name, operation in CHECKER.operations.items()
    for status, response in operation.definition["responses"].items()
    if "content" in response
    for media in response["content"].values()
    if "examples" in media
}
"""By operation and status."""

ERRORS: dict[str, Any] = {
    name: response["content"]["application/json"]["examples"]["documented"]["value"]
    for name, response in openapi_document()["components"]["responses"].items()
    if "examples" in response["content"]["application/json"]
}

SENT: dict[str, tuple[str, Any]] = {
    "get_feature": ("GET /features/Login%20Functionality", None),
    "generate_feature": ("POST /features/Login%20Functionality/generate", {}),
    "get_generation_status": ("GET /features/Checkout/generation", None),
    "get_generation_log": ("GET /features/Returns/generation/log", None),
    "run_feature": ("POST /features/Login%20Functionality/run", {}),
    "get_run": ("GET /runs/214", None),
    "diagnose_run": ("GET /runs/214/diagnosis", None),
    "get_run_artifacts": ("GET /runs/214/artifacts", None),
    "update_feature": ("PATCH /features/Login%20Functionality", {"gherkin": "Feature: Login\n"}),
    "write_file": ("PUT /files/content", {"path": "Features/a.feature", "content": "x"}),
}
"""What brings the prepared emulator to answer the like."""

SCENARIO = Scenario(
    generation_warm_up=20,
    outcomes={
        LOGIN: Outcome(failing=(FAILING,), run_queue=5, run_duration=20),
        "Returns": Outcome(generation_status="failed"),
    },
)
"""A run fails, a generation too; another one is at work after 20 s."""


async def send(client: Client, words: str, body: Any) -> Any:
    """Send a request, such as `GET /runs/214`, and return the JSON of the answer as it is."""
    method, _, path = words.partition(" ")
    return await client.request(method, P.removeprefix(API) + path, body=body)


async def prepare(client: Client) -> None:
    """Bring the emulator to the state that the examples were taken in."""
    await send(client, *SENT["run_feature"])
    await send(client, "POST /features/Returns/generate", {})
    await asyncio.sleep(600)
    await send(client, "POST /features/Checkout/generate", {})
    await asyncio.sleep(30)


def shape(document: Any, place: str = "$") -> set[str]:
    """Return the types of value that a document has in each place; the rows of a list are one."""
    if isinstance(document, dict):
        members = cast("dict[str, object]", document).items()
        return {each for name, value in members for each in shape(value, f"{place}.{name}")}
    if isinstance(document, list):
        rows = cast("list[object]", document)
        return {each for row in rows for each in shape(row, f"{place}[]")}
    return {f"{place}: {type(document).__name__}"}


def test_all_examples_are_here() -> None:
    """The document has an example of each answer that the documentation prints."""
    assert EXAMPLES.keys() == {
        (name, {"DISPATCHES": "202"}.get(ENDPOINTS[name].effect.name, "200")) for name in SENT
    }
    assert ERRORS.keys() == {"Unauthorized", "Conflict"}


def without_nulls(document: Any) -> Any:
    if isinstance(document, list):
        return [without_nulls(row) for row in cast("list[object]", document)]
    if not isinstance(document, dict):
        return document
    members = cast("dict[str, object]", document).items()
    return {name: without_nulls(value) for name, value in members if value is not None}


@pytest.mark.parametrize(("name", "status"), EXAMPLES)
def test_an_example_fits_its_schema_and_is_read_exactly(name: str, status: str) -> None:
    """It has no member or word that the document does not have; each value is in our model."""
    example = EXAMPLES[name, status]
    body = json.dumps(example).encode()
    assert list(CHECKER.answer(name, int(status), body)) == []
    assert list(CLOSED.answer(name, int(status), body)) == []
    model = read(body, ENDPOINTS[name].answer)
    if example == {"ok": True}:
        assert model is None
    else:
        assert serialize(model, nulls=False) == without_nulls(example)
    for each in cast("list[object]", model if isinstance(model, list) else [model]):
        assert not getattr(each, "extra", None)


@pytest.mark.parametrize(("name", "status"), EXAMPLES)
async def test_the_emulator_answers_the_like(
    name: str, status: str, emulator: Emulator, client: Client
) -> None:
    """In the state of the example the emulator answers with its members, of its types."""
    await prepare(client)
    answer = await send(client, *SENT[name])
    assert emulator.requests[-1].operation == name
    assert emulator.requests[-1].status == int(status)
    assert shape(EXAMPLES[name, status]) - shape(answer) == set()


async def test_errors_are_as_printed(emulator: Emulator, client: Client) -> None:
    """The emulator refuses in the documentation's words, and our errors have them."""
    await send(client, *SENT["generate_feature"])
    with pytest.raises(ConflictError) as conflict:
        await send(client, *SENT["generate_feature"])
    async with Client(emulator.url, api_key=KEY) as stranger:
        with pytest.raises(UnauthorizedError) as unauthorized:
            await stranger.list_projects()
    assert {
        name: {"error": caught.value.code, "message": caught.value.message}
        for name, caught in (("Conflict", conflict), ("Unauthorized", unauthorized))
    } == ERRORS
