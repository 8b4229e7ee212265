"""`testvibe-async demo`: the SDK at work, on an emulated service that is quick.

It decides what the emulated service does, and the words around it. The client is a real one, which
speaks HTTP to the emulator over a socket; its operations are shown as those of any other command.
`_work` is what an application would write.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING

from attrs import evolve
from rich.text import Text

from testvibe_async import BatchItem, Client
from testvibe_async.cli.closing import failures_text, named
from testvibe_async.cli.display import showing, sight_of, table_of
from testvibe_async.cli.emulator import Speed, make_emulator
from testvibe_async.cli.exits import told_otherwise
from testvibe_async.cli.output import Output
from testvibe_async.cli.progress import Progress
from testvibe_async.cli.result import Result
from testvibe_async.runner.selection import Selection
from testvibe_async.testing import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async import Feature
    from testvibe_async.cli.words import Item
    from testvibe_async.testing import Emulator

__all__ = ["demo", "perform"]

POLL_SECONDS = 0.3


async def demo(*, features: Path | None = None, seed: int = 3, speed: Speed = 1.0) -> None:
    """Generate one feature and run all of them at once, against an emulator of its own.

    It takes about 15 seconds and needs no account: nothing leaves this machine.

    Args:
        features: A folder of .feature files to use instead of those of the small shop.
        seed: Decides how long things take and which tests fail; the same seed, the same results.
        speed: How many times faster to go.
    """
    emulator = make_emulator(features=features, scenario=_scenario(seed), speed=speed)
    # A dispatch that is under way when the demo is stopped is nobody's: its service ends, too.
    with told_otherwise(verbose=0):
        await perform(Output(), emulator, poll_interval=POLL_SECONDS / speed)


async def perform(output: Output, emulator: Emulator, *, poll_interval: float) -> None:
    """Run the demo.

    Args:
        output: Where to show it.
        emulator: The service, not started yet.
        poll_interval: Seconds between two polls of a run.
    """
    progress = Progress()
    try:
        async with emulator, _client(emulator, progress, poll_interval) as client:
            _print(output, Text(f"An emulated TestVibe serves at {emulator.url}.\n"))
            with showing(progress, output):
                await _work(client, progress)
    except BaseException:
        _print(output, _stopped(progress))
        raise
    if output.is_live:
        output.console.print(table_of(sight_of(progress), width=output.console.width))
    _print(output, _results(progress, output.width))


async def _work(client: Client, progress: Progress) -> None:
    """Generate the feature that has no tests yet, then run all at once."""
    project = client.project()
    features = [each for each in await project.list_features() if not each.is_suggestion]
    generation: Item = BatchItem(feature="generation")
    progress.expect(client, [generation, *Selection(features=features).jobs], "operation")
    operation = await project.generate_feature(_to_generate(features).id)
    generation = evolve(generation, ref=operation.ref)
    progress.follow(lambda: [generation])
    outcome = await operation
    outcome.raise_for_status()
    progress.record(evolve(generation, outcome=outcome))
    async with project.run_features(features) as batch:
        progress.follow(lambda: [generation, *batch.items])
        async for item in batch:
            progress.record(item)


def _to_generate(features: Sequence[Feature]) -> Feature:
    """Choose the first without tests; where all have some, the first is generated anew."""
    without = (each for each in features if not each.has_tests)
    return next(without, features[0])


def _scenario(seed: int) -> Scenario:
    """Return the behaviour of the service: the real one's in seconds, with more failures."""
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


def _client(emulator: Emulator, progress: Progress, poll_interval: float) -> Client:
    return Client(
        emulator.url,
        api_key=emulator.api_key,
        project=emulator.project_id,
        endpoints={},
        poll_interval=poll_interval,
        hooks=progress.hooks,
    )


def _stopped(progress: Progress) -> Text:
    """Return what is still in flight when the demo is stopped."""
    left = [item for item in progress.items if item.is_unfinished]
    stopped = f"Stopped after {progress.elapsed:.1f} s, with"
    if not left:
        return Text(f"{stopped} nothing in flight.")
    return Text.assemble(
        (f"{stopped} these still in flight:\n", "bold"),
        named(left),
        "\nThe real service would go on with them, and client.attach(ref) picks them up.",
    )


def _results(progress: Progress, width: int | None) -> Text:
    """Return the results, the failed tests first."""
    runs = progress.items[1:]
    result = Result(items=runs, seconds=progress.elapsed)
    text = Text("\n")
    aside = "; failing tests are part of the show" if result.failed_runs else ""
    if told := failures_text(result, width=width):
        text.append_text(told).append("\n\n")
    return text.append(
        f"{len(runs)} runs at once: {result.counts}{aside}.\n"
        f"1 generation and {len(runs)} runs took {progress.contact.requests} requests and "
        f"{progress.elapsed:.1f} s.\n"
        "To try your own code on such a service: testvibe-async emulator"
    )


def _print(output: Output, text: Text) -> None:
    output.console.print(text, soft_wrap=not output.console.is_terminal)
