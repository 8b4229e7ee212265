"""The options of commands that dispatch or wait: the batch, its files, and allowed generations.

Decides which options make sense together. What a report contains is decided in
`testvibe_async.reports`.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

from attrs import asdict, frozen
from cyclopts import CoercionError, Parameter, Token, convert
from cyclopts.types import NonNegativeInt  # noqa: TC002 - cyclopts reads the annotations at run time
from cyclopts.validators import Number

from testvibe_async import ConfigError
from testvibe_async.cli.text import Yes, confirm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testvibe_async.runner.ledgers import LimitedLedger


def _seconds(_type: object, tokens: Sequence[Token]) -> float:
    """Return a time in seconds: `90`, `90s`, `5m` or `1h30m`.

    Raises:
        ValueError: It is none.
    """
    with suppress(ValueError):
        return float(tokens[0].value)
    try:
        return cast("timedelta", convert(timedelta, [tokens[0].value])).total_seconds()
    except CoercionError as error:
        raise ValueError(
            f"{tokens[0].value!r} is not a duration such as 90, 20m or 1h30m"
        ) from error


Seconds = Annotated[
    float, Parameter(validator=Number(gt=0, lt=inf), converter=_seconds, metavar="SECONDS")
]
"""The type of an option that is a time."""

Timeout: TypeAlias = Annotated[
    Seconds | None,
    Parameter(
        help="Time limit, such as 90, 20m or 1h30m. What is in flight then continues at the "
        "service. It covers lists too; answers and files are waited for up to 30 s longer."
    ),
]
"""The option that limits how long a command takes."""


@Parameter(name="*")
@frozen(kw_only=True)
class Reports:
    """The options that name reports to write at the end, and how to exit."""

    report: Annotated[
        tuple[str, ...],
        Parameter(name=("--report", "-r"), metavar="FILE", allow_leading_hyphen=True),
    ] = ()
    """Write a report, as .xml, .json, .md or .html; md:PATH, where the ending does not say it. May
    be repeated."""

    fail_on_flaky: bool = False
    """Exit with 1 where something was flaky, too."""

    @property
    def targets(self) -> list[tuple[str, Path]]:
        """The format and the path of each report."""
        # Few commands write a report, and the import takes its time.
        from testvibe_async.reports.files import report_target  # noqa: PLC0415

        return [report_target(text) for text in self.report]


@Parameter(name="*")
@frozen(kw_only=True)
class Files(Reports):
    """The options that name files to write at the end, and how to exit."""

    artifacts: Annotated[Path | None, Parameter(metavar="DIR")] = None
    """Download the artifacts of failed runs; to this folder, with a folder for each run."""

    @property
    def kept(self) -> dict[str, object]:
        """The values as JSON, as a batch keeps them."""
        return {**asdict(self), "artifacts": self.artifacts and str(self.artifacts)}

    def or_kept(self, kept: Mapping[str, Any]) -> Files:
        """Return these values, and those that a batch keeps where none was given.

        Their paths are relative to the present folder, as they would be if they were typed again.
        """
        artifacts = kept.get("artifacts")
        return Files(
            report=self.report or tuple(kept.get("report", ())),
            artifacts=self.artifacts or (Path(artifacts) if artifacts else None),
            fail_on_flaky=self.fail_on_flaky or bool(kept.get("fail_on_flaky")),
        )


@Parameter(name="*")
@frozen(kw_only=True)
class Consent:
    """The options that allow generations."""

    yes: Yes = False
    """Allow the generations without asking. Each costs credits."""

    max_generations: Annotated[NonNegativeInt | None, Parameter(metavar="N")] = None
    """Allow up to N generations without asking; what would need more is left."""

    async def allow(self, limit: LimitedLedger, number: int, *, question: str | None) -> None:
        """Allow up to so many generations, or ask first.

        Args:
            limit: The limit that is set.
            number: Maximum number of generations that the command may dispatch.
            question: The question to ask if no option allows them; None if they were requested by
                name.

        Raises:
            ConfigError: The answer is no, or there is no person to ask.
        """
        if number and question and not self.yes and self.max_generations is None:
            instead = "pass --yes, or --max-generations N"
            if not await confirm(question, instead=instead):
                raise ConfigError("nothing was dispatched")
        limit.allowed = number if self.max_generations is None else self.max_generations


def _check_key(_type: object, key: str | None) -> None:
    """Refuse a key that is blank, or could be the number of a batch."""
    if key is not None and (not key.strip() or key.isdecimal()):
        raise ValueError("A key is not blank, and has not digits alone")


Key: TypeAlias = Annotated[
    str | None,
    Parameter(
        metavar="KEY",
        validator=_check_key,
        help="Your own name for the batch. The same command with the same key resumes it; other "
        "commands take the key in place of its number.",
    ),
]
"""The option that names a batch."""
