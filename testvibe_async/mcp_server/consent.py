"""A person's consent before credits are spent, where the client can ask for it.

Decides how the user is asked; `starts` decides when: before a generation that a call would start,
never for one that an earlier call started. A client that can't ask decides by the tool's hints and
its description. It never decides how many generations there may be; `Limits` does.
"""

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Elicit
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

from testvibe_async.mcp_server.characters import visible
from testvibe_async.mcp_server.session import Ctx

__all__ = ["Consent", "ask_for_credits", "require_agreed"]


class Consent(BaseModel):
    """What the user is asked."""

    generate: bool = Field(description="Whether to spend the credits", title="Generate")


async def ask_for_credits(ctx: Ctx, feature: str) -> Consent | Elicit[Consent]:
    """Ask the user, where the client can; else take it for agreed."""
    capabilities = ctx.client_capabilities
    if capabilities is None or capabilities.elicitation is None:
        return Consent(generate=True)
    return Elicit(
        f"Generate the tests of {visible(feature[:100])!r}? It costs credits of the account.",
        Consent,
    )


def require_agreed(agreed: ElicitationResult[Consent]) -> None:
    """Check what the user said.

    Raises:
        ToolError: The user does not want it.
    """
    if not isinstance(agreed, AcceptedElicitation) or not agreed.data.generate:
        raise ToolError("Nothing was started: the user does not want to spend credits on it.")
