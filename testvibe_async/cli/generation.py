"""`testvibe-async generation`: a feature's latest generation, whoever dispatched it."""

from __future__ import annotations

from cyclopts import App
from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time

from testvibe_async.cli import details, say
from testvibe_async.cli.common import COMMON, Common, connected

__all__ = ["app"]

app = App(name="generation", help="See how a feature's latest generation goes, or cancel it.")


@app.command
async def status(feature: str, /, *, common: Common = COMMON) -> None:
    """Show how a feature's latest generation stands, section by section.

    For example:

        testvibe-async generation status Checkout
        testvibe-async generation status Checkout --json | jq -r .featureStatus

    Args:
        feature: Its id, or its name in any case.
        common: The options of every command.
    """
    async with connected(common) as connection:
        found = await connection.project.get_generation_status(feature)
    connection.output.document(found)
    say.story(lambda _: details.generation_story(found), connection.output)


@app.command
async def log(
    feature: str, /, *, lines: PositiveInt | None = None, common: Common = COMMON
) -> None:
    """Show the log of a feature's latest generation, each section's reason first.

    For example:

        testvibe-async generation log Checkout
        testvibe-async generation log Checkout --lines 5

    Args:
        feature: Its id, or its name in any case.
        lines: How many lines of each section, from its end; all where it is left out.
        common: The options of every command.
    """
    async with connected(common) as connection:
        found = await connection.project.get_generation_log(feature)
    connection.output.document(found)
    say.story(lambda width: details.log_story(found, limit=lines, width=width), connection.output)


@app.command
async def cancel(feature: str, /, *, common: Common = COMMON) -> None:
    """Cancel a feature's generation, whoever dispatched it.

    For example:

        testvibe-async generation cancel Checkout

    Args:
        feature: Its id, or its name in any case.
        common: The options of every command.
    """
    async with connected(common) as connection:
        await connection.project.cancel_generation(feature)
    connection.output.document({"ok": True})
    connection.output.say(f"The generation of {feature} is cancelled.")
