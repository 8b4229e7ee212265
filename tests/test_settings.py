"""Where the service is and who we are, and what is refused before anything is sent."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testvibe_async import Client
from testvibe_async.errors import ConfigError
from testvibe_async.settings import Settings, load_settings, require_seconds

KEY = "tvb_" + "Ab3" * 14 + "z"
OTHER = "tvb_" + "y" * 43


def server_of(text: str, **options: Any) -> str:
    """Return what becomes of a server's address."""
    return load_settings(text, api_key=KEY, environment={}, **options).server


def test_the_environment_says_all() -> None:
    """Without arguments, server, key and project come from the environment."""
    environment = {
        "TESTVIBE_SERVER": "https://testvibe.example",
        "TESTVIBE_API_KEY": KEY,
        "TESTVIBE_PROJECT": "7f3c",
    }
    settings = load_settings(environment=environment)
    assert settings == Settings(server="https://testvibe.example", api_key=KEY, project="7f3c")


def test_arguments_come_before_the_environment() -> None:
    """An argument wins over the variable."""
    environment = {
        "TESTVIBE_SERVER": "https://wrong.example",
        "TESTVIBE_API_KEY": OTHER,
        "TESTVIBE_PROJECT": "wrong",
    }
    settings = load_settings(
        "https://right.example", api_key=KEY, project="right", environment=environment
    )
    assert settings == Settings(server="https://right.example", api_key=KEY, project="right")


def test_a_client_reads_the_environment_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Client without arguments takes the variables as they are when it is made."""
    monkeypatch.setenv("TESTVIBE_SERVER", "https://testvibe.example")
    monkeypatch.setenv("TESTVIBE_API_KEY", KEY)
    monkeypatch.setenv("TESTVIBE_PROJECT", "7f3c")
    client = Client()
    assert client.server == "https://testvibe.example"
    assert client.project().id == "7f3c"
    assert client.project("other").id == "other"


def test_a_project_is_not_needed() -> None:
    """Server and key are enough, and an empty project is none."""
    for project in (None, ""):
        settings = load_settings(
            "https://h.example",
            api_key=KEY,
            project=project,
            environment={"TESTVIBE_PROJECT": ""},
        )
        assert settings.project is None


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        ({}, "TESTVIBE_SERVER"),
        ({"TESTVIBE_API_KEY": KEY}, "TESTVIBE_SERVER"),
        ({"TESTVIBE_SERVER": "", "TESTVIBE_API_KEY": KEY}, "TESTVIBE_SERVER"),
        ({"TESTVIBE_SERVER": "https://h.example"}, "TESTVIBE_API_KEY"),
        ({"TESTVIBE_SERVER": "https://h.example", "TESTVIBE_API_KEY": ""}, "TESTVIBE_API_KEY"),
    ],
)
def test_what_is_missing_is_named(environment: dict[str, str], missing: str) -> None:
    """The error of a missing setting names the variable and the argument."""
    with pytest.raises(ConfigError, match=missing) as caught:
        load_settings(environment=environment)
    assert "Client(" in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "tvb_",
        KEY[:-1],
        KEY + "0",
        KEY + "\n",
        " " + KEY,
        "TVB_" + KEY[4:],
        KEY[4:],
        "Bearer " + KEY,
        KEY[:-1] + "-",
        KEY[:-1] + "é",
        KEY[:-1] + "\u0663",
        f'"{KEY}"',
    ],
)
def test_a_key_of_another_form_is_refused_unseen(key: str) -> None:
    """A key that can't be one is refused with its length, and nothing of it is shown."""
    with pytest.raises(ConfigError, match=f"has {len(key)} characters") as caught:
        load_settings("https://h.example", api_key=key, environment={})
    assert KEY[4:20] not in str(caught.value)
    assert KEY[4:20] not in repr(caught.value)


def test_the_key_is_in_no_repr() -> None:
    """Neither settings nor a client show the key."""
    settings = load_settings("https://h.example", api_key=KEY, environment={})
    client = Client("https://h.example", api_key=KEY)
    for shown in (
        repr(settings),
        str(settings),
        repr(client),
        str(client),
        f"{client.project('p')}",
    ):
        assert KEY not in shown
        assert KEY[4:] not in shown


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("https://testvibe.example", "https://testvibe.example"),
        ("https://testvibe.example/", "https://testvibe.example"),
        (" https://testvibe.example\n", "https://testvibe.example"),
        ("HTTPS://TestVibe.EXAMPLE", "https://testvibe.example"),
        ("https://testvibe.example:8443", "https://testvibe.example:8443"),
        ("https://testvibe.example:443", "https://testvibe.example"),
        ("https://testvibe.example:", "https://testvibe.example"),
        ("https://testvibe.example?", "https://testvibe.example"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://LOCALHOST", "http://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://127.8.9.10", "http://127.8.9.10"),
    ],
)
def test_one_server_has_one_name(text: str, server: str) -> None:
    """However a server is written, its name is scheme and host, and the port where it is needed."""
    assert server_of(text) == server
    assert server_of(server) == server


@pytest.mark.parametrize(
    "text",
    [
        "testvibe.example",
        "//testvibe.example",
        "ftp://testvibe.example",
        "https://",
        "https:///x",
        "https:testvibe.example",
        "https://testvibe.example/api/v1/ops",
        "https://testvibe.example//",
        "https://testvibe.example?x=1",
        "https://testvibe.example/#x",
        "https://user@testvibe.example",
        "https://@testvibe.example",
        "https://:@testvibe.example",
        "https://testvibe.example:99999",
        "https://testvibe.example:-1",
        "https://testvibe.example:https",
        "https://[::1",
        "https://a..b",
        "https://" + "a" * 64 + ".example",
        "https://test vibe.example",
        "https://test\tvibe.example",
        "https://testvibe.example\\@evil.example",
        "https://testvibe.example%2f.evil.example",
        pytest.param("https://testvibe\x00.example", id="NUL"),
        "https://test<vibe>.example",
        "https://,",
    ],
)
def test_what_is_no_server_is_refused(text: str) -> None:
    """An address with less than scheme and host, with more, or with a broken host is refused."""
    with pytest.raises(ConfigError, match="server"):
        server_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://testvibe.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://[2001:db8::1]",
    ],
)
def test_the_key_does_not_travel_in_the_clear(text: str) -> None:
    """http:// to another machine is refused, and allowed only when asked for."""
    with pytest.raises(ConfigError, match="in the clear"):
        server_of(text)
    assert server_of(text, allow_http=True) == text
    with pytest.raises(ConfigError):
        Client(text, api_key=KEY)
    assert Client(text, api_key=KEY, allow_http=True).server == text


@pytest.mark.parametrize(
    "text",
    [
        "https://user:hunter2@testvibe.example",
        "https://user:hunter2@testvibe.example/x",
        "https://testvibe.example/?token=hunter2",
        "https://testvibe.example/hunter2",
        f"https://testvibe.example/{KEY}",
        f"https://{KEY}@testvibe.example",
    ],
)
def test_a_refused_server_shows_no_secret(text: str) -> None:
    """What an address should not hold is not repeated in the error."""
    with pytest.raises(ConfigError) as caught:
        server_of(text)
    assert "hunter2" not in str(caught.value)
    assert KEY not in str(caught.value)


@given(st.text())
def test_any_text_is_a_server_or_is_refused(text: str) -> None:
    """No text breaks out, and what is taken for a server is one that reads the same again."""
    try:
        server = server_of(text, allow_http=True)
    except ConfigError:
        return
    assert server_of(server, allow_http=True) == server


@given(st.text(st.sampled_from("ab1.:/@[]\\%#? \tü-_"), max_size=12))
def test_any_host_is_a_server_or_is_refused(text: str) -> None:
    """Whatever stands for the host, it is a host that reads the same again, or is refused."""
    try:
        server = server_of(f"https://{text}")
    except ConfigError:
        return
    assert server_of(server) == server
    assert not set(server.removeprefix("https://")) & set("/@\\%#? \t")


@pytest.mark.parametrize("value", [0.001, 1, 30.0, 1e9])
def test_seconds_are_a_positive_number(value: float) -> None:
    """A duration above 0 comes back as a float."""
    seconds = require_seconds("timeout", value)
    assert seconds == value
    assert type(seconds) is float


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        -0.0,
        math.nan,
        math.inf,
        -math.inf,
        True,
        None,
        "5",
        [],
        pytest.param(10**400, id="huge"),
    ],
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    """A duration that is no finite number above 0 is a ConfigError with its name."""
    with pytest.raises(ConfigError, match="poll_interval"):
        require_seconds("poll_interval", value)


@pytest.mark.parametrize("option", ["timeout", "poll_interval", "max_outage"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "3"])
def test_a_clients_durations_are_checked(option: str, value: Any) -> None:
    """A Client whose duration is none can't be made, and the error names the argument."""
    options: dict[str, Any] = {option: value}
    with pytest.raises(ConfigError, match=option):
        Client("https://h.example", api_key=KEY, **options)


@pytest.mark.parametrize("value", [0, -1, 1.5, "8", None])
def test_a_clients_connections_are_checked(value: Any) -> None:
    """A Client without a single connection can't be made."""
    with pytest.raises(ConfigError, match="max_connections"):
        Client("https://h.example", api_key=KEY, max_connections=value)


def test_a_client_without_a_project_says_how_to_name_one() -> None:
    """project() without any id names the three ways to give one."""
    client = Client("https://h.example", api_key=KEY)
    with pytest.raises(ConfigError, match="TESTVIBE_PROJECT"):
        client.project()
