"""Documents: what the service sent, as values that JSON can hold."""

import json
from datetime import UTC, datetime

from testvibe_async import Feature, Run, RunStatus
from testvibe_async._util.serialization import serialize
from testvibe_async._wire.convert import read

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


def test_a_document_keeps_what_could_not_be_read() -> None:
    """A member of another type is as it was sent."""
    log, error = [{"level": "info", "text": "x"}], {"message": "no"}
    sent = {"log": log, "tests": [{"name": "A", "status": "failed", "error": error}]}
    run = read(json.dumps({"runId": 1, "status": "failed", **sent}).encode(), Run)
    document = serialize(run)
    assert (document["log"], document["tests"][0]["error"]) == (log, error)
