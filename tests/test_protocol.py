"""How a call becomes a request, and a response becomes a value or an error."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import NoneType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testvibe_async import _protocol
from testvibe_async._protocol import (
    ENDPOINTS,
    Effect,
    Request,
    Response,
    custom_request,
    decipher,
    endpoint_overrides,
)
from testvibe_async.errors import (
    ConfigError,
    ConflictError,
    FeatureBusyError,
    FeatureNotGeneratedError,
    ForbiddenError,
    GenerationInProgressError,
    InvalidRequestError,
    MalformedResponseError,
    NotFoundError,
    RateLimitedError,
    ResponseError,
    ServerError,
    UnauthorizedError,
)
from testvibe_async.models import DispatchedRun, Feature, ProjectInfo

# Typed in from the contract: name, method, path, whether the route is documented, what it does.
CONTRACT = [
    ("list_projects", "GET", "/projects", True, "READS"),
    ("get_project", "GET", "/projects/{project}", False, "READS"),
    ("list_features", "GET", "/projects/{project}/features", True, "READS"),
    ("get_feature", "GET", "/projects/{project}/features/{feature}", True, "READS"),
    ("create_feature", "POST", "/projects/{project}/features", False, "CHANGES"),
    ("update_feature", "PATCH", "/projects/{project}/features/{feature}", True, "CHANGES"),
    ("delete_feature", "DELETE", "/projects/{project}/features/{feature}", False, "CHANGES"),
    (
        "generate_feature",
        "POST",
        "/projects/{project}/features/{feature}/generate",
        True,
        "DISPATCHES",
    ),
    (
        "get_generation_status",
        "GET",
        "/projects/{project}/features/{feature}/generation",
        True,
        "READS",
    ),
    (
        "get_generation_log",
        "GET",
        "/projects/{project}/features/{feature}/generation/log",
        True,
        "READS",
    ),
    (
        "cancel_generation",
        "POST",
        "/projects/{project}/features/{feature}/generation/cancel",
        False,
        "CHANGES",
    ),
    ("run_feature", "POST", "/projects/{project}/features/{feature}/run", True, "DISPATCHES"),
    ("list_runs", "GET", "/projects/{project}/runs", False, "READS"),
    ("get_run", "GET", "/projects/{project}/runs/{run}", True, "READS"),
    ("diagnose_run", "GET", "/projects/{project}/runs/{run}/diagnosis", True, "READS"),
    ("get_run_artifacts", "GET", "/projects/{project}/runs/{run}/artifacts", True, "READS"),
    ("list_files", "GET", "/projects/{project}/files", False, "READS"),
    ("read_file", "GET", "/projects/{project}/files/content", True, "READS"),
    ("write_file", "PUT", "/projects/{project}/files/content", True, "CHANGES"),
    ("list_configs", "GET", "/projects/{project}/configs", False, "READS"),
]

URL = "https://testvibe.example/api/v1/ops/projects/p"
RECEIVED = datetime(2026, 6, 10, 14, 0, 0, tzinfo=UTC)
GET_FEATURE = ENDPOINTS["get_feature"].request(project="p", feature=12)


def answer(status: int, body: bytes = b"", **headers: str) -> Response:
    """Return a response."""
    return Response(
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body,
        url=URL,
        received_at=RECEIVED,
    )


def refusal(
    status: int, body: bytes = b"", *, operation: str = "get_feature", **headers: str
) -> Any:
    """Return the error that an answer to an operation is deciphered as."""
    request = request_for(operation)
    with pytest.raises(ResponseError) as caught:
        decipher(request, answer(status, body, **headers))
    return caught.value


def request_for(operation: str) -> Request[Any]:
    """Return a request for an operation, with any names in its path."""
    endpoint = ENDPOINTS[operation]
    names: dict[str, Any] = dict.fromkeys(_placeholders(endpoint.path), "x")
    return endpoint.request(**names)


def _placeholders(path: str) -> list[str]:
    return [part.split("}")[0] for part in path.split("{")[1:]]


def error_body(message: object, code: object = "some_code") -> bytes:
    """Return an error document in the service's format."""
    return json.dumps({"error": code, "message": message}).encode()


def test_the_table_is_the_contract() -> None:
    """The endpoint table has the contract's 20 requests, no fewer and no more."""
    rows = [(e.name, e.method, e.path, e.is_documented, e.effect.name) for e in ENDPOINTS.values()]
    assert sorted(rows) == sorted(CONTRACT)
    assert list(ENDPOINTS) == [endpoint.name for endpoint in ENDPOINTS.values()]


def test_reads_alone_are_repeatable() -> None:
    """What is a GET in the table may be repeated, and nothing else."""
    for endpoint in ENDPOINTS.values():
        assert request_for(endpoint.name).is_repeatable == (endpoint.method == "GET")


def test_a_request_is_built_from_its_parts() -> None:
    """Placeholders are encoded; query parameters and members that are None are left out."""
    request = ENDPOINTS["run_feature"].request(
        project="7f3c", feature="a/b c", body={"config": None, "siteUrl": "https://s.example"}
    )
    assert request.method == "POST"
    assert request.path == "/projects/7f3c/features/a%2Fb%20c/run"
    assert request.body == {"siteUrl": "https://s.example"}
    assert request.query == {}
    listed = ENDPOINTS["list_runs"].request(project="p", query={"feature": None, "limit": 0})
    assert listed.query == {"limit": "0"}
    assert listed.body is None


def test_an_empty_body_is_a_body() -> None:
    """A body without members is sent as one, which a dispatch needs."""
    request = ENDPOINTS["generate_feature"].request(project="p", feature=1, body={"siteUrl": None})
    assert request.body == {}


@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_name_is_exactly_one_segment(name: str) -> None:
    """Whatever a name holds, its segment is plain ASCII, no dots that lead away, and no more."""
    path = ENDPOINTS["get_feature"].request(project="p", feature=name).path
    head, segment = path[: len("/projects/p/features/")], path[len("/projects/p/features/") :]
    assert head == "/projects/p/features/"
    assert segment.isascii()
    assert not set(segment) & set("/?#\\ {}")
    assert segment not in {"", ".", ".."}
    assert _percent_decoded(segment) == name


def _percent_decoded(segment: str) -> str:
    head, *parts = segment.split("%")
    data = head.encode() + b"".join(bytes([int(p[:2], 16)]) + p[2:].encode() for p in parts)
    return data.decode()


@pytest.mark.parametrize("value", ["", True, None, 1.5, b"x", [], "\udc80"])
def test_what_can_not_be_a_segment_is_refused(value: Any) -> None:
    """A parameter that is neither a number nor a name is a ConfigError that names it."""
    with pytest.raises(ConfigError, match="feature"):
        ENDPOINTS["get_feature"].request(project="p", feature=value)


@pytest.mark.parametrize("status", [200, 201, 202, 203, 299])
def test_a_success_is_read(status: int) -> None:
    """Any 2xx with the promised document is a value."""
    body = b'{"id": 12, "name": "n"}'
    assert decipher(GET_FEATURE, answer(status, body)) == Feature(12, "n")


def test_the_answer_of_each_kind_is_what_the_table_says() -> None:
    """A list answer is a list, a dispatch its ids."""
    projects = decipher(ENDPOINTS["list_projects"].request(), answer(200, b'[{"id": "g"}]'))
    assert projects == [ProjectInfo("g")]
    run = ENDPOINTS["run_feature"].request(project="p", feature=1)
    assert decipher(run, answer(202, b'{"runId": 2, "featureId": 1}')) == DispatchedRun(2, 1)


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", b'{"ok": true}', b"null", b'"done"', b"[]"])
@pytest.mark.parametrize(
    "name", [name for name, endpoint in ENDPOINTS.items() if endpoint.answer is NoneType]
)
def test_a_mutation_is_done_once_it_is_acknowledged(name: str, body: bytes) -> None:
    """Any success but one that says false is an acknowledgement."""
    request = request_for(name)
    assert decipher(request, answer(200, body)) is None
    assert decipher(request, answer(204)) is None


@pytest.mark.parametrize("body", [b'{"ok": false}', b"<html>Sign in</html>", b'{"ok": tr'])
def test_a_mutation_is_not_done_where_the_success_says_so(body: bytes) -> None:
    """A success that says false, or is no JSON, such as a proxy's page, is malformed."""
    error = refusal(200, body, operation="write_file")
    assert type(error) is MalformedResponseError
    assert error.status == 200
    assert error.problems


def test_an_unreadable_success_says_what_is_wrong_and_where() -> None:
    """A success of another shape is malformed, chained from the fault, with all problems."""
    error = refusal(200, b'{"id": "12"}')
    assert type(error) is MalformedResponseError
    assert error.problems == ("expected an integer, got '12' at $.id", "missing at $.name")
    assert "missing at $.name" in str(error)
    assert (error.method, error.url, error.status) == ("GET", URL, 200)
    assert error.__cause__ is not None


def test_many_problems_are_counted_in_the_message() -> None:
    """The message of a malformed answer shows three problems and the number of the others."""
    error = refusal(200, b"[1, 2, 3, 4, 5]", operation="list_features")
    assert len(error.problems) == 5
    assert "(and 2 more)" in str(error)
    assert "$[3]" not in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, UnauthorizedError),
        (402, ResponseError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (405, ResponseError),
        (409, ConflictError),
        (418, ResponseError),
        (429, RateLimitedError),
        (499, ResponseError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (504, ServerError),
        (599, ServerError),
        (300, ResponseError),
        (304, ResponseError),
        (100, ResponseError),
    ],
)
def test_each_status_is_its_own_error(status: int, kind: type[ResponseError]) -> None:
    """A status decides the class of the error, which holds all parts of the answer."""
    error = refusal(status, error_body("The text.", "the_code"))
    assert type(error) is kind
    assert (error.status, error.method, error.url) == (status, "GET", URL)
    if not 300 <= status < 400:
        assert (error.code, error.message) == ("the_code", "The text.")
        assert str(error) == f"GET {URL}: {status} the_code: The text."


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("generate_feature", GenerationInProgressError),
        ("run_feature", FeatureNotGeneratedError),
        ("update_feature", FeatureBusyError),
        ("delete_feature", FeatureBusyError),
        ("cancel_generation", ConflictError),
        ("create_feature", ConflictError),
        ("write_file", ConflictError),
        ("get_run", ConflictError),
    ],
)
@pytest.mark.parametrize("message", ["This feature is already generating.", "Not generated.", ""])
def test_a_conflict_is_typed_by_the_call(
    operation: str, kind: type[ConflictError], message: str
) -> None:
    """A 409 means what the call that got it says, whatever words came with it."""
    assert type(refusal(409, error_body(message), operation=operation)) is kind


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", None, "no body"),
        (b"  \n ", None, "no body"),
        (b"<html>\n <h1>502  Bad\tGateway</h1>", None, "<html> <h1>502 Bad Gateway</h1>"),
        (b"plain words", None, "plain words"),
        (b"[1, 2]", None, "[1, 2]"),
        (b'"text"', None, '"text"'),
        (b'{"message": "only words"}', None, "only words"),
        (b'{"error": 7, "message": "m"}', None, '{"error": 7, "message": "m"}'),
        (b'{"error": "conflict"}', None, '{"error": "conflict"}'),
        (b"\xff\xfe\xfd", None, None),
        (b'\xef\xbb\xbf{"error": "bom", "message": "after a BOM"}', "bom", "after a BOM"),
    ],
)
def test_an_error_in_any_format_is_told_as_far_as_it_goes(
    body: bytes, code: str | None, message: str | None
) -> None:
    """Code and message come from the service's format, or the beginning of the body is shown."""
    error = refusal(500, body)
    assert error.code == code
    if message is None:
        assert error.message
    else:
        assert error.message == message


@pytest.mark.parametrize(
    "text", ["a\x1b[31mred", "a\r\nSet-Cookie: x", "a\x00b", "a\u202eb", "a\u2028b", "a\ud800b"]
)
def test_control_characters_never_reach_a_terminal(text: str) -> None:
    """Text from outside is one printable line in an error, in message, code and redirect."""
    error = refusal(400, error_body(text, text))
    assert str(error).isprintable()
    assert error.message.isprintable()
    assert error.code.isprintable()
    assert error.message.startswith("a")
    assert str(refusal(302, Location=f"https://x.example/{text}")).isprintable()
    assert str(refusal(500, text.encode(errors="surrogatepass"))).isprintable()


def test_a_long_message_is_shown_in_part() -> None:
    """The error of an endless message is short."""
    assert len(refusal(400, error_body("x" * 100_000, "c" * 100_000)).message) == 200
    assert len(str(refusal(500, b"y" * 100_000))) < 400


def test_a_redirect_is_an_error_that_names_its_target() -> None:
    """A 3xx is a ResponseError with the target, but without the target's query."""
    error = refusal(302, b"<html>", Location="https://login.example/sso?token=secret#x")
    assert type(error) is ResponseError
    assert "https://login.example/sso" in error.message
    assert "secret" not in str(error)
    assert "not followed" in error.message
    assert "nowhere" in refusal(304).message


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("007", 7.0),
        ("999999999", 999_999_999.0),
        ("Wed, 10 Jun 2026 14:00:30 GMT", 30.0),
        ("Wed, 10 Jun 2026 16:00:30 +0200", 30.0),
        ("Wed, 10 Jun 2026 13:00:00 GMT", 0.0),
        ("Wednesday, 10-Jun-26 14:00:30 GMT", 30.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("+5", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("1e3", None),
        ("0x10", None),
        ("1_0", None),
        ("5, 7", None),
        ("\u0665", None),
        ("Wed, 99 Jun 2026 14:00:30 GMT", None),
        ("Wed, 10 Jun 2026 14:00:30 +9999999999", None),
        ("Wed, 10 Jun 99999999999 14:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    """Retry-After is read as RFC 9110 has it, and anything else is no wish at all."""
    assert refusal(429, Retry_After=value).retry_after == seconds
    assert refusal(503, Retry_After=value).retry_after == seconds


@pytest.mark.parametrize("digits", [10, 40, 400, 5000])
def test_a_retry_after_of_ages_is_not_taken_for_none(digits: int) -> None:
    """A number of seconds beyond all reason still asks for a rest, and never breaks out."""
    retry_after = refusal(429, Retry_After="9" * digits).retry_after
    assert retry_after is not None
    assert retry_after > 120


def test_a_date_is_counted_from_the_services_clock() -> None:
    """A Retry-After date is measured against the answer's own Date, not against our clock."""
    error = refusal(
        429,
        Date="Mon, 01 Jan 2024 00:00:00 GMT",
        Retry_After="Mon, 01 Jan 2024 00:00:20 GMT",
    )
    assert error.retry_after == 20.0
    broken = refusal(429, Date="x", Retry_After="Wed, 10 Jun 2026 14:00:30 GMT")
    assert broken.retry_after == 30.0


@given(st.text(max_size=40))
def test_any_retry_after_is_a_rest_or_none(value: str) -> None:
    """No text in Retry-After breaks out, or asks for less than nothing."""
    seconds = refusal(429, Retry_After=value).retry_after
    assert seconds is None or 0 <= seconds < float("inf")


@given(st.integers(200, 599), st.binary(max_size=80), st.sampled_from(list(ENDPOINTS)))
def test_any_answer_is_a_value_or_an_error(status: int, body: bytes, operation: str) -> None:
    """Nothing that a server may answer raises anything but a ResponseError of one line."""
    request = request_for(operation)
    error: ResponseError | None = None
    try:
        decipher(request, answer(status, body))
    except ResponseError as caught:
        error = caught
    assert error is not None or status < 300
    assert error is None or (error.status == status and str(error).isprintable())


def test_the_date_is_the_services_clock_where_it_says() -> None:
    """The instant of an answer is its Date, in UTC; there is none where it can't be read."""
    dated = answer(200, Date="Mon, 01 Jan 2024 00:00:00 GMT")
    assert dated.date == datetime(2024, 1, 1, tzinfo=UTC)
    naive = answer(200, Date="Mon, 01 Jan 2024 00:00:00 -0000")
    assert naive.date == datetime(2024, 1, 1, tzinfo=UTC)
    assert answer(200).date is answer(200, Date="x").date is None


def test_a_body_is_in_no_repr() -> None:
    """The repr of a response holds no body, which may be large."""
    assert "needle" not in repr(answer(200, b"needle"))


def test_a_custom_request_is_what_it_says() -> None:
    """A custom request has the method, path, query and body that it was given."""
    request = custom_request("POST", "/a/b%20c", query={"x": 1, "y": None}, body={"z": 2})
    assert (request.method, request.path) == ("POST", "/a/b%20c")
    assert (request.query, request.body) == ({"x": "1"}, {"z": 2})
    assert decipher(request, answer(200, b'{"any": [1]}')) == {"any": [1]}


@pytest.mark.parametrize(
    ("method", "effect"), [("GET", Effect.READS), ("POST", Effect.CHANGES), ("PUT", Effect.CHANGES)]
)
def test_a_custom_get_alone_is_repeatable(method: str, effect: Effect) -> None:
    """Of custom requests, a GET alone may be repeated."""
    request = custom_request(method, "/x")
    assert request.endpoint.effect is effect
    assert request.is_repeatable == (method == "GET")


@pytest.mark.parametrize("status", [200, 202, 204, 205])
def test_a_custom_request_may_be_answered_without_a_body(status: int) -> None:
    """A success without a body, such as 204, is None: it is no fault where nothing is promised."""
    assert decipher(custom_request("DELETE", "/x"), answer(status)) is None


@pytest.mark.parametrize("method", ["get", "", "GET ", "G3T", "GET\r\nX: y", "GÉT"])
def test_a_custom_method_is_a_word(method: str) -> None:
    """What is no HTTP method is a ConfigError."""
    with pytest.raises(ConfigError, match="method"):
        custom_request(method, "/x")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "x",
        "//x",
        "/x/",
        "/x//y",
        "/x?y=1",
        "/x#y",
        "/x y",
        "/x\r\nHost: evil",
        "/é",
        "/{x}",
        "https://evil.example/x",
        "/x\n",
        pytest.param("/x\x00", id="NUL"),
        "/x\x1b",
        "/x\x7f",
        "/..",
        "/../../../admin",
        "/x/./y",
        "/x/..",
        "/x/%2e%2E/y",
        "/x/.%2e",
    ],
)
def test_a_custom_path_stays_below_the_api(path: str) -> None:
    """What is no path below `/api/v1/ops`, or could lead out of it, is a ConfigError."""
    with pytest.raises(ConfigError, match="path"):
        custom_request("GET", path)


@pytest.mark.parametrize("path", ["/x", "/x/y.z", "/...", "/a%2F..%2Fb", "/x/%2E%2E%2E", "/~a;b=c"])
def test_a_custom_path_may_be_any_below_the_api(path: str) -> None:
    """A path of whole segments, percent-encoded by the caller, is sent as it is."""
    assert custom_request("GET", path).path == path


ASSUMED = sorted(name for name, _, _, is_documented, _ in CONTRACT if not is_documented)


@pytest.mark.parametrize("name", ASSUMED)
def test_an_assumed_route_can_be_another(name: str) -> None:
    """Each assumed operation takes another method and path, and stays the same otherwise."""
    endpoint = ENDPOINTS[name]
    places = "/".join(f"{{{place}}}" for place in reversed(_placeholders(endpoint.path)))
    changed = endpoint_overrides({name: f"PUT /v2/{places}/else-where"})[name]
    assert (changed.method, changed.path) == ("PUT", f"/v2/{places}/else-where")
    assert changed.answer is endpoint.answer
    assert changed.effect is endpoint.effect
    assert changed.conflict is endpoint.conflict


def test_no_overrides_change_nothing() -> None:
    """Without other routes there are no other endpoints."""
    assert endpoint_overrides({}) == {}


@pytest.mark.parametrize(
    "name",
    ["no_such", "wait_for_run", "", *(name for name, *_, documented, _ in CONTRACT if documented)],
)
def test_a_documented_route_stays(name: str) -> None:
    """A documented or unknown operation has no other route: the error names those that have."""
    with pytest.raises(ConfigError, match="list_configs"):
        endpoint_overrides({name: "GET /projects/{project}/x"})


@pytest.mark.parametrize(
    "route",
    [
        "",
        "GET",
        "/projects/{project}/runs",
        "GET projects/{project}/runs",
        "get /projects/{project}/runs",
        "GET  /projects/{project}/runs",
        "GET /projects/{project}/runs ",
        "GET /projects/{project}/runs\n",
        "GET /projects/{project}/runs?x=1",
        "GET /projects/{project}/runs/",
        "GET /projects//{project}",
        "GET /projects",
        "GET /projects/{id}/runs",
        "GET /projects/{project}/{run}",
        "GET /projects/x{project}",
        "GET https://evil.example/{project}",
        "GET /projects/{project}/ü",
        "GET /projects/{project}/../../x",
        "GET /projects/{project}/.",
    ],
)
def test_a_route_that_is_none_is_refused(route: str) -> None:
    """A route without a method, a path, its placeholders, or with more than that is refused."""
    with pytest.raises(ConfigError, match="list_runs"):
        endpoint_overrides({"list_runs": route})


def test_the_table_is_exported_whole() -> None:
    """Every endpoint of the module is in the table under its own name."""
    found = {
        value.name for value in vars(_protocol).values() if isinstance(value, _protocol.Endpoint)
    }
    assert found == set(ENDPOINTS)
