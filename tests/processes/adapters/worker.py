"""A worker of a durable batch in a process of its own, which may stop or kill itself.

`python -m tests.processes.adapters.worker OPTIONS`, with the options as JSON; see `work`.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections import Counter
from typing import Any

from testvibe_async import Client
from testvibe_async._batch import Entry, EntryState
from testvibe_async._dispatch import dispatch
from testvibe_async.adapters.durable import DurableBatch
from testvibe_async.adapters.store import DurableStore


def hurt_itself(step: str, *, at: int, how: str) -> None:
    """Have this process send itself a signal at the given intent or answer.

    Args:
        step: `after the intent`, between the stored intent and the first byte, or `after the
            answer`, between the answer and the stored ref.
        at: At the how many-th.
        how: The signal's name.
    """
    save_intent, save = DurableStore.save_intent, DurableStore.save
    count = 0

    def note() -> None:
        nonlocal count
        count += 1
        if count == at:
            print(how, flush=True)
            os.kill(os.getpid(), signal.Signals[how])

    async def intent_saved(store: DurableStore, entry: Entry[Any]) -> None:
        await save_intent(store, entry)
        note()

    def answer_saved(store: DurableStore, entry: Entry[Any]) -> None:
        if entry.state is EntryState.DISPATCHED and entry.is_carried:
            note()
        save(store, entry)

    if step == "after the intent":
        setattr(DurableStore, "save_intent", intent_saved)  # noqa: B010
    else:
        setattr(DurableStore, "save", answer_saved)  # noqa: B010


async def work(options: dict[str, Any]) -> None:
    """Work on a batch to its end, and print how many items have which verdict."""
    logging.basicConfig(level=logging.WARNING)
    setattr(dispatch, "LATE_SECONDS", 4.0)  # noqa: B010 - time is real here
    client = Client(
        options["server"],
        api_key=options["api_key"],
        project=options["project"],
        poll_interval=0.5,
        timeout=options.get("timeout", 2.0),
    )
    if "step" in options:
        hurt_itself(options["step"], at=options["at"], how=options["how"])
    async with client:
        items = await DurableBatch(options["url"], id=options["id"]).work(client)
    for item in items:
        if item.error is not None:
            print(item.feature, item.error, file=sys.stderr)
    print(json.dumps(Counter(str(item.verdict) for item in items)))


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
