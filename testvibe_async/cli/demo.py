"""`testvibe-async demo`: the SDK at work, on an emulated service that is quick.

Nothing is put on: the client speaks HTTP to the emulator over a socket, and every row is what it
observed. `_work` is what an application would write; the rest makes the stage and says how it went.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from testvibe_async import BatchItem, Client, Run, RunRef
from testvibe_async.cli import details
from testvibe_async.cli.board import Board
from testvibe_async.cli.dispatch import jobs_of
from testvibe_async.cli.emulator import Speed, make_emulator
from testvibe_async.cli.ending import Ending
from testvibe_async.cli.live import drawn, lines
from testvibe_async.cli.words import many
from testvibe_async.testing import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async import Feature
    from testvibe_async.testing import Emulator

__all__ = ["demo", "perform"]

POLL_SECONDS = 0.3


async def demo(*, features: Path | None = None, seed: int = 3, speed: Speed = 1.0) -> None:
    """Generate one feature and run all of them at once, against an emulator of its own.

    It takes about 15 seconds and needs no account: nothing leaves this machine.

    Args:
        features: A folder of .feature files that takes the place of the small shop's.
        seed: Decides how long things take and which tests fail; the same tells the same story.
        speed: How many times faster to go.
    """
    emulator = make_emulator(features=features, scenario=_scenario(seed), speed=speed)
    console = Console()
    live = console.is_interactive and sys.stdout.isatty()
    await perform(console, emulator, live=live, poll_interval=POLL_SECONDS / speed)


async def perform(
    console: Console, emulator: Emulator, *, live: bool, poll_interval: float
) -> None:
    """Play the demo.

    Args:
        console: Where to show it.
        emulator: The service, not started yet.
        live: Whether the console can be drawn on; else it is written to, line by line.
        poll_interval: Seconds between two looks at a run.
    """
    board = Board(asyncio.get_running_loop().time)
    try:
        async with emulator, _client(emulator, board, poll_interval) as client:
            _say(console, Text(f"An emulated TestVibe serves at {emulator.url}.\n"))
            with (drawn if live else lines)(board, console):
                items = await _work(client, board)
    except BaseException:
        _say(console, _how_far(board, _width(console)))
        raise
    if live:
        console.print(board.draw(console.width))
    _say(console, _outcome(items, board, _width(console)))


async def _work(client: Client, board: Board) -> list[BatchItem[Run]]:
    """Generate the feature that has no tests yet, then run all at once."""
    project = client.project()
    features = [each for each in await project.list_features() if not each.is_suggestion]
    board.expect(jobs_of(features), RunRef)
    generation = await project.generate_feature(_to_generate(features).id)
    async for change in generation.updates():
        board.update(generation.ref, change)
    (await generation).raise_for_status()
    items: list[BatchItem[Run]] = []
    async with project.run_features(features) as batch:
        async for item in batch:
            board.settle(item)
            items.append(item)
    return items


def _to_generate(features: Sequence[Feature]) -> Feature:
    """Choose the first without tests; where all have some, the first is generated anew."""
    without = (each for each in features if not each.has_tests)
    return next(without, features[0])


def _scenario(seed: int) -> Scenario:
    """Return how the service behaves: as the real one, but in seconds, and with more failures."""
    return Scenario(
        seed=seed,
        generation_warm_up=(0.9, 1.2),
        generation_section=(0.9, 1.2),
        verification=(0.5, 0.8),
        failing_generations=0.0,
        run_queue=(0.3, 2.0),
        run_duration=(1.7, 6.0),
        failing_runs=0.25,
    )


def _client(emulator: Emulator, board: Board, poll_interval: float) -> Client:
    return Client(
        emulator.url,
        api_key=emulator.api_key,
        project=emulator.project_id,
        poll_interval=poll_interval,
        hooks=board.hooks,
    )


def _how_far(board: Board, width: int | None) -> Text:
    """Say what is still going on when the demo ends before its time."""
    if not board.in_flight:
        return Text(f"Stopped after {board.elapsed:.1f} s, with nothing in flight.")
    return Text.assemble(
        (f"Stopped after {board.elapsed:.1f} s, with these still in flight:\n", "bold"),
        details.in_flight(board.in_flight, width=width),
        "\nThe real service would go on with them, and client.attach(ref) picks them up.",
    )


def _outcome(items: Sequence[BatchItem[Run]], board: Board, width: int | None) -> Text:
    """Say how it went, the failed tests first."""
    ending = Ending(items=items, asked=len(items), seconds=board.elapsed)
    text = Text("\n")
    aside = "; failing tests are part of the show" if ending.failed_runs else ""
    if failures := ending.story(width=width):
        text.append_text(failures).append("\n\n")
    generations = len(board.rows) - len(items)
    return text.append(
        f"{len(items)} runs at once: {ending.counts}{aside}.\n"
        f"{many(generations, 'generation')} and {len(items)} runs took {board.requests} requests "
        f"and {board.elapsed:.1f} s.\n"
        "To try your own code on such a service: testvibe-async emulator"
    )


def _width(console: Console) -> int | None:
    """Return how wide a line may be; None where it goes to a file or a pipe."""
    return console.width if console.is_terminal else None


def _say(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=not console.is_terminal)
