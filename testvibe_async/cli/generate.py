"""`testvibe-async generate`: generate features' tests, one or all. It costs credits."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time

from testvibe_async import GenerationRef
from testvibe_async.cli.common import COMMON, Common, Flag
from testvibe_async.cli.dispatch import in_order, jobs_of
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.input import is_wanted
from testvibe_async.cli.jobs import any_is_several, choose
from testvibe_async.cli.options import Seconds, needs
from testvibe_async.cli.watch import watching
from testvibe_async.cli.words import many

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async import Feature

__all__ = ["generate"]

GENERATIONS_IN_FLIGHT = 10
"""How many generations are in flight at once where nothing else is asked for."""


async def generate(  # noqa: PLR0913 - each an option of its own
    *features: str,
    all_: Flag = False,
    watch: Flag = False,
    on_conflict: Literal["raise", "attach", "wait"] = "raise",
    site_url: str | None = None,
    timeout: Seconds | None = None,
    max_in_flight: PositiveInt | None = None,
    yes: Flag = False,
    common: Common = COMMON,
) -> ExitCode:
    """Generate the tests of features. Each generation takes minutes and costs credits.

    Without --watch it dispatches the generations, names them, and ends.

    For example:

        testvibe-async generate Checkout --watch
        testvibe-async generate --all --yes --watch --json

    With --watch the exit codes are those of run --wait, and --json prints one object a line, for
    each change as it comes.

    Args:
        features: Names, ids, or globs such as 'Log*'.
        all_: Generate all features that have no tests.
        watch: Wait until all are over, and tell how they go.
        on_conflict: What to do with a feature that is generating: tell, join that generation, or
            wait for its end and then generate it once more, which costs again.
        site_url: The site to explore, in place of the project's own.
        timeout: Seconds to wait. What is in flight then goes on at the service.
        max_in_flight: How many generations are in flight at any time; 10 where it is left out.
        yes: Don't ask. Else it does before --all, or a glob that means several features.
        common: The options of every command.
    """
    if not watch:
        needs("--watch", {"--timeout": timeout, "--max-in-flight": max_in_flight})
    async with watching(common, has_events=watch) as watched:
        project, output = watched.project, watched.connection.output
        chosen = await choose(
            project, features, everything=attrgetter("needs_tests") if all_ else None
        )
        if not chosen:
            output.note("Nothing to generate: all features have tests.")
        is_wide = all_ or any_is_several(features, chosen)
        if chosen and is_wide and not yes and not await is_wanted(_question(chosen)):
            output.note("Nothing was generated.")
            return ExitCode.USAGE
        jobs = jobs_of(chosen)
        watched.board.expect(jobs, GenerationRef)
        if not watch:
            if on_conflict == "wait":
                output.note("What is generating is waited for first: minutes each.")
            return await watched.dispatch(
                jobs,
                lambda job: project.generate_feature(
                    job.feature, site_url=site_url, on_conflict=on_conflict
                ),
            )
        batch = project.generate_features(
            chosen,
            site_url=site_url,
            max_in_flight=max_in_flight or GENERATIONS_IN_FLIGHT,
            on_conflict=on_conflict,
            timeout=timeout,
        )
        return await watched.conclude(in_order(await watched.collect(batch), jobs))
    return ExitCode.INTERRUPTED


def _question(chosen: Sequence[str | Feature]) -> str:
    return f"Generate {many(len(chosen), 'feature')}? Each costs credits."
