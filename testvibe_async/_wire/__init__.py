"""What goes over the wire, and what it means. Pure: no clock and no I/O.

The door: the endpoints, requests and responses, and values to and from JSON.
"""

from testvibe_async._wire.convert import read, wire_name
from testvibe_async._wire.documents import Schema, json_schema, nullable, serialize
from testvibe_async._wire.endpoints import (
    CANCEL_GENERATION,
    CREATE_FEATURE,
    DELETE_FEATURE,
    DIAGNOSE_RUN,
    GENERATE_FEATURE,
    GET_FEATURE,
    GET_GENERATION_LOG,
    GET_GENERATION_STATUS,
    GET_PROJECT,
    GET_RUN,
    GET_RUN_ARTIFACTS,
    LIST_CONFIGS,
    LIST_FEATURES,
    LIST_FILES,
    LIST_PROJECTS,
    LIST_RUNS,
    READ_FILE,
    RUN_FEATURE,
    UPDATE_FEATURE,
    WRITE_FILE,
    Endpoint,
    Request,
    custom_request,
    endpoint_overrides,
)
from testvibe_async._wire.json import UnreadableError, read_rows
from testvibe_async._wire.protocol import Response, decode, parse_date

__all__ = [
    "CANCEL_GENERATION",
    "CREATE_FEATURE",
    "DELETE_FEATURE",
    "DIAGNOSE_RUN",
    "GENERATE_FEATURE",
    "GET_FEATURE",
    "GET_GENERATION_LOG",
    "GET_GENERATION_STATUS",
    "GET_PROJECT",
    "GET_RUN",
    "GET_RUN_ARTIFACTS",
    "LIST_CONFIGS",
    "LIST_FEATURES",
    "LIST_FILES",
    "LIST_PROJECTS",
    "LIST_RUNS",
    "READ_FILE",
    "RUN_FEATURE",
    "UPDATE_FEATURE",
    "WRITE_FILE",
    "Endpoint",
    "Request",
    "Response",
    "Schema",
    "UnreadableError",
    "custom_request",
    "decode",
    "endpoint_overrides",
    "json_schema",
    "nullable",
    "parse_date",
    "read",
    "read_rows",
    "serialize",
    "wire_name",
]
