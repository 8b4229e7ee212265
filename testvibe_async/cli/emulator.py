"""`testvibe-async emulator`: the service on this machine, until Ctrl-C.

It decides what goes where: three lines of shell, to be pasted or evaluated, to standard output, all
else to standard error. How the emulated service behaves is decided in `testvibe_async.testing`.
"""

from __future__ import annotations

import errno
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
from testvibe_async.cli.output import Output
from testvibe_async.testing import DIALECTS, Dialect, Emulator, Scenario

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

__all__ = ["Speed", "emulator", "make_emulator"]

Speed = Annotated[float, Parameter(validator=Number(gt=0, lt=inf))]
"""The type of an option that says how many times faster than usual the service works."""


async def emulator(  # noqa: PLR0913 - each an option of its own
    *,
    port: Port = 8765,
    features: Path | None = None,
    speed: Speed = 1.0,
    seed: int = 0,
    lists: bool = True,
    credits: NonNegativeInt | None = None,  # noqa: A002 - the service's own word
    dialect: str | None = None,
    strict: bool = False,
) -> None:
    """Serve an emulated TestVibe on this machine until Ctrl-C.

    It prints what a client needs as lines of shell: paste them into another terminal, or write them
    to a file and source that.

    For example:

        testvibe-async emulator
        testvibe-async emulator --port 0 --speed 20 > emulator.env
        testvibe-async emulator --features my-features --seed 7
        testvibe-async emulator --dialect paged-by-link

    Args:
        port: The port on 127.0.0.1; 0 for any that is free.
        features: A folder of .feature files to serve instead of those of the small shop.
        speed: How many times faster than the real service it works.
        seed: Decides how long things take and which tests fail; the same seed, the same results.
        lists: Whether the routes that list runs and features exist; a client must do without, too.
        credits: How many generations may be dispatched; unlimited by default.
        dialect: A way in which the service differs from the documented one, such as paged-by-link,
            upper-case or errors-as-problem; a name that does not exist is answered with all that
            do.
        strict: Whether fields and query parameters that are not documented are refused.
    """
    service = make_emulator(
        features=features,
        scenario=Scenario(seed=seed, dialect=_dialect(dialect)),
        lists=lists,
        credits=credits,
        speed=speed,
        port=port,
        strict=strict,
    )
    try:
        await service.start()
    except OSError as error:
        raise ConfigError(_listen_error(error, port)) from error
    try:
        with _stop_signals() as stopped:
            _announce(service)
            await stopped()
    finally:
        await service.aclose()


def make_emulator(**options: Any) -> Emulator:  # noqa: ANN401 - Emulator's own
    """Make an emulator that keeps no requests, so that it can run for days.

    Raises:
        ConfigError: An option is wrong, such as a folder without features.
    """
    try:
        return Emulator(record=False, **options)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _dialect(name: str | None) -> Dialect:
    if name is None:
        return Dialect()
    if name not in DIALECTS:
        raise ConfigError(f"no dialect is named {name!r}: choose from {', '.join(DIALECTS)}")
    return DIALECTS[name]


def _announce(service: Emulator) -> None:
    variables = {
        "TESTVIBE_SERVER": service.url,
        "TESTVIBE_API_KEY": service.api_key,
        "TESTVIBE_PROJECT": service.project_id,
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    Output().text("\n".join(lines) + "\n")
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


def _listen_error(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of 127.0.0.1 is in use: "
            "choose another with --port, or any that is free with --port 0"
        )
    return f"port {port} of 127.0.0.1 can't be listened on: {error.strerror or error}"
