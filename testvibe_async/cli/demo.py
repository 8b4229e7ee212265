"""`testvibe-async demo`: the commands at work, on an emulated service that is quick.

Decides what the emulated service does, and which commands are shown: they are carried out as if
they had been typed, and speak HTTP to the emulator over a socket.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time

from testvibe_async.cli.common import Common, common
from testvibe_async.cli.emulator import Speed, make_emulator
from testvibe_async.cli.options import Consent
from testvibe_async.cli.start import generate, run
from testvibe_async.runner.codes import ExitCode
from testvibe_async.testing import Scenario


async def demo(*, features: Path | None = None, seed: int = 3, speed: Speed = 1.0) -> ExitCode:
    """Generate one feature and run all of them at once, against an emulator of its own.

    It takes about 15 seconds and needs no account: nothing leaves this machine.

    Args:
        features: A folder of .feature files to use, instead of a small shop's.
        seed: Seed of the random durations and test results.
        speed: Factor by which it is faster than the real service.
    """
    async with make_emulator(features=features, scenario=_scenario(seed), speed=speed) as emulator:
        common.set(
            Common(server=emulator.url, project=emulator.project_id, api_key=emulator.api_key)
        )
        say = common.get().output.say
        say(f"An emulated TestVibe serves at {emulator.url}.\n\n$ testvibe-async generate --all -w")
        try:
            code = await generate(all_=True, watch=True, consent=Consent(yes=True))
            if code is ExitCode.PASSED:
                say("\n$ testvibe-async run --all --wait")
                code = await run(all_=True, wait=True)
        finally:  # After Ctrl-C too.
            say("\nThe failures are intended. The emulated service has stopped;")
            say("to try these commands, start one:\n  testvibe-async emulator")
    return ExitCode.PASSED if code is ExitCode.FAILED else code


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
