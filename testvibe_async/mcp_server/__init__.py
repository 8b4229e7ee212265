"""The MCP server: TestVibe's operations as tools for a model.

For other packages: `make_server` makes a server, `serve_stdio` and `serve_http` serve it, and a
client with the poll plan `every_three_seconds` polls as the service's own tools do. Only this
package imports `mcp`, and importing `testvibe_async` does not import this package.

Read `server` first, which decides what is offered. `tools`, `dispatching_tools` and `waiting_tools`
hold the tools, `context` the resources and prompts, `toolkit` how a tool is made of a function.
`memory` keeps what calls started, `starts` decides what a call does with it, `runs` is a batch that
outlives its calls, and `waits` decides how a call waits. `answers` decides what a result looks
like, `budget` how long it is, `characters` what is shown in place of what hides, `consent` how the
user is asked, `advice` how an error is explained, and `session` which client serves a call.
`stdio`, `http` and `signals` decide how the server is served and how it stops.
"""

from testvibe_async.mcp_server.http import serve_http
from testvibe_async.mcp_server.server import make_server
from testvibe_async.mcp_server.session import every_three_seconds
from testvibe_async.mcp_server.stdio import serve_stdio

__all__ = ["every_three_seconds", "make_server", "serve_http", "serve_stdio"]
