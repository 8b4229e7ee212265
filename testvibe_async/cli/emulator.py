"""`testvibe-async emulator` and `demo`: the service on this machine.

`emulator` serves until Ctrl-C: three lines of shell, to be pasted or evaluated, go to standard
output, all else to standard error. `demo` carries out commands as if they had been typed, on a
quick service of its own. How the emulated service behaves is decided in `testvibe_async.testing`.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import suppress
from math import inf
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import Annotated, Any, TypeAlias

import anyio
from cyclopts import Parameter
from cyclopts.types import NonNegativeInt, Port  # noqa: TC002 - likewise
from cyclopts.validators import Number

from testvibe_async import ConfigError
from testvibe_async.cli.common import Common, common
from testvibe_async.cli.stop import Stop
from testvibe_async.runner.codes import ExitCode
from testvibe_async.testing import Emulator, Fault, Scenario

Positive: TypeAlias = Annotated[float, Parameter(validator=Number(gt=0, lt=inf))]

RETENTION = 10_000
"""Maximum number of runs, and of generations, that the service keeps, which take some 20 MiB."""

_KINDS = ("reset", "lost", "hang", "unanswered", "truncated", "cut_head", "garbage")
"""The faults that an option can name, by the class methods of `Fault`."""

_FAULT = re.compile(
    rf"(?P<operation>[a-z_]+|\*):(?P<what>[1-5]\d\d|{'|'.join(_KINDS)})(?:\*(?P<times>\d+))?"
    r"(?:@(?P<start>[\d.]+)s\+(?P<seconds>[\d.]+)s)?"
)


async def emulator(  # noqa: PLR0913 - each an option of its own
    *,
    port: Port = 8765,
    features: Path | None = None,
    speed: Positive = 1.0,
    seed: int = 0,
    credits: NonNegativeInt | None = None,  # noqa: A002 - the service's own word
    fault: tuple[str, ...] = (),
    limit: Positive | None = None,
) -> None:
    """Serve an emulated TestVibe on this machine until Ctrl-C.

    It prints what a client needs as lines of shell: paste them into another terminal, or write them
    to a file and source that.

    For example:

        testvibe-async emulator
        testvibe-async emulator --port 0 --speed 20 > emulator.env
        testvibe-async emulator --features my-features --seed 7
        testvibe-async emulator --fault 'run_feature:503*3' --fault '*:503@60s+20s'

    Args:
        port: The port on 127.0.0.1; 0 for any that is free.
        features: A folder of .feature files to serve, instead of a small shop's.
        speed: Factor by which it is faster than the real service. The times in its answers are
            those of the real service: at 4, what a report calls a minute takes 15 s.
        seed: Seed of the random durations and test results.
        credits: Maximum number of generations that may be dispatched; unlimited by default.
        fault: A failure, as OPERATION:WHAT, with *TIMES or with @60s+20s for 20 s from 60 s after
            the start on, in seconds of the emulated service; repeat it for several. The operation
            is the service's name for it, or * for all; WHAT is an HTTP status, reset, hang or
            garbage, or after it has taken effect lost, unanswered, cut_head or truncated.
        limit: Maximum number of requests a second that are served; others are answered with 429.
    """
    service = make_emulator(
        features=features,
        scenario=Scenario(seed=seed),
        credits=credits,
        speed=speed,
        port=port,
        rate_limit=limit,
    )
    for text in fault:
        _add_fault(service, text)
    try:
        await service.start()
    except OSError as error:
        raise ConfigError(
            f"port {port} of 127.0.0.1 can't be listened on: {os.strerror(error.errno or 0)}; "
            "choose another with --port, or any that is free with --port 0"
        ) from error
    try:
        with suppress(SystemExit), Stop():  # A signal is the usual end.
            _announce(service)
            await anyio.sleep_forever()
    finally:
        await service.aclose()


def make_emulator(**options: Any) -> Emulator:  # noqa: ANN401 - Emulator's own
    """Make an emulator that keeps no requests and few runs, so that it can run for weeks.

    Raises:
        ConfigError: An option is wrong, such as a folder without features.
    """
    try:
        return Emulator(record=False, retention=RETENTION, **options)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _add_fault(service: Emulator, text: str) -> None:
    found = _FAULT.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"--fault {text!r} is not understood: write OPERATION:WHAT*TIMES, such as "
            "run_feature:503*3, or OPERATION:WHAT@60s+20s; WHAT is a status, or one of "
            + ", ".join(_KINDS)
        )
    operation, what, times, start, seconds = found.groups()
    begin, end = (float(start), float(start) + float(seconds)) if start else (0.0, inf)
    try:
        service.fail(
            operation,
            Fault.status(int(what)) if what.isdecimal() else getattr(Fault, what)(),
            times=int(times) if times else None,
            when=lambda request: begin <= request.at < end,
        )
    except ValueError as error:
        raise ConfigError(f"--fault {text}: {error}") from error


def _announce(service: Emulator) -> None:
    variables = {
        "TESTVIBE_SERVER": service.url,
        "TESTVIBE_API_KEY": service.api_key,
        "TESTVIBE_PROJECT": service.project_id,
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    common.get().output.text("\n".join(lines) + "\n")
    count = len(service.features)
    sys.stderr.write(f"Serving {count} features at {service.url} until Ctrl-C.\n")


async def demo() -> ExitCode:
    """Generate one feature and run all of them at once, against an emulator of its own.

    It takes about 15 seconds and needs no account: nothing leaves this machine.
    """
    # The emulator does without them.
    from testvibe_async.cli.options import Consent  # noqa: PLC0415
    from testvibe_async.cli.start import generate, run  # noqa: PLC0415

    async with make_emulator(scenario=_DEMO) as emulator:
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


_DEMO = Scenario(
    seed=3,
    generation_warm_up=(0.9, 1.2),
    generation_section=(0.9, 1.2),
    verification=(0.5, 0.8),
    failing_generations=0.0,
    run_queue=(0.3, 2.0),
    run_duration=(1.7, 6.0),
    failing_runs=0.25,
)
"""The behaviour of the service in the demo: the real one's in seconds, with more failures."""
