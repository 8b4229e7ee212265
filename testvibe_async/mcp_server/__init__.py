"""The MCP server: TestVibe's operations as tools for a model.

The page to read first is `server`. Nothing outside of this package imports `mcp`, and importing
`testvibe_async` does not import this.
"""

from testvibe_async.mcp_server.http import serve_http
from testvibe_async.mcp_server.server import make_server
from testvibe_async.mcp_server.stdio import serve_stdio

__all__ = ["make_server", "serve_http", "serve_stdio"]
