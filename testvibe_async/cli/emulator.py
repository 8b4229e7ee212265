"""`testvibe-async emulator` and `demo`: the service on this machine.

`emulator` serves until Ctrl-C: three lines of shell, to be pasted or evaluated, go to standard
output, all else to standard error. `demo` carries out commands as if they had been typed, on a
quick service of its own. How the emulated service behaves is decided in `testvibe_async.testing`.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from contextlib import contextmanager
from math import inf
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from cyclopts import Parameter
from cyclopts.types import NonNegativeInt, Port  # noqa: TC002 - likewise
from cyclopts.validators import Number

from testvibe_async import ConfigError
from testvibe_async.cli.common import Common, common
from testvibe_async.runner.codes import ExitCode
from testvibe_async.testing import Emulator, Fault, Scenario

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator


Speed = Annotated[float, Parameter(validator=Number(gt=0, lt=inf))]
"""The type of an option that says how many times faster than usual the service works."""

RETENTION = 10_000
"""Maximum number of runs, and of generations, that the service keeps, which take some 20 MiB."""

_KINDS = ("reset", "lost", "hang", "unanswered", "truncated", "cut_head", "garbage")
"""The faults that an option can name, by the class methods of `Fault`."""

_NUMBER = r"\d+(?:\.\d+)?"
_FORMS = {
    "--fault": (
        rf"(?P<operation>[a-z_]+|\*):(?P<what>[1-5]\d\d|{'|'.join(_KINDS)})(?:\*(?P<times>\d+))?",
        "OPERATION:WHAT*TIMES, such as run_feature:503*3; WHAT is a status, or one of "
        + ", ".join(_KINDS),
    ),
    "--outage": (
        rf"(?P<seconds>{_NUMBER})s@(?P<start>{_NUMBER})s",
        "SECONDSs@STARTs, such as 20s@60s",
    ),
    "--limit": (rf"(?P<rate>{_NUMBER})/s", "NUMBER/s, such as 100/s"),
}
"""Syntax of some options' values, as a pattern and as a description for people."""


async def emulator(  # noqa: PLR0913 - each an option of its own
    *,
    port: Port = 8765,
    features: Path | None = None,
    speed: Speed = 1.0,
    seed: int = 0,
    credits: NonNegativeInt | None = None,  # noqa: A002 - the service's own word
    strict: bool = False,
    fault: tuple[str, ...] = (),
    outage: tuple[str, ...] = (),
    limit: str | None = None,
) -> None:
    """Serve an emulated TestVibe on this machine until Ctrl-C.

    It prints what a client needs as lines of shell: paste them into another terminal, or write them
    to a file and source that.

    For example:

        testvibe-async emulator
        testvibe-async emulator --port 0 --speed 20 > emulator.env
        testvibe-async emulator --features my-features --seed 7
        testvibe-async emulator --fault 'run_feature:503*3' --outage 20s@60s

    Args:
        port: The port on 127.0.0.1; 0 for any that is free.
        features: A folder of .feature files to serve, instead of a small shop's.
        speed: Factor by which it is faster than the real service. The times in its answers are
            those of the real service: at 4, what a report calls a minute takes 15 s.
        seed: Seed of the random durations and test results.
        credits: Maximum number of generations that may be dispatched; unlimited by default.
        strict: Refuse fields and query parameters that are not documented.
        fault: A failure, as OPERATION:WHAT or OPERATION:WHAT*TIMES; repeat it for several. The
            operation is the service's name for it, or * for all; WHAT is an HTTP status, reset,
            hang or garbage, or after it has taken effect lost, unanswered, cut_head or truncated.
        outage: An outage, such as 20s@60s: 503 for 20 s, from 60 s after the start on, in seconds
            of the emulated service; repeat it for several.
        limit: The rate of requests that are served, such as 100/s; one more is answered with 429.
    """
    service = make_emulator(
        features=features,
        scenario=Scenario(seed=seed),
        credits=credits,
        speed=speed,
        port=port,
        strict=strict,
        rate_limit=None if limit is None else float(_parsed("--limit", limit)["rate"]),
    )
    for text in fault:
        _add_fault(service, text)
    for text in outage:
        _add_outage(service, text)
    try:
        await service.start()
    except OSError as error:
        raise ConfigError(
            f"port {port} of 127.0.0.1 can't be listened on: {os.strerror(error.errno or 0)}; "
            "choose another with --port, or any that is free with --port 0"
        ) from error
    try:
        with _stop_signals() as stopped:
            _announce(service)
            await stopped()
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
    found = _parsed("--fault", text)
    what, times = found["what"], found["times"]
    try:
        service.fail(
            found["operation"],
            Fault.status(int(what)) if what.isdecimal() else getattr(Fault, what)(),
            times=int(times) if times else None,
        )
    except ValueError as error:
        raise ConfigError(f"--fault {text}: {error}") from error


def _add_outage(service: Emulator, text: str) -> None:
    found = _parsed("--outage", text)
    start, seconds = float(found["start"]), float(found["seconds"])
    service.fail("*", Fault.status(503), when=lambda request: start <= request.at < start + seconds)


def _parsed(option: str, text: str) -> re.Match[str]:
    form, said = _FORMS[option]
    found = re.fullmatch(form, text)
    if found is None:
        raise ConfigError(f"{option} {text!r} is not understood: write {said}")
    return found


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


@contextmanager
def _stop_signals() -> Generator[Callable[[], Awaitable[object]]]:
    """Handle SIGINT and SIGTERM from now on, and yield a function that waits for one."""
    if sys.platform == "win32":  # pragma: no cover
        # asyncio takes no signals there; Ctrl-C raises KeyboardInterrupt.
        yield anyio.sleep_forever
        return
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        yield signals.__anext__


async def demo(*, features: Path | None = None, seed: int = 3, speed: Speed = 1.0) -> ExitCode:
    """Generate one feature and run all of them at once, against an emulator of its own.

    It takes about 15 seconds and needs no account: nothing leaves this machine.

    Args:
        features: A folder of .feature files to use, instead of a small shop's.
        seed: Seed of the random durations and test results.
        speed: Factor by which it is faster than the real service.
    """
    # The emulator does without them.
    from testvibe_async.cli.options import Consent  # noqa: PLC0415
    from testvibe_async.cli.start import generate, run  # noqa: PLC0415

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
