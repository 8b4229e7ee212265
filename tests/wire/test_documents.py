"""Documents and schemas: a document is what the service sent, and fits its schema."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import AttrsInstance, fields
from jsonschema import Draft202012Validator

from testvibe_async import (
    Artifact,
    CaseResult,
    Diagnosis,
    Feature,
    Generation,
    GenerationLog,
    ProjectFile,
    ProjectInfo,
    Run,
    RunStatus,
    Section,
)
from testvibe_async._util.serialization import serialize, wire_name
from testvibe_async._wire.convert import read
from testvibe_async._wire.documents import Schema, json_schema

MODELS = (Artifact, Diagnosis, Feature, Generation, GenerationLog, ProjectFile, ProjectInfo, Run)

RUN = b"""
{"runId": 214, "status": "failed", "featureId": 12, "featureName": "Login", "config": "Default",
 "siteUrl": "https://shop.acme.example", "createdUtc": "2026-06-10T16:02:11Z",
 "startedUtc": "2026-06-10T16:02:19Z", "finishedUtc": "2026-06-10T16:02:54Z",
 "summary": {"total": 2, "passed": 1, "failed": 1, "other": 0},
 "tests": [{"name": "In", "status": "passed", "durationMs": 4210, "error": null},
           {"name": "Out", "status": "failed", "durationMs": 9120, "error": "Timeout"}],
 "artifacts": [{"kind": "trace", "path": "trace/out.zip", "size": 482133, "url": null}],
 "log": "the end", "novelty": {"deep": [1, null]}}
"""


def fits(value: Any, declared: Schema) -> bool:
    return Draft202012Validator(declared).is_valid(value)  # pyright: ignore[reportUnknownMemberType]


def test_a_document_is_what_the_service_sent() -> None:
    """A document that is read and serialized stays the same, unknown fields included."""
    assert serialize(read(RUN, Run)) == read(RUN, object)


def test_instants_are_utc() -> None:
    """An instant is serialized as the service writes it."""
    feature = Feature(1, "A", updated_at=datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC))
    assert serialize(feature)["updatedUtc"] == "2026-06-10T14:32:07Z"


def test_enums_are_plain_words() -> None:
    """A status is a plain string, documented or not."""
    assert type(serialize(Run(1, RunStatus.PASSED))["status"]) is str
    assert serialize(Run(1, "paused"))["status"] == "paused"


@pytest.mark.parametrize("model", MODELS)
def test_schemas_declare_every_field(model: type[AttrsInstance]) -> None:
    """Each field of a model is declared under its wire name, except the unknown ones."""
    declared = json_schema(model)["properties"]
    assert set(declared) == {
        wire_name(field.name) for field in fields(model) if field.name != "extra"
    }


@pytest.mark.parametrize("model", MODELS)
def test_schemas_are_schemas(model: type[AttrsInstance]) -> None:
    """Each declaration is a valid JSON schema."""
    Draft202012Validator.check_schema(json_schema(model))


@pytest.mark.parametrize(
    "value",
    [
        read(RUN, Run),
        Run(1, "running"),
        Generation(),
        Generation(1, sections=(Section("login"),)),
        Diagnosis(1, "failed", failures=(CaseResult("Out", duration_ms=0.5),)),
        Feature(1, "A"),
    ],
)
def test_documents_fit_their_schemas(value: AttrsInstance) -> None:
    """A serialized model fits its schema, with nulls and with unknown fields."""
    assert fits(serialize(value), json_schema(type(value)))


def test_schemas_refuse_wrong_documents() -> None:
    """A document without its id, or with a word for a number, does not fit."""
    assert fits({"runId": 1, "status": "passed"}, json_schema(Run))
    assert not fits({"status": "passed"}, json_schema(Run))
    assert not fits({"runId": "1", "status": "passed"}, json_schema(Run))
    assert not fits({"runId": 1, "status": ["passed"]}, json_schema(Run))


def test_documents_fit_that_could_not_be_read_in_full() -> None:
    """A member of another type, which is kept as it was sent, fits the schema."""
    log, error = [{"level": "info", "text": "x"}], {"message": "no"}
    sent = {"log": log, "tests": [{"name": "A", "status": "failed", "error": error}]}
    run = read(json.dumps({"runId": 1, "status": "failed", **sent}).encode(), Run)
    document = serialize(run)
    assert (document["log"], document["tests"][0]["error"]) == (log, error)
    assert fits(document, json_schema(Run))


def test_documented_statuses_are_named() -> None:
    """The schema names the documented statuses, and allows others."""
    assert json_schema(Run)["properties"]["status"] == {
        "type": "string",
        "description": "running, passed, failed, or another word",
    }
