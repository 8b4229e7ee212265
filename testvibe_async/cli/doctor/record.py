"""What was asked and found so far: each answer is kept, judged, and its findings are added.

It decides what becomes of a request that got no answer, and the exit code. Which requests are made
is decided in `examination`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testvibe_async import RateLimitedError, ServerError, VibeError
from testvibe_async.cli.doctor import lists
from testvibe_async.cli.doctor.answers import judge
from testvibe_async.cli.doctor.findings import unchecked
from testvibe_async.cli.doctor.judging import findings_of
from testvibe_async.cli.exits import ExitCode, exit_code_of, worst_of
from testvibe_async.cli.words import reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testvibe_async._wire import Request
    from testvibe_async.cli.doctor.answers import Answer
    from testvibe_async.cli.doctor.asking import Asker
    from testvibe_async.cli.doctor.findings import Finding

__all__ = ["Record", "StopError"]

MAX_LOST = 2
"""After how many requests in a row without an answer nothing more is asked."""


class StopError(Exception):
    """There is no use in asking more; it says why."""


class Record:
    """The answers and findings of one examination."""

    def __init__(self, asker: Asker) -> None:
        """Make an empty one.

        Args:
            asker: Sends the requests.
        """
        self.asker = asker
        self.findings: list[Finding] = []
        self.answers: list[Answer] = []
        self.codes: set[ExitCode] = set()
        """The exit codes that apply, except that of differences."""
        self._lost = 0
        """How many requests in a row got no answer."""

    @property
    def usable(self) -> list[Answer]:
        """The answers that our commands can use."""
        return [answer for answer in self.answers if answer.error is None]

    @property
    def exit_code(self) -> ExitCode:
        """How the command ends."""
        is_worse = any(finding.has_consequences for finding in self.findings)
        return worst_of([*self.codes, ExitCode.FAILED if is_worse else ExitCode.PASSED])

    def skip(self, names: Iterable[str], why: str) -> None:
        """Say of operations why they were not checked."""
        self.findings += [unchecked(name, why) for name in names]

    async def check(self, request: Request[Any]) -> Answer | None:
        """Ask, and say how the answer holds against the contract; None where none came.

        Raises:
            StopError: See `ask`.
        """
        answer = await self.ask(request)
        if answer is not None:
            await self.keep(answer)
        return answer

    async def keep(self, answer: Answer) -> None:
        """Say how an answer holds; for a list in pages, ask for the second one."""
        self.answers.append(answer)
        self.findings += findings_of(answer)
        if answer.following is None:
            return
        page = None
        if not isinstance(answer.following, str):
            page = await self.ask(answer.following)
        self.findings.append(lists.about_pages(answer, page))

    async def ask(self, request: Request[Any]) -> Answer | None:
        """Ask; None where no answer came, which is said.

        Raises:
            StopError: It was not the first in a row.
        """
        try:
            answer = judge(*await self.asker.read(request))
        except VibeError as error:
            self.codes.add(exit_code_of(error))
            name = request.endpoint.name
            self.findings.append(unchecked(name, "no answer came", quoted=reason(error)))
            self._lost += 1
            if self._lost == MAX_LOST:
                raise StopError("the service has stopped answering") from error
            return None
        self._lost = 0
        if isinstance(answer.error, ServerError | RateLimitedError):
            self.codes.add(ExitCode.UNREACHABLE)
        return answer
