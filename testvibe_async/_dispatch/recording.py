"""What the recorders are told: the intent of each attempt, and what came of it.

Decides when an intent is too old to be sent. It never decides what becomes of a dispatch.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from testvibe_async._util.waiting import is_cancelled
from testvibe_async.errors import RecorderError, VibeError
from testvibe_async.events import logger
from testvibe_async.intents import INTENT_SECONDS

if TYPE_CHECKING:
    from testvibe_async._dispatch.dispatches import Dispatch
    from testvibe_async.intents import Intent, Recorder
    from testvibe_async.operations import ClientParts
    from testvibe_async.refs import Ref

__all__ = ["Recording"]

END_SECONDS = 10.0
"""How long a recorder may take to note what came of a dispatch."""


class Recording:
    """The client's recorder, and those of single dispatches."""

    def __init__(self, parts: ClientParts, recorder: Recorder | None) -> None:
        self._transport = parts.transport
        self._run_ids = parts.run_ids
        self._recorder = recorder

    async def begin(self, dispatch: Dispatch[Any]) -> None:
        """Have the intent of an attempt stored, right before it is written.

        Raises:
            RecorderError: A recorder failed, or it took too long.
        """
        intent = dispatch.new_intent(self._transport, self._run_ids)
        recorders = self._recorders_of(dispatch)
        if not recorders:
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with dispatch.recording:
            dispatch.is_recorded = True
            try:
                async with asyncio.timeout(INTENT_SECONDS):
                    for recorder in recorders:
                        await recorder.intended(intent)
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled():
                    raise
                raise self._error(dispatch, _why_not_recorded(error)) from error
        # The loop's clock stands still while the machine sleeps, and the wall's may be set back.
        waited = (datetime.now(UTC) - intent.intended_at).total_seconds()
        age = max(waited, loop.time() - began)
        if age > INTENT_SECONDS:
            what = (
                f"its intent was recorded only after {age:.3g} s, {INTENT_SECONDS:g} s are allowed"
            )
            raise self._error(dispatch, what)

    async def end(self, dispatch: Dispatch[Any], result: Ref | VibeError) -> None:
        """Note what came of the last attempt: its operation, or why nothing began."""
        if not dispatch.is_recorded:
            return
        intent = dispatch.intent
        assert intent is not None
        async with dispatch.recording:
            for recorder in self._recorders_of(dispatch):
                try:
                    async with asyncio.timeout(END_SECONDS):
                        await _note(recorder, intent, result)
                except Exception as error:  # noqa: BLE001 - the result is known, and must not be lost
                    text = str(result) if isinstance(result, VibeError) else result.to_json()
                    logger.error(
                        "what came of %s could not be recorded (%r): %s", intent, error, text
                    )
            dispatch.is_recorded = False  # Not before: a cancelled caller has it tried again.

    def intent_of(self, dispatch: Dispatch[Any]) -> Intent:
        """Return the intent of the last attempt, also where nobody said that it was being sent."""
        return dispatch.intent or dispatch.new_intent(self._transport, self._run_ids)

    def _recorders_of(self, dispatch: Dispatch[Any]) -> list[Recorder]:
        return [each for each in (self._recorder, dispatch.recorder) if each is not None]

    def _error(self, dispatch: Dispatch[Any], what: str) -> RecorderError:
        return RecorderError(
            f"not sent: {what}",
            method=dispatch.request.method,
            url=self._transport.url_of(dispatch.request),
        )


def _why_not_recorded(error: BaseException) -> str:
    """Say what a recorder did in place of storing an intent."""
    if isinstance(error, TimeoutError):
        return f"its recorder did not store the intent within {INTENT_SECONDS:g} s"
    if isinstance(error, asyncio.CancelledError):
        return "its recorder was cancelled before it had stored the intent"
    return f"its intent could not be recorded: {error!r}"


async def _note(recorder: Recorder, intent: Intent, result: Ref | VibeError) -> None:
    if isinstance(result, VibeError):
        await recorder.not_dispatched(intent, result)
    else:
        await recorder.dispatched(intent, result)
