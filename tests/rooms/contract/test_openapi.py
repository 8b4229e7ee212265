"""The contract as a document: valid, marked throughout, and the same as what the code says."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import pytest
from attrs import NOTHING, fields

from tests.support.checker import Checker
from testvibe_async import FeatureStatus, RunStatus, models
from testvibe_async._core.util.serialization import wire_name
from testvibe_async._core.wire import openapi_document
from testvibe_async._core.wire.endpoints import ENDPOINTS, Effect

DOCUMENT: Any = openapi_document()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
CHECKER = Checker()
OPERATIONS = CHECKER.operations

MODELS: dict[Any, list[str]] = {
    models.Artifact: ["Artifact", "LinkedArtifact"],
    models.CaseResult: ["Test"],
    models.Config: ["Config"],
    models.Diagnosis: ["Diagnosis"],
    models.DispatchedGeneration: ["DispatchedGeneration"],
    models.DispatchedRun: ["DispatchedRun"],
    models.Feature: ["Feature", "FeatureRow"],
    models.Generation: ["Generation"],
    models.GenerationLog: ["GenerationLog"],
    models.ProjectFile: ["File", "FileRow", "Spec"],
    models.ProjectInfo: ["Project"],
    models.Run: ["Run", "RunRow"],
    models.RunSummary: ["Summary"],
    models.Section: ["Section"],
    models.SectionLog: ["SectionLog"],
}
"""The schemas that each model reads."""

REQUESTS = {
    *("FeatureChanges", "FileContent", "GenerationOptions", "NewFeature", "Nothing", "RunOptions")
}
UNREAD = {"Error", "FeatureKey", "Instant", "Ok", "RunnerLog"}
"""Schemas that no model of their own reads."""


def success(name: str) -> tuple[str, Any]:
    """Return the status of an operation's success, and its definition."""
    responses = OPERATIONS[name].definition["responses"]
    ((status, response),) = ((s, r) for s, r in responses.items() if s.startswith("2"))
    return status, response


def resolved(response: Any) -> Any:
    """Return a response that may be a reference."""
    if "$ref" not in response:
        return response
    return DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]


def marked() -> Iterator[tuple[str, Any]]:
    """Return all that needs a mark, with a name for it."""
    components = DOCUMENT["components"]
    for kind in ("securitySchemes", "parameters", "responses"):
        yield from ((f"{kind} {name}", value) for name, value in components[kind].items())
    for name, schema in SCHEMAS.items():
        if schema.get("type") != "object":
            yield name, schema
        for field, value in schema.get("properties", {}).items():
            yield f"{name}.{field}", value
    for name, operation in OPERATIONS.items():
        definition = operation.definition
        yield name, definition
        for parameter in definition.get("parameters", []):
            yield f"{name} {parameter['name']}", parameter
        if "requestBody" in definition:
            yield f"{name} body", definition["requestBody"]
        yield f"{name} success", success(name)[1]
        for target, link in success(name)[1].get("links", {}).items():
            yield f"{name} to {target}", link


def test_it_is_openapi() -> None:
    """The document is valid OpenAPI 3.1."""
    from openapi_spec_validator import OpenAPIV31SpecValidator  # noqa: PLC0415 - it takes long

    assert DOCUMENT["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_its_operations_are_those_of_the_table() -> None:
    """Names, methods, paths, and whether the route is documented are those of the endpoints."""
    assert {
        (name, operation.method, operation.path, operation.definition["x-basis"])
        for name, operation in OPERATIONS.items()
    } == {
        (row.name, row.method, row.path, "documented" if row.is_documented else "assumed")
        for row in ENDPOINTS.values()
    }


@pytest.mark.parametrize("name", ENDPOINTS)
def test_operations_answer_alike(name: str) -> None:
    """Reads and changes answer 200, dispatches 202, a creation 201; all refuse in one shape."""
    created = "201" if name == "create_feature" else "200"
    assert success(name)[0] == ("202" if ENDPOINTS[name].effect is Effect.DISPATCHES else created)
    responses = OPERATIONS[name].definition["responses"]
    refusals = {status: resolved(r) for status, r in responses.items() if status[0] != "2"}
    common = {"401", "default"} if name == "list_projects" else {"400", "401", "404", "default"}
    assert refusals.keys() - {"409"} == common
    for status, response in refusals.items():
        schema = response["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Error"}
        is_assumed = status == "default" or (status == "409" and not ENDPOINTS[name].is_documented)
        assert response["x-basis"] == ("assumed" if is_assumed else "documented")


def test_requests_are_strict_and_answers_are_not() -> None:
    """A body that is sent holds nothing else; an answer may hold more."""
    objects = {name for name, schema in SCHEMAS.items() if schema.get("type") == "object"}
    strict = {name for name in objects if SCHEMAS[name].get("additionalProperties") is False}
    assert strict == REQUESTS
    assert not {name for name in objects - strict if "additionalProperties" in SCHEMAS[name]}
    sent = {
        operation.definition["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        for operation in OPERATIONS.values()
        if "requestBody" in operation.definition
    }
    assert sent == {f"#/components/schemas/{name}" for name in REQUESTS}


def test_each_model_knows_the_fields_of_its_documents() -> None:
    """A model has the fields of its schemas, no more and no fewer.

    What a model requires, each of its schemas promises.
    """
    assert {
        each for names in MODELS.values() for each in names
    } == SCHEMAS.keys() - REQUESTS - UNREAD
    for model, names in MODELS.items():
        known = {
            wire_name(f.name): f.default is NOTHING for f in fields(model) if f.name != "extra"
        }
        assert {field for name in names for field in SCHEMAS[name]["properties"]} == known.keys()
        for name in names:
            required = {field for field, is_required in known.items() if is_required}
            assert required <= set(SCHEMAS[name].get("required", []))


@pytest.mark.parametrize(
    ("place", "words"),
    [
        *[(f"{name}.status", RunStatus) for name in ("Run", "RunRow", "Diagnosis")],
        *[(f"{name}.status", FeatureStatus) for name in ("Feature", "FeatureRow")],
        ("Generation.featureStatus", FeatureStatus),
    ],
)
def test_the_documented_words_are_the_enums(place: str, words: type[StrEnum]) -> None:
    """The documented statuses are those of the enums, and a schema allows other words too."""
    name, field = place.split(".")
    schema = SCHEMAS[name]["properties"][field]
    assert schema["x-words"]["documented"] == list(words)
    assert "enum" not in schema
