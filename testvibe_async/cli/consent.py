"""Who allows generations, which cost credits: an option, or a person who is asked.

It decides what the options mean together. That no more are dispatched than were allowed is enforced
in `testvibe_async.runner`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from attrs import frozen
from cyclopts import Group, Parameter
from cyclopts.types import NonNegativeInt  # noqa: TC002 - cyclopts reads the annotations at run time

from testvibe_async import ConfigError
from testvibe_async.cli.input import confirm

if TYPE_CHECKING:
    from testvibe_async.runner.generation_limit import GenerationLimit

__all__ = ["NO_CONSENT", "Consent"]


@Parameter(name="*", group=Group("Credits", sort_key=0))
@frozen(kw_only=True)
class Consent:
    """The options that allow generations."""

    yes: Annotated[bool, Parameter(name=("--yes", "-y"), negative="", show_default=False)] = False
    """Allow the generations without a question. Each costs credits."""

    max_generations: NonNegativeInt | None = None
    """Allow at most so many generations, without a question; what would need more is left."""

    @property
    def by_option(self) -> dict[str, object]:
        """The values by option, for `refuse_without`."""
        return {"--yes": self.yes, "--max-generations": self.max_generations}

    async def allow(self, limit: GenerationLimit, number: int, *, question: str | None) -> None:
        """Allow up to so many generations, or ask first.

        Args:
            limit: What is allowed.
            number: How many there may be.
            question: What to ask where no option allows them; None where they were asked for by
                name.

        Raises:
            ConfigError: The answer is no, or nobody can be asked.
        """
        if number and question and not self.yes and self.max_generations is None:
            instead = "pass --yes, or --max-generations N"
            if not await confirm(question, instead=instead):
                raise ConfigError("nothing was dispatched")
        limit.allowed = number if self.max_generations is None else self.max_generations


NO_CONSENT = Consent()
"""The options where none was given."""
