"""A second service, on the standard library's HTTP server: written from the contract alone.

It shares no line with the emulator, so that a recording of it shows what the emulator takes for
granted. Where the contract is silent it chooses otherwise: rows in an object with a total, `Queued`
before `Running`, problem documents, `ETag` and `Location`, times with milliseconds.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

KEY = "tvb_" + "Second0Service" * 3 + "0"
PROJECT = "9d0f6c1e-8a52-4e0b-b7f4-2c8f1d3e5a60"
Answer: TypeAlias = tuple[int, object]
QUEUE_SECONDS, RUN_SECONDS, GENERATION_SECONDS = 1.5, 3.0, 7.0


class State:
    """One project: features, runs, generations."""

    def __init__(self) -> None:
        names = ("Invoice", "Refund", "Price list", "Search", "Sign in", "Export", "Import")
        self.features: list[dict[str, Any]] = [
            {"id": 301 + i, "name": name, "made": time.time()} for i, name in enumerate(names)
        ]
        self.features[-1]["made"] = None
        self.runs: list[dict[str, Any]] = []
        self.generations: dict[int, dict[str, Any]] = {}

    def feature(self, key: str) -> dict[str, Any] | None:
        wanted = unquote(key).casefold()
        return next(
            (f for f in self.features if wanted in {str(f["id"]), f["name"].casefold()}), None
        )

    def status_of(self, feature: dict[str, Any]) -> str:
        generation = self.generations.get(feature["id"])
        if generation is not None:
            is_over = time.time() >= generation["at"] + GENERATION_SECONDS
            return "Generated" if is_over else "Generating"
        return "Draft" if feature["made"] is None else "Generated"

    def row(self, feature: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": feature["id"],
            "name": feature["name"],
            "kind": "Feature",
            "status": self.status_of(feature),
            "updatedUtc": _stamp(feature["made"]),
        }

    def digest(self, run: dict[str, Any], *, full: bool = True) -> dict[str, Any]:
        age = time.time() - run["at"]
        is_over = age >= QUEUE_SECONDS + RUN_SECONDS
        found: dict[str, Any] = {
            "runId": run["id"],
            "status": "Failed" if is_over else "Running" if age >= QUEUE_SECONDS else "Queued",
            "featureId": run["feature"]["id"],
            "featureName": run["feature"]["name"],
            "config": run["config"],
            "siteUrl": "https://ledger.example",
            "createdUtc": _stamp(run["at"]),
            "startedUtc": _stamp(run["at"] + QUEUE_SECONDS) if age >= QUEUE_SECONDS else None,
            "finishedUtc": _stamp(run["at"] + QUEUE_SECONDS + RUN_SECONDS) if is_over else None,
        }
        if full and is_over:
            error = "TimeoutError: locator.click: Timeout 5000ms exceeded."
            found["summary"] = {"total": 2, "passed": 1, "failed": 1, "other": 0}
            found["tests"] = [
                {"name": "Pays", "status": "Passed", "durationMs": 812.5, "error": None},
                {"name": "Pays twice", "status": "Failed", "durationMs": 1204.25, "error": error},
            ]
            found["artifacts"] = []
            found["log"] = ["Running 2 tests", "1 failed"]
        return found

    def generation(self, feature: dict[str, Any]) -> dict[str, Any]:
        found = {
            "featureId": feature["id"],
            "featureName": feature["name"],
            "featureStatus": self.status_of(feature),
        }
        generation = self.generations.get(feature["id"])
        if generation is not None:
            is_over = found["featureStatus"] == "Generated"
            found |= {
                "requestId": generation["id"],
                "runnerStarted": True,
                "overallStatus": "Completed" if is_over else "InProgress",
                "overallConclusion": "Success" if is_over else None,
                "updatedUtc": _stamp(generation["at"]),
                "sections": [],
            }
        return found


Act: TypeAlias = "Callable[[State, re.Match[str], dict[str, str], dict[str, Any]], Answer]"


class Handler(BaseHTTPRequestHandler):
    """Answers by a table of patterns."""

    protocol_version = "HTTP/1.1"
    state: State

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        """Say nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self._send(401, _problem(401, "The key is not valid."))
            return
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        for method, pattern, act in ROUTES:
            found = re.fullmatch(f"/api/v1/ops{pattern}", parts.path)
            if found and method == self.command:
                status, document = act(self.state, found, query, json.loads(body or b"{}"))
                self._send(status, document)
                return
        self._send(404, _problem(404, "There is nothing at this address."))

    def _send(self, status: int, document: object) -> None:
        body = json.dumps(document, indent=2).encode()
        kind = "application/problem+json" if status >= 400 else "application/json"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'W/"{uuid.uuid5(uuid.NAMESPACE_URL, body.decode()).hex[:12]}"')
        self.end_headers()
        self.wfile.write(body)


def _stamp(at: float | None) -> str | None:
    return (
        None
        if at is None
        else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + "250Z"
    )


def _problem(status: int, detail: str) -> dict[str, object]:
    return {"type": "about:blank", "title": "Problem", "status": status, "detail": detail}


def _rows(rows: list[Any]) -> Answer:
    return 200, {"items": rows, "total": len(rows)}


def _of_feature(act: Callable[[State, dict[str, Any], dict[str, Any]], Answer]) -> Act:
    def found(
        state: State, match: re.Match[str], _: dict[str, str], body: dict[str, Any]
    ) -> Answer:
        feature = state.feature(match[1])
        if feature is None:
            return 404, _problem(404, "There is no such feature.")
        return act(state, feature, body)

    return found


def _of_run(act: Callable[[State, dict[str, Any]], object]) -> Act:
    def found(state: State, match: re.Match[str], *_: object) -> Answer:
        run = next((each for each in state.runs if each["id"] == int(match[1])), None)
        return (200, act(state, run)) if run else (404, _problem(404, "There is no such run."))

    return found


def _run(state: State, feature: dict[str, Any], body: dict[str, Any]) -> Answer:
    if state.status_of(feature) != "Generated":
        return 409, _problem(409, "This feature has no tests.")
    run = {"id": 90_001 + len(state.runs), "feature": feature, "at": time.time()}
    state.runs.append({**run, "config": body.get("config", "Default")})
    return 202, {"runId": run["id"], "featureId": feature["id"]}


def _generate(state: State, feature: dict[str, Any], _: object) -> Answer:
    generation = {"id": uuid.uuid4().hex, "at": time.time()}
    state.generations[feature["id"]] = generation
    return 202, {"requestId": generation["id"], "featureId": feature["id"]}


def _list_runs(state: State, _: object, query: dict[str, str], __: object) -> Answer:
    wanted = state.feature(query["feature"]) if "feature" in query else None
    runs = [run for run in state.runs if wanted is None or run["feature"] is wanted]
    rows = [state.digest(run, full=False) for run in reversed(runs)]
    return _rows(rows[: int(query.get("limit", 100))])


def _list_features(state: State, *_: object) -> Answer:
    return _rows([state.row(feature) for feature in state.features])


def _always(answer: Answer) -> Act:
    def found(*_: object) -> Answer:
        return answer

    return found


_INFO = {"id": PROJECT, "name": "Ledger", "baseUrl": "https://ledger.example"}
_P = f"/projects/{PROJECT}"
_F = f"{_P}/features/([^/]+)"
_R = f"{_P}/runs/([0-9]+)"
ROUTES: list[tuple[str, str, Act]] = [
    ("GET", "/projects", _always(_rows([_INFO]))),
    ("GET", _P, _always((200, _INFO))),
    ("GET", f"{_P}/features", _list_features),
    (
        "GET",
        _F,
        _of_feature(
            lambda state, f, _: (200, {**state.row(f), "gherkin": "Feature: F\n", "rationale": ""})
        ),
    ),
    ("POST", f"{_F}/run", _of_feature(_run)),
    ("POST", f"{_F}/generate", _of_feature(_generate)),
    ("GET", f"{_F}/generation", _of_feature(lambda state, f, _: (200, state.generation(f)))),
    (
        "GET",
        f"{_F}/generation/log",
        _of_feature(
            lambda _, f, __: (200, {"featureId": f["id"], "requestId": None, "sections": []})
        ),
    ),
    ("GET", f"{_P}/runs", _list_runs),
    ("GET", _R, _of_run(State.digest)),
    ("GET", f"{_R}/artifacts", _of_run(lambda _, __: [])),
    ("GET", f"{_P}/configs", _always(_rows([{"name": "Default", "path": "Default.config.js"}]))),
]


@contextmanager
def serving() -> Generator[str]:
    """Serve it from a thread; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"state": State()}))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
