"""Those who listen to an operation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testvibe_async import (
        RunOperation,
        VibeError,
    )
    from testvibe_async._polling import PolledOperation


class TestIterating:
    async def test_a_listener_may_leave_during_a_notification(
        self, operation: RunOperation
    ) -> None:
        """A listener that leaves while it is notified takes no notification from the others."""
        notified: list[str] = []

        class Leaver:
            is_following = True

            def observed(self, polled: PolledOperation[Any], *, is_transition: bool) -> None:
                notified.append(f"{polled.state.phase} {is_transition}")
                polled.discard(self)

            def failed(self, polled: PolledOperation[Any], error: VibeError) -> None:  # noqa: ARG002
                raise error

        leavers = [Leaver() for _ in range(3)]
        for leaver in leavers:
            operation._polled.add(leaver)
        await asyncio.sleep(6)
        await operation.poll()

        assert notified == ["active True"] * 3
