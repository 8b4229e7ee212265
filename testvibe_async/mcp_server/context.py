# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""Resources and prompts, which a user hands to the model without a tool call.

Decides their URIs, their arguments and the wording of the prompts. A resource is the document of a
tool, of the project that the server is set to, unless its URI names another. It never changes
anything at the service.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TypeAlias

from attrs import evolve
from mcp.server.mcpserver import MCPServer, ResourceSecurity
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR, INVALID_PARAMS

from testvibe_async import NotFoundError, VibeError
from testvibe_async._util import id_in
from testvibe_async.mcp_server import tools
from testvibe_async.mcp_server.advice import explain
from testvibe_async.mcp_server.answers import sentence, text_of, visible
from testvibe_async.mcp_server.toolkit import Call, Session, document_of, of_context

Reader: TypeAlias = Callable[..., Awaitable[str]]

_NO_PATHS = ResourceSecurity(exempt_params={"feature", "project"})
"""A feature's name is not a path, so it may begin with a slash, or hold dots."""


def add_resources(server: MCPServer[Session]) -> None:
    """Add the resources to a server."""
    for uri, mime_type, read in (
        ("testvibe://runs/{runId}{?project}", "application/json", run_digest),
        ("testvibe://features/{feature}/gherkin{?project}", "text/plain", feature_gherkin),
        ("testvibe://features/{feature}/generation/log{?project}", "application/json", last_log),
    ):
        server.resource(uri, mime_type=mime_type, security=_NO_PATHS)(_explained(read))


def add_prompts(server: MCPServer[Session]) -> None:
    """Add the prompts to a server."""
    server.prompt(title="Why did a run fail?")(_explained(diagnose_failed_run))
    server.prompt(title="Why did a generation fail?")(_explained(diagnose_failed_generation))


def _explained(read: Reader) -> Reader:
    """Make a resource or a prompt of a function of a `Call`.

    Its errors reach the client, with what to do next.
    """
    inner = of_context(read)

    @wraps(inner)
    async def call(**arguments: object) -> str:
        try:
            return visible(await inner(**arguments))
        except (VibeError, ToolError) as error:
            code = INVALID_PARAMS if isinstance(error, NotFoundError) else INTERNAL_ERROR
            text = explain(error, arguments) if isinstance(error, VibeError) else str(error)
            raise MCPError(code, sentence(text)) from error

    return call


async def run_digest(call: Call, *, runId: str) -> str:
    """Read a run's digest, as JSON."""
    return text_of(await document_of(call, tools.get_run, runId=_run_id(runId)))


def _run_id(text: str) -> int:
    if (run_id := id_in(text)) is None:
        raise ToolError(
            f"A run's id is a number, not {text!r}. list_runs shows which runs there are."
        )
    return run_id


async def feature_gherkin(call: Call, *, feature: str) -> str:
    """Read a feature's Gherkin."""
    found = await document_of(call, tools.get_feature, feature=feature)
    if "nextOffset" not in found:
        return str(found["gherkin"])
    rest = f"get_feature with feature {feature[:100]!r} and offset {found['nextOffset']}"
    return f"{found['gherkin']}\n# There is more: {rest} reads on."


async def last_log(call: Call, *, feature: str) -> str:
    """Read the log of a feature's latest generation, section by section, as JSON."""
    return text_of(await document_of(call, tools.get_generation_log, feature=feature))


async def diagnose_failed_run(call: Call, *, runId: str) -> str:
    """Find out why a run failed, and whether the site, the feature or the test is to blame."""
    document = await document_of(call, tools.diagnose_run, runId=_run_id(runId))
    return (
        f"Find out why run {runId} failed. For each failing test say whether the site is broken, "
        "the feature's Gherkin no longer says what the site does, or the generated test is brittle "
        "(a selector, a wait). Go by the error and the log first, then compare the executed spec "
        "with the Gherkin; get_run_artifacts has traces and screenshots. Propose one remedy: fix "
        "the site, update_feature and then generate_feature (which costs credits: ask first), or "
        "run_feature again where it looks like a coincidence.\n\nThe diagnosis:\n\n"
        f"{text_of(document)}"
    )


async def diagnose_failed_generation(call: Call, *, feature: str) -> str:
    """Find out why a generation made no tests, and how the feature's Gherkin should change."""
    call = evolve(call, parts=3)
    log = await last_log(call, feature=feature)
    gherkin = await feature_gherkin(call, feature=feature)
    return (
        f"Find out why the generation of the feature {feature!r} failed. Read the reason and "
        "the last lines of each failing section first: what did it try, and what did it not find "
        "on the site? Then propose how the Gherkin should change, to be written with "
        "update_feature. Don't call generate_feature before I agree: it costs credits.\n\n"
        f"The log:\n\n{log}\n\nThe Gherkin:\n\n{gherkin}"
    )
