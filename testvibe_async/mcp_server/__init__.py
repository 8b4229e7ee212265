"""The MCP server: TestVibe's operations as tools for a model.

For other packages: `make_server` makes a server, `serve_stdio` and `serve_http` serve it. Only this
package imports `mcp`, and importing `testvibe_async` does not import this package.

Read `server` first, which decides what is offered. `tools`, `runs` and `generations` hold the
tools, `toolkit` how a tool is made of a function, and the session of all calls. `batches` decides
which batch of the ledger a call returns, and `waits` how a call waits. `digests` decides what a
result says, `answers` how long it is, and what is shown in place of what hides, `advice` how an
error is explained. `serving` decides how the server is served and how it stops.
"""

try:
    from testvibe_async.mcp_server.server import make_server
    from testvibe_async.mcp_server.serving import serve_http, serve_stdio
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"the MCP server needs {_error.name}: pip install 'testvibe-async[mcp]'", name=_error.name
    ) from None

__all__ = ["make_server", "serve_http", "serve_stdio"]
