"""`testvibe-async quarantine`: the entries that the repository's file should have, and may lose.

It reads the ledger and that file, asks no service, and writes nothing. What is proposed is decided
in `testvibe_async.runner.proposals`.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time
from rich.text import Text

from testvibe_async._core.util import escape
from testvibe_async.cli.common import common, stored_batches
from testvibe_async.runner.proposals import PASSES, proposed, removable
from testvibe_async.runner.quarantine import Quarantine
from testvibe_async.runner.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from testvibe_async.runner.kept import KeptBatch
    from testvibe_async.runner.quarantine import QuarantineEntry
    from testvibe_async.runner.stability import Trend

DAYS = 14
"""Number of days that a proposed entry lasts."""


async def quarantine(
    *, limit: Annotated[PositiveInt, Parameter(name=("--limit", "-n"))] = 20
) -> None:
    """Propose entries of the quarantine for flaky features, and say which entries may leave it.

    The entries are printed as the repository's file takes them; the owner is to be filled in.

    For example:

        testvibe-async quarantine
        testvibe-async quarantine --limit 50

    Args:
        limit: Number of the last batches that count.
    """
    current = Quarantine.read()
    batches: list[KeptBatch] = []
    async with stored_batches() as (stored, place):
        async for batch in stored.with_all_reruns(place):
            if batch.kind == "run" and len(batches) < limit:
                batches.insert(0, batch)
    new, old = proposed(batches, current), removable(batches, current)
    common.get().output.show(
        {"proposed": new, "removable": [str(each) for each in old]},
        lambda _: Text(_report(new, old, until=current.today + timedelta(days=DAYS))),
    )


def _report(new: Sequence[Trend], old: Sequence[QuarantineEntry], *, until: date) -> str:
    """Return the proposed entries in TOML, and a comment for each one that may leave."""
    entries = [
        f"[[quarantine]]\nfeature = {json.dumps(escape(each.feature), ensure_ascii=False)}\n"
        f'reason = "flaky in {each.words.count("flaky")} of {counted(each.counted, "batch")}"\n'
        f'owner = ""\nuntil = {until}\n'
        for each in new
    ]
    leaving = [f"# {escape(str(each))} passed {PASSES} times in a row: remove it" for each in old]
    return "\n".join([*entries, *leaving]) or "# Nothing to add, and nothing to remove."
