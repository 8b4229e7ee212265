"""Operations that were dispatched before, as items.

Decides how to name an operation that was never observed. It dispatches nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testvibe_async.errors import VibeError
from testvibe_async.models import DEFAULT_CONFIG
from testvibe_async.outcomes import BatchItem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from testvibe_async.client import Client
    from testvibe_async.operations import Operation


async def completions_of(
    client: Client, operations: Sequence[Operation[Any]], *, timeout: float | None
) -> AsyncGenerator[BatchItem[Any]]:
    """Yield operations' items as they complete; at the timeout, the items of all others.

    Args:
        client: The client of the operations.
        operations: The operations.
        timeout: Seconds to wait; None for as long as it takes.

    Raises:
        VibeError: The error concerns no single operation.
    """
    by_key = {each.ref.key: each for each in operations}
    finished = client.finished(operations, timeout=timeout)
    for _ in by_key:
        error = None
        try:
            operation: Operation[Any] = await anext(finished)
        except VibeError as caught:
            if caught.ref is None:
                raise
            operation, error = by_key[caught.ref.key], caught
        yield item_of(operation, error)


def item_of(operation: Operation[Any], error: VibeError | None = None) -> BatchItem[Any]:
    """Return the item of an operation, as last observed.

    Args:
        operation: The operation.
        error: The error with which the wait for it ended; None if it is over, or waited for.
    """
    ref, snapshot = operation.ref, operation.snapshot
    name = snapshot.feature_name if snapshot else None
    config: str | None = getattr(snapshot, "config", None)
    feature = snapshot.feature_id if snapshot else getattr(ref, "feature_id", None)
    return BatchItem(
        feature=ref.to_json(),
        name=name or (str(ref) if feature is None else f"feature {feature}"),
        config=None if config == DEFAULT_CONFIG else config,
        ref=ref,
        outcome=None if error else operation.outcome,
        error=error,
    )
