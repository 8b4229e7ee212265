"""`testvibe-async doctor`: does this service do what the contract says?

It decides what is printed, where, and the exit code. What is asked is decided in `examination`.
"""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.types import PositiveInt  # noqa: TC002 - likewise

from testvibe_async import ConfigError
from testvibe_async._config import load_settings
from testvibe_async._util import __version__, escape
from testvibe_async.cli.common import COMMON, Common, require_settings
from testvibe_async.cli.exits import ExitCode, told_otherwise
from testvibe_async.cli.input import confirm

if TYPE_CHECKING:
    from testvibe_async.cli.doctor.examination import Examination
    from testvibe_async.cli.output import Output
    from testvibe_async.testing import Recording

__all__ = ["doctor"]

VERSION = 2
"""The version of the document's form."""


async def doctor(  # noqa: PLR0913 - each an option of its own
    *,
    run: Annotated[str | None, Parameter(name="--run")] = None,
    run_id: PositiveInt | None = None,
    generate: str | None = None,
    yes: Annotated[bool, Parameter(name=("--yes", "-y"))] = False,
    report: Path | None = None,
    record: Path | None = None,
    against: Path | None = None,
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
        testvibe-async doctor --run "Login Functionality" --record service.json

    The exit code is 0 where no difference has consequences, 1 where one has, 3 where the key or the
    address is refused, and 5 where the service could not be reached, failed, or is not TestVibe.

    Args:
        run: Also run this feature, once, and watch the run to its end: its id, or its name. A run
            costs no credits.
        run_id: A run to look at, where the service does not list its runs.
        generate: Also generate this feature's tests, once, and watch that to its end. It costs
            credits, and replaces the tests that there are.
        yes: Generate without a question.
        report: Write all that was found to a file, .json or .md. It holds no names, texts, ids or
            addresses.
        record: Write what passed to a file, with every value replaced by a synthetic one of the
            same shape, after a preview: the emulator can replay it, and it can be handed on.
        against: Compare what passed with such a file of an earlier day: a difference means that the
            service has changed.
        common: The options of every command.
    """
    # They bring the HTTP client, whose import takes long.
    from testvibe_async import Client, RetryPolicy  # noqa: PLC0415
    from testvibe_async.cli.doctor.examination import Examination, Options  # noqa: PLC0415
    from testvibe_async.cli.doctor.exchanges import Tap  # noqa: PLC0415
    from testvibe_async.cli.doctor.findings import require_format, write  # noqa: PLC0415
    from testvibe_async.cli.doctor.recording import compared  # noqa: PLC0415
    from testvibe_async.cli.doctor.recording import record as made  # noqa: PLC0415

    if report is not None:
        require_format(report)
    earlier = None if against is None else _recording_in(against)
    require_settings(common)
    settings = load_settings(common.server, project=common.project, allow_http=common.allow_http)
    if (run or generate) is not None and settings.project is None:
        raise ConfigError("no project to run a feature of: pass --project, or choose one with use")
    if generate is not None and not yes:
        question = f"Generate {generate!r}? It costs credits, and replaces its tests."
        if not await confirm(question):
            raise ConfigError("nothing was asked")
    output = common.output
    if run is not None and output.is_live:
        output.note("A run is dispatched and watched: about half a minute.")
    options = Options(run=run, generate=generate, run_id=run_id)
    client = Client(
        common.server,
        project=common.project,
        allow_http=common.allow_http,
        timeout=10.0,
        retry=RetryPolicy(attempts=3),
        max_connections=1,
        max_outage=30.0,
    )
    with told_otherwise(verbose=common.verbose):
        async with client:
            tap = Tap()
            tap.listen_to(client)
            examination = Examination(client, tap, settings, options)
            await examination.perform()
    if earlier is not None:
        examination.findings += compared(earlier, made(tap))
    document = _document(examination)
    output.document(document)
    _print(examination, common)
    if report is not None:
        write(report, document)
        output.note(f"The report is in {report}.")
    if record is not None:
        await _write_recording(made(tap), record, output)
    return examination.exit_code


def _recording_in(path: Path) -> Recording:
    from testvibe_async.testing import Recording  # noqa: PLC0415

    try:
        return Recording.load(path)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} is no recording of doctor: {error}") from error


async def _write_recording(recording: Recording, path: Path, output: Output) -> None:
    """Show what is about to be written; ask where somebody can answer."""
    from testvibe_async.cli.doctor.recording import preview  # noqa: PLC0415

    for line in preview(recording):
        output.note(escape(line))
    if sys.stdin.isatty() and not await confirm(f"Write this to {path}?"):
        return
    recording.save(path)
    output.note(f"The recording is in {path}; look through it before you hand it on.")


def _document(examination: Examination) -> dict[str, Any]:
    from testvibe_async.cli.doctor.findings import conclusion  # noqa: PLC0415
    from testvibe_async.cli.doctor.judging import words_seen  # noqa: PLC0415

    return {
        "doctor": VERSION,
        "package": __version__,
        "exitCode": int(examination.exit_code),
        "conclusion": conclusion(examination.findings),
        "reads": examination.tap.reads,
        "dispatches": examination.tap.dispatches,
        "findings": [finding.to_dict() for finding in examination.findings],
        "words": words_seen(examination.tap.exchanges),
    }


def _print(examination: Examination, common: Common) -> None:
    from testvibe_async.cli.doctor.findings import result  # noqa: PLC0415

    output, name = common.output, examination.project_name
    project = f", project {name}" if name else ""
    output.say(f"{examination.settings.server}{escape(project)}\n")
    output.details(
        lambda width: result(examination.findings, width=width, only_differences=output.is_quiet)
    )
