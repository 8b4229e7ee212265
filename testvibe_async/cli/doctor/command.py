"""`testvibe-async doctor`: does this service do what the contract says?

Decides what is printed, where, and the exit code. What is asked is decided in `examination`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from testvibe_async import ConfigError
from testvibe_async._core.config import load_settings
from testvibe_async._core.util import escape
from testvibe_async.cli.common import common, require_settings
from testvibe_async.cli.exits import shown_elsewhere
from testvibe_async.cli.text import confirm
from testvibe_async.runner.codes import ExitCode  # noqa: TC001 - cyclopts reads the annotations

if TYPE_CHECKING:
    from testvibe_async.cli.doctor.examination import Examination
    from testvibe_async.cli.doctor.findings import Finding


async def doctor(
    *,
    run: Annotated[str | None, Parameter(name="--run")] = None,
    record: Path | None = None,
) -> ExitCode:
    """Check which parts of your service match the documentation, and the effects on commands.

    It asks about twenty times, one after the other, and only reads: nothing is changed, generated
    or downloaded. Run it once when you start with a service, and again when a command surprises
    you. With TEMPORAL_ADDRESS, it also checks the connection to Temporal.

    For example:

        testvibe-async doctor
        testvibe-async doctor --run "Login Functionality"
        testvibe-async doctor --run "Login Functionality" --record service.json

    The exit code is 0 if no difference has consequences, 1 if one has, 3 if the key, the address
    or what an option names is refused, 4 if a dispatched operation does not end in time, and 5 if
    the service could not be reached, failed, or is not TestVibe.

    Args:
        run: Also run this feature, once, and watch the run to its end: its id, or its name. A run
            costs no credits.
        record: Write what passed to a file, with every value replaced by a synthetic one of the
            same shape, after a preview: it can be replayed, and handed on.
    """
    # They bring the HTTP client, whose import takes long.
    from testvibe_async.cli.doctor import findings, recording  # noqa: PLC0415

    examination = await _examine(run)
    if "TEMPORAL_ADDRESS" in os.environ:
        examination.found.append(await _about_temporal())
    found, output = examination.found, common.get().output
    output.document(findings.document(found, int(examination.exit_code)))
    name = f", project {examination.project_name}" if examination.project_name else ""
    output.say(f"{examination.settings.server}{escape(name)}\n")
    rows = findings.rows(found, only_differences="remark" not in output.levels)
    output.table(("Verdict", "About", "Finding"), rows)
    said = findings.conclusion(found)
    output.text(f"\n{said}\n" if rows else f"{said}\n")
    if record is not None:
        recorded, preview = recording.disguised(examination.tap)
        for line in preview:
            output.note(escape(line))
        if not sys.stdin.isatty() or await confirm(f"Write this to {record}?"):
            recorded.save(record)
            output.note(f"The recording is in {record}; look through it before you hand it on.")
    return examination.exit_code


async def _about_temporal() -> Finding:
    """Check the connection to Temporal."""
    from testvibe_async.cli.doctor.findings import differs, holds  # noqa: PLC0415
    from testvibe_async.temporal import connect, failure_of  # noqa: PLC0415

    try:
        why = await failure_of(await connect())
    except (RuntimeError, ConfigError) as error:
        why = str(error)
    if why is None:
        return holds("temporal", "it answers, and has the namespace")
    return differs(
        "temporal",
        "it does not answer as configured",
        "no worker carries a batch",
        quoted=escape(why),
    )


async def _examine(run: str | None) -> Examination:
    """Examine the service.

    Raises:
        ConfigError: A setting is missing.
    """
    from testvibe_async import Client, RetryPolicy  # noqa: PLC0415
    from testvibe_async.cli.doctor.examination import Examination  # noqa: PLC0415

    require_settings()
    given = common.get()
    settings = load_settings(given.server, project=given.project, allow_http=given.allow_http)
    if run is not None and settings.project is None:
        raise ConfigError("no project to run a feature of: pass --project, or choose one with use")
    client = Client(
        **given.client,
        timeout=10.0,
        retry=RetryPolicy(attempts=3),
        max_connections=1,
        max_outage=30.0,
    )
    if run is not None:
        given.output.note("A run is dispatched and watched: about half a minute.")
    with shown_elsewhere():
        async with client:
            examination = Examination(client, settings, run)
            await examination.perform()
    return examination
