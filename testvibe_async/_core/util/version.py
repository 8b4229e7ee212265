"""The version of this package, and the path of the API that it supports."""

__version__ = "0.1.0"

API_PATH = "/api/v1/ops"
"""The path of the operations at a server."""
