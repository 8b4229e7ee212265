"""Holds all that the tests send to the emulator, and all that it answers, against the contract.

A pytest plugin. It sees a request as it arrives, and an answer as the operation makes it: what a
fault sends in its place, or a test changes in it, is no answer of the emulator's. Requests are
checked where a method of our client sends them: `Client.request` is there for what the contract
does not have, and tests of the emulator itself send wrong ones on purpose.
"""

import os
from collections import Counter
from functools import lru_cache
from typing import Any, TypeAlias

import pytest

from tests.support.checker import Checker, complete
from testvibe_async._core.wire import Request, custom_request, openapi_document
from testvibe_async.testing import RecordedRequest
from testvibe_async.testing.answers import Answer
from testvibe_async.testing.api import Api, Middleware
from testvibe_async.testing.origin import Exchange

SHOWN = 10
REMEMBERED = 4096
OUR_AGENT = "testvibe-async/"
REFUSED = 400

Query: TypeAlias = tuple[tuple[str, str], ...]


class Recorder:
    """Counts what was checked, and keeps what was wrong."""

    def __init__(self) -> None:
        self.requests = 0
        self.answers = 0
        self.violations: list[str] = []
        self._custom = Counter[tuple[object, ...]]()
        """Requests by `Client.request` that have not arrived."""
        checker = Checker(complete(openapi_document()))

        # Polls repeat each other byte for byte: what was checked once needs no second check.
        @lru_cache(REMEMBERED)
        def of_request(name: str, path: str, query: Query, body: bytes) -> tuple[str, ...]:
            return tuple(checker.request(name, path, dict(query), body))

        @lru_cache(REMEMBERED)
        def of_answer(name: str, status: int, body: bytes) -> tuple[str, ...]:
            return tuple(checker.answer(name, status, body))

        self._problems_of_request, self._problems_of_answer = of_request, of_answer
        self._patch = pytest.MonkeyPatch()

    def pytest_sessionstart(self) -> None:
        """Look over the shoulder of every emulator of this process."""
        receive = Api.receive

        def recorded(api: Api, record: RecordedRequest) -> Exchange:
            exchange = receive(api, record)
            # A middleware breaks the contract on purpose.
            is_plain = type(api.middleware) is Middleware
            return self._recorded(exchange) if is_plain else exchange

        def custom(method: str, path: str, **parts: Any) -> Request[Any]:
            request = custom_request(method, path, **parts)
            self._custom[_key(request)] += 1
            return request

        self._patch.setattr(Api, "receive", recorded)
        self._patch.setattr("testvibe_async.client.custom_request", custom)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add what a worker of pytest-xdist has checked; one that crashed says nothing."""
        output = getattr(node, "workeroutput", {}).get("contract", (0, 0, []))
        self.requests += output[0]
        self.answers += output[1]
        self.violations += output[2]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session if anything was wrong, or tell the controller."""
        self._patch.undo()
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["contract"] = (self.requests, self.answers, self.violations)
        elif self.violations:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say in a line what was checked, and what was wrong first."""
        if self.violations:
            terminalreporter.section("contract", red=True)
        for violation in list(dict.fromkeys(self.violations))[:SHOWN]:
            terminalreporter.write_line(violation)
        terminalreporter.write_line(
            f"contract: {self.requests} requests and {self.answers} answers checked, "
            f"{len(self.violations)} violations"
        )

    def _recorded(self, exchange: Exchange) -> Exchange:
        record = exchange.record
        problems = self._request(record) if record.operation else []
        self.violations += problems

        def act() -> Answer:
            answer = exchange.act()
            if answer.status == REFUSED:
                # A test that asks for what the service refuses is a test of the contract.
                for problem in problems:
                    self.violations.remove(problem)
            self._answer(record, answer)
            return answer

        return Exchange(record, act, exchange.write)

    def _request(self, record: RecordedRequest) -> list[str]:
        if not record.headers.get("User-Agent", "").startswith(OUR_AGENT):
            return []
        if self._custom and self._custom[key := _key(record)]:
            self._custom[key] -= 1
            return []
        self.requests += 1
        query = tuple(record.query.items())
        found = self._problems_of_request(record.operation or "", record.path, query, record.body)
        return [_named(record, f"request {problem}") for problem in found]

    def _answer(self, record: RecordedRequest, answer: Answer) -> None:
        # What is no operation is answered as any operation refuses.
        operation = record.operation or "list_projects"
        self.answers += 1
        found = self._problems_of_answer(operation, answer.status, answer.body)
        self.violations += [_named(record, f"answer {problem}") for problem in found]


def _key(request: Request[Any] | RecordedRequest) -> tuple[object, ...]:
    return request.method, request.path, *sorted(request.query.items())


def _named(record: RecordedRequest, problem: str) -> str:
    test = os.environ.get("PYTEST_CURRENT_TEST", "no test").partition(" (")[0]
    return f"{record.operation or record.path}: {problem} ({test})"
