"""What an exchange breaks of the contract: the OpenAPI document, and a validator that is not ours.

A request may hold nothing that the document does not have. An answer may hold more.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote, unquote

from attrs import frozen
from jsonschema_rs import Draft202012Validator, Registry

from testvibe_async._core.wire import openapi_document

API = "/api/v1/ops"
_URI = "urn:contract"
_BY_STATE = {"log", "other"}


@frozen
class Operation:
    """One operation of the document, and the schemas of what is sent and answered."""

    name: str
    method: str
    path: str
    parameters: Mapping[str, Mapping[str, Draft202012Validator]]
    """By place (`path`, `query`) and name."""
    required: frozenset[str]
    """The names of the query parameters that have to be sent."""
    body: Draft202012Validator | None
    is_body_required: bool
    answers: Mapping[str, Draft202012Validator]
    """By status, or `default`."""
    definition: Mapping[str, Any]

    def arguments(self, path: str) -> Mapping[str, str] | None:
        """Return what a raw path holds in place of the parameters; None if it is another path."""
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]*)", re.escape(API + self.path))
        match = re.fullmatch(pattern, path)
        return match and {name: unquote(value) for name, value in match.groupdict().items()}


def closed(document: Any, *, is_documented: bool = False) -> Any:
    """Return a document without its tolerance: no object has other members, no field other words.

    The service may answer more than the document has. The emulator, which was written from the same
    contract, has no reason to.

    Args:
        document: The document, or a part of it.
        is_documented: True for one without the members and words that are only assumed.
    """
    if isinstance(document, list):
        rows = cast("list[object]", document)
        return [closed(each, is_documented=is_documented) for each in rows]
    if not isinstance(document, dict):
        return document
    members = cast("dict[str, Any]", document).items()
    schema = {key: closed(value, is_documented=is_documented) for key, value in members}
    if schema.get("type") == "object":
        schema["additionalProperties"] = False
        if is_documented:
            fields = schema.get("properties", {}).items()
            kept = {name: each for name, each in fields if each["x-basis"] == "documented"}
            schema |= {"properties": kept, "required": []}
    if "x-words" in schema:
        assumed: list[Any] = [] if is_documented else schema["x-words"]["assumed"]
        null = [None] if "null" in schema["type"] else []
        schema["enum"] = [*schema["x-words"]["documented"], *assumed, *null]
    return schema


def complete(document: Mapping[str, Any]) -> Any:
    """Return a closed document whose answers have all of their members, as the emulator's do.

    Except what depends on the state: the log of a failed run, the fourth count of a digest, and all
    of a generation that never was.
    """
    found = closed(document)
    for name, schema in document["components"]["schemas"].items():
        is_answer = schema.get("type") == "object" and "additionalProperties" not in schema
        if is_answer and name != "Generation":
            members = schema["properties"].keys() - _BY_STATE
            found["components"]["schemas"][name]["required"] = sorted(members)
    return found


class Checker:
    """The document, ready to be held against requests and answers."""

    def __init__(self, document: Mapping[str, Any] | None = None) -> None:
        """Compile a document; None for the one that is shipped."""
        self._document = openapi_document() if document is None else document
        self._registry = Registry([(_URI, dict(self._document))])
        self.operations = {
            definition["operationId"]: self._operation(method, path, definition)
            for path, item in self._document["paths"].items()
            for method, definition in item.items()
            if method != "parameters"
        }

    def request(self, name: str, path: str, query: Mapping[str, str], body: bytes) -> Iterator[str]:
        """Say what is wrong with a request, by its raw path, its decoded query and its body."""
        operation = self.operations[name]
        arguments = operation.arguments(path)
        if arguments is None:
            yield f"{path} is not a path of {operation.path}"
        for place, values in (("path", arguments or {}), ("query", query)):
            for parameter, text in values.items():
                validator = operation.parameters[place].get(parameter)
                if validator is None:
                    yield f"{place}: {parameter!r} is not a parameter"
                elif not any(validator.is_valid(value) for value in _meanings(text)):
                    yield f"{place}: {parameter} can't be {text!r}"
        for parameter in operation.required - query.keys():
            yield f"query: {parameter} is required"
        if body and operation.body is None:
            yield f"body: none is taken, got {body[:60]!r}"
        elif body and operation.body is not None:
            yield from _problems("body", operation.body, body)
        elif operation.is_body_required:
            yield "body: one is required"

    def answer(self, name: str, status: int, body: bytes) -> Iterator[str]:
        """Say what is wrong with an answer."""
        answers = self.operations[name].answers
        yield from _problems(str(status), answers.get(str(status), answers["default"]), body)

    def schema(self, pointer: str) -> Draft202012Validator:
        """Return the validator of a schema of the document, by its JSON pointer."""
        return Draft202012Validator({"$ref": f"{_URI}#{quote(pointer)}"}, registry=self._registry)

    def _operation(self, method: str, path: str, definition: Mapping[str, Any]) -> Operation:
        at = f"/paths/{_escaped(path)}"
        shared = self._document["paths"][path].get("parameters", [])
        parameters: dict[str, dict[str, Draft202012Validator]] = {"path": {}, "query": {}}
        required: set[str] = set()
        for where, given in ((at, shared), (f"{at}/{method}", definition.get("parameters", []))):
            for index in range(len(given)):
                pointer, parameter = self._resolved(f"{where}/parameters/{index}")
                parameters[parameter["in"]][parameter["name"]] = self.schema(f"{pointer}/schema")
                if parameter["in"] == "query" and parameter.get("required"):
                    required.add(parameter["name"])
        body = definition.get("requestBody")
        return Operation(
            name=definition["operationId"],
            method=method.upper(),
            path=path,
            parameters=parameters,
            required=frozenset(required),
            body=body and self._content(f"{at}/{method}/requestBody"),
            is_body_required=bool(body and body["required"]),
            answers={
                status: self._content(f"{at}/{method}/responses/{status}")
                for status in definition["responses"]
            },
            definition=definition,
        )

    def _content(self, pointer: str) -> Draft202012Validator:
        return self.schema(f"{self._resolved(pointer)[0]}/content/application~1json/schema")

    def _resolved(self, pointer: str) -> tuple[str, Mapping[str, Any]]:
        """Return the place of a value that may be a reference, and the value."""
        value: Any = self._document
        for part in pointer.split("/")[1:]:
            key: Any = part.replace("~1", "/").replace("~0", "~")
            value = value[int(key) if isinstance(value, list) else key]
        if "$ref" in value:
            return self._resolved(value["$ref"].removeprefix("#"))
        return pointer, value


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _meanings(text: str) -> list[str | int]:
    """Return what a text of a path or query can mean: a number travels as a text."""
    return [text, int(text)] if text.isascii() and text.isdigit() else [text]


def _problems(where: str, validator: Draft202012Validator, body: bytes) -> Iterator[str]:
    try:
        document: object = json.loads(body)
    except ValueError:
        yield f"{where}: {body[:60]!r} is not JSON"
        return
    for error in validator.iter_errors(document):
        place = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path
        )
        yield f"{where}: {error.message[:300]} at ${place}"
