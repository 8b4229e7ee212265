"""The MCP server: TestVibe's operations as tools for a model.

For other packages: `make_server` makes a server, `serve_stdio` and `serve_http` serve it. Only this
package imports `mcp`, and importing `testvibe_async` does not import this package.

Read `server` first, which decides what is offered. `tools`, `waits`, `run_tools` and
`generation_tools` hold the tools, `context` the resources and prompts, `toolkit` how a tool is made
of a function. `starts` decides what a call does with what an earlier one started, which `memory`
keeps. `answers` decides what a result looks like, `budget` how long it is, and what is shown in
place of what hides, `advice` how an error is explained, and `session` which client serves a call.
`stdio` and `http` decide how the server is served and how it stops.
"""

from testvibe_async.mcp_server.http import serve_http
from testvibe_async.mcp_server.server import make_server
from testvibe_async.mcp_server.stdio import serve_stdio

__all__ = ["make_server", "serve_http", "serve_stdio"]
