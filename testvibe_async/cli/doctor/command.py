"""`testvibe-async doctor`: does this service do what the contract says?

It decides what is printed, where, and the exit code. What is asked is decided in `examination`.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveInt  # noqa: TC002 - likewise

from testvibe_async import ConfigError
from testvibe_async._config import load_settings
from testvibe_async._util import escape
from testvibe_async.cli.common import COMMON, Common, require_settings
from testvibe_async.cli.exits import ExitCode  # noqa: TC001 - likewise

if TYPE_CHECKING:
    from testvibe_async.cli.doctor.examination import Examination
    from testvibe_async.cli.output import Output

__all__ = ["doctor"]


async def doctor(
    *,
    run: Annotated[str | None, Parameter(name="--run")] = None,
    run_id: PositiveInt | None = None,
    report: Path | None = None,
    common: Common = COMMON,
) -> ExitCode:
    """Check what your service does as it is documented, and what that means for the commands.

    It asks about twenty times, one after the other, and only reads: nothing is changed, generated
    or downloaded. Run it once when you start with a service, and again when a command surprises
    you.

    For example:

        testvibe-async doctor
        testvibe-async doctor --run "Login Functionality"
        testvibe-async doctor --report doctor.md

    The exit code is 0 where no difference has consequences, 1 where one has, 3 where the key or the
    address is refused, and 5 where the service could not be reached, failed, or is not TestVibe.

    Args:
        run: Also run this feature, once, and watch the run to its end: its id, or its name. A run
            costs no credits.
        run_id: A run to look at, where the service does not list its runs.
        report: Write all that was found to a file, .json or .md. It holds no names, texts, ids or
            addresses, so that it can be handed to somebody who corrects this package.
        common: The options of every command.
    """
    # They bring the HTTP client, whose import takes long.
    from testvibe_async.cli.doctor.asking import Asker  # noqa: PLC0415
    from testvibe_async.cli.doctor.examination import Examination  # noqa: PLC0415
    from testvibe_async.cli.doctor.report import (  # noqa: PLC0415
        document_of,
        require_format,
        write,
    )

    if report is not None:
        require_format(report)
    require_settings(common)
    settings = load_settings(common.server, project=common.project, allow_http=common.allow_http)
    if run is not None and settings.project is None:
        raise ConfigError("no project to run a feature of: pass --project, or choose one with use")
    output = common.output
    asker = Asker(settings)
    examination = Examination(asker, settings, feature=run, run_id=run_id)
    if run is not None and output.is_live:
        output.note("A run is dispatched and watched: about half a minute.")
    try:
        await examination.perform()
    finally:
        await asker.aclose()
    code = examination.record.exit_code
    document = document_of(examination, code)
    output.document(document)
    _print(examination, output, server=settings.server)
    if report is not None:
        write(report, document)
        output.note(f"The report is in {report}.")
    return code


def _print(examination: Examination, output: Output, *, server: str) -> None:
    from testvibe_async.cli.doctor.view import result  # noqa: PLC0415

    project = f", project {examination.project_name}" if examination.project_name else ""
    output.say(f"{server}{escape(project)}\n")
    output.details(
        lambda width: result(
            examination.record.findings, width=width, only_differences=output.is_quiet
        )
    )
