"""Writing in a thread, with many records in one transaction.

All records that arrive while one transaction is written go into the next, so that many records at
once cost one commit. A record that no caller waits for, and that could not be written, goes into
the next transaction again. Callers decide what is written, and where.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeAlias, TypeVar

from testvibe_async._core.util.waiting import wait_uncancelled

T = TypeVar("T")
ConnectionT = TypeVar("ConnectionT")
Job: TypeAlias = tuple[
    Callable[[ConnectionT], Any],
    "asyncio.Future[Any] | None",
    "Callable[[Exception], object] | None",
]
"""A function, and its waiting caller, or else what is called if it fails for the first time."""


class GroupCommit(ABC, Generic[ConnectionT]):
    """Calls functions with a connection in a thread; concurrent calls share a transaction."""

    def __init__(self) -> None:
        """Create it; the thread starts with the first call."""
        self._executor: ThreadPoolExecutor | None = None
        self._waiting: list[Job[ConnectionT]] = []
        self._unwritten: list[Callable[[ConnectionT], Any]] = []
        """Jobs without a waiting caller that the last transaction could not write, oldest first."""
        self._writing: asyncio.Task[None] | None = None
        self._is_closed = False
        self._failure: Exception | None = None
        """The reason why; None once they are written."""
        self.commits: int = 0
        """Number of committed transactions."""

    async def write(self, work: Callable[[ConnectionT], T]) -> T:
        """Call a function with the connection, and wait until its changes are committed.

        This method raises the error of any function of the same transaction, or of the commit, and
        a `ValueError` once it is closed.
        """
        written: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._add(work, written, None)
        return await written

    def write_soon(
        self, work: Callable[[ConnectionT], Any], failed: Callable[[Exception], object]
    ) -> None:
        """Schedule a call of a function with the connection, after all others.

        If it fails, `failed` is called, and the function is called again with each later
        transaction until it succeeds. Does nothing once it is closed.
        """
        self._add(work, None, failed)

    def take_failure(self) -> Exception | None:
        """Return the reason why records that no caller waits for could not be written, once."""
        error, self._failure = self._failure, None
        return error

    async def aclose(self) -> None:
        """Write pending records, and end the thread, even if cancelled. Idempotent."""
        self._is_closed = True
        try:
            if self._writing is not None:
                await wait_uncancelled([self._writing])
        finally:
            # The writer's task may have been cancelled before its first step.
            await self._write_all(is_last=self._executor is not None)
            executor, self._executor = self._executor, None
            if executor is not None:
                loop = asyncio.get_running_loop()
                disconnected = loop.run_in_executor(executor, self._disconnect)
                await wait_uncancelled([disconnected])
                executor.shutdown()
                disconnected.result()

    @abstractmethod
    def _commit(self, works: list[Callable[[ConnectionT], Any]]) -> list[Any]:
        """Call all functions in one transaction, and commit it; runs in the thread."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Close the connection; runs in the thread."""

    def _add(
        self,
        work: Callable[[ConnectionT], Any],
        written: asyncio.Future[Any] | None,
        failed: Callable[[Exception], object] | None,
    ) -> None:
        if self._is_closed:  # It would connect again, and never disconnect.
            if written is not None:
                written.set_exception(ValueError("nothing can be written: it is closed"))
            return
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="testvibe_async writer")
        self._waiting.append((work, written, failed))
        if self._writing is None or self._writing.done():
            self._start()

    def _start(self) -> None:
        self._writing = asyncio.create_task(self._write_all(), name="testvibe_async writer")
        self._writing.add_done_callback(self._note_end)

    def _note_end(self, ended: asyncio.Task[None]) -> None:
        if self._waiting and ended is self._writing:  # It was cancelled before its first step.
            self._start()

    async def _write_all(self, *, is_last: bool = False) -> None:
        """Write all pending records, one transaction after the other, even if cancelled."""
        loop = asyncio.get_running_loop()
        while self._waiting or (is_last and self._unwritten):
            is_last = False
            jobs, self._waiting = self._waiting, []
            earlier, self._unwritten = self._unwritten, []
            works: list[Callable[[ConnectionT], Any]] = [work for work, *_ in jobs]
            works[:0] = earlier
            try:
                writing = loop.run_in_executor(self._executor, self._commit, works)
                with suppress(asyncio.CancelledError):  # The thread commits it anyway.
                    await wait_uncancelled([writing])
                results = writing.result()
            except Exception as error:  # noqa: BLE001 - the waiting callers get it
                self._unwritten = earlier
                self._fail(jobs, error)
                continue
            self.commits += 1
            self._failure = None
            for (_, written, _), result in zip(jobs, results[len(earlier) :], strict=True):
                if written is not None and not written.done():  # otherwise it was cancelled
                    written.set_result(result)

    def _fail(self, jobs: list[Job[ConnectionT]], error: Exception) -> None:
        for work, written, failed in jobs:
            if failed is not None:
                self._unwritten.append(work)
                failed(error)
            elif written is not None and not written.done():
                written.set_exception(error)
        if self._unwritten:
            self._failure = error
