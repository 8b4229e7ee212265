"""The examples that the service's documentation prints, and those who have to agree with them.

They stand in the contract's document, against which all answers of the emulator are checked.
"""

import json
from typing import Any, cast

import pytest

from tests.conftest import KEY
from tests.support.checker import Checker, closed
from tests.support.raising import raised
from testvibe_async import Client, ConflictError, Project, UnauthorizedError
from testvibe_async._core.util.serialization import serialize
from testvibe_async._core.wire import openapi_document, read
from testvibe_async._core.wire.endpoints import ENDPOINTS
from testvibe_async.testing import Emulator

CHECKER = Checker()
CLOSED = Checker(closed(openapi_document()))

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


async def test_errors_are_as_printed(emulator: Emulator, project: Project) -> None:
    """The emulator refuses in the documentation's words, and our errors have them."""
    await project.generate_feature("Login Functionality")
    conflict = await raised(ConflictError, project.generate_feature("Login Functionality"))
    async with Client(emulator.url, api_key=KEY) as stranger:
        unauthorized = await raised(UnauthorizedError, stranger.list_projects())
    assert {
        name: {"error": error.code, "message": error.message}
        for name, error in (("Conflict", conflict), ("Unauthorized", unauthorized))
    } == ERRORS
