"""The contract as a document: valid, and the same as what the code says."""

from typing import Any

from attrs import NOTHING, fields

from tests.support.checker import Checker
from testvibe_async import models
from testvibe_async._core.util.serialization import wire_name
from testvibe_async._core.wire import openapi_document
from testvibe_async._core.wire.endpoints import ENDPOINTS

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
