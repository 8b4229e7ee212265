"""The version of this package, and of the API that it knows."""

__version__ = "0.1.0"

API_PATH = "/api/v1/ops"
"""Where a server has the operations."""
