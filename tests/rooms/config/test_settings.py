"""Server, key and options: where each is taken from, and what is refused before a request."""

from pathlib import Path
from typing import Any

import pytest

from testvibe_async import Client
from testvibe_async._core.config.settings import Setting, Settings, find_settings, load_settings
from testvibe_async._core.config.validate import masked, require_api_key
from testvibe_async.errors import ConfigError

KEY = "tvb_" + "Ab3" * 14 + "z"
OTHER = "tvb_" + "y" * 43
HOME = "https://home.example"
AWAY = "https://away.example"


@pytest.fixture(autouse=True)
def user_file(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's file would be; and no file of a repository is near."""
    folder = tmp_path_factory.mktemp("machine")
    (folder / "repository" / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder / "repository")
    monkeypatch.setattr(
        "testvibe_async._core.config.files.user_file_path", lambda: folder / "config.toml"
    )
    return folder / "config.toml"


def store(user_file: Path, *servers: str, default: str | None = None, mode: int = 0o600) -> None:
    """Store a key for each server, and which of them is the user's default."""
    tables = "".join(f'[servers."{server}"]\napi_key = "{KEY}"\n' for server in servers)
    user_file.write_text((f'server = "{default}"\n' if default else "") + tables)
    user_file.chmod(mode)


def state(user_file: Path, text: str) -> Path:
    """Write the file of the repository in which we work."""
    path = user_file.parent / "repository" / ".testvibe-async.toml"
    path.write_text(text)
    return path


def server_of(text: str, **options: Any) -> str:
    """Return what becomes of a server's address."""
    return load_settings(text, api_key=KEY, environment={}, **options).server


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        (KEY[:20] + "\n" + KEY[20:], "holds a line break"),
        (KEY[:20] + "\r\n" + KEY[20:], "holds a line break"),
        ("Bearer " + KEY, "holds white space: .* without a word such as Bearer"),
        (KEY[:20] + "\t" + KEY[20:], "holds white space"),
        (KEY + "é", "holds a character that is not printable ASCII"),
        (KEY[:20] + "\u0663", "holds a character that is not printable ASCII"),
        (KEY[:20] + "\x00", "holds a character that is not printable ASCII"),
        ("tvb_…", "holds a character that is not printable ASCII"),
    ],
)
@pytest.mark.parametrize("variable", [None, "TESTVIBE_API_KEY"])
def test_a_key_that_no_header_can_hold(key: str, fault: str, variable: str | None) -> None:
    """A key with a line break, white space or a control inside is refused, and not shown."""
    environment = {variable: key} if variable else {}
    with pytest.raises(ConfigError, match=f"the API key {fault}") as caught:
        load_settings(HOME, api_key=None if variable else key, environment=environment)
    assert str(caught.value).startswith(f"{variable}: " if variable else "the API key")
    assert KEY[4:20] not in repr(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="is empty"):  # A command reads one.
        require_api_key("")


@pytest.mark.parametrize(
    "key",
    [KEY[:-1], KEY + "0", "TVB_" + KEY[4:], KEY[4:], KEY[:-1] + "-", f'"{KEY}"', "k", "a/b+c=="],
)
def test_a_key_of_another_form_warns_once(
    key: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of another form is used as it is; the first use logs one warning, without the key."""
    monkeypatch.setattr("testvibe_async._core.config.validate._warned_of", set[int]())
    environment = {"TESTVIBE_API_KEY": f"{key}\n"}
    for _ in range(3):
        assert load_settings(HOME, environment=environment).api_key == key
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("testvibe_async", "WARNING")
    message = record.getMessage()
    assert message.startswith("TESTVIBE_API_KEY: the API key does not look like one of TestVibe's")
    assert f"this one has {len(key)} characters" in message
    assert KEY[4:20] not in message

    load_settings(HOME, api_key=f"another {key}".replace(" ", "-"), environment={})
    assert len(caplog.records) == 2


H = "https://testvibe.example"
SPELLINGS = {
    H: ["", "/", " \n", ":443", ":", "?", "//", "/api/v1/ops", "/api/v1/ops/\n", "//api/v1/ops"],
    f"{H}:8443": [":8443"],
    f"{H}/a": ["/a/api/v1/ops//api/v1/ops/"],
    f"{H}/testvibe": ["/testvibe"],
    f"{H}/a-1/b_2.c~": ["/a-1/b_2.c~/api/v1/ops"],
    f"{H}/api/v1": ["/api/v1"],
    f"{H}/xapi/v1/ops": ["/xapi/v1/ops"],
}


@pytest.mark.parametrize(
    ("text", "server"),
    [
        *((H + text, server) for server, texts in SPELLINGS.items() for text in texts),
        (" https://testvibe.example", H),
        ("HTTPS://TestVibe.EXAMPLE", H),
        ("HTTPS://TestVibe.EXAMPLE:443/TestVibe//", f"{H}/TestVibe"),
        ("https://b\xfccher.example", "https://xn--bcher-kva.example"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://LOCALHOST", "http://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://127.8.9.10", "http://127.8.9.10"),
        ("http://127.0.0.1:8080/testvibe/", "http://127.0.0.1:8080/testvibe"),
    ],
)
def test_one_server_has_one_name(text: str, server: str) -> None:
    """However a server is written, its name is scheme, host, and port and path where needed."""
    assert server_of(text) == server
    assert server_of(server) == server


NO_PLACE = ["testvibe.example", "//testvibe.example", "ftp://h.example", "https://", "https:///x"]
BAD_PATHS = [
    *("/a//b", "//a", "/a/../b", "/./a", "/..", "/a b", "/a\nb", "/a%20b", "/a;b", "/a%2e%2e"),
    *("/\xfc", "?x=1", "/testvibe?x=1", "/api/v1/ops#x", "/#x", ":99999", ":-1", ":https"),
]
BAD_HOSTS = [
    *("user@h.example/x", "user@h.example", "@h.example", ":@h.example", "[::1", "a..b", ","),
    *("a b.example", "a\tb.example", "h.example\\@evil.example", "h.example%2f.evil.example"),
    *("a<b>.example", "a" * 64 + ".example"),
]


@pytest.mark.parametrize(
    ("text", "lack"),
    [
        *((text, "server") for text in (*NO_PLACE, "https:testvibe.example")),
        *((f"https://testvibe.example{path}", "server") for path in BAD_PATHS),
        *((f"https://{host}", "server") for host in BAD_HOSTS),
        pytest.param("https://testvibe.example/a\x00", "server", id="NUL in the path"),
        pytest.param("https://testvibe\x00.example", "server", id="NUL"),
        ("ftp://testvibe.example", "does not begin with https:// or http://"),
        ("testvibe.example", "does not begin with https:// or http://"),
        ("https://", "lacks the host"),
        ("https://h.example?x=1", "without user, query and fragment; this one, at h.example, has"),
        ("https://h.example/a b", "a path of letters, digits, .*; this one, at h.example, has"),
        ("https://user:hunter2@testvibe.example/x", "without user"),
        ("https://testvibe.example/?token=hunter2", "query"),
        ("https://testvibe.example/hunter2/../x", "path"),
        (f"https://testvibe.example/{KEY}", "server"),
        (f"https://{KEY}@testvibe.example", "server"),
    ],
)
def test_what_is_no_server_is_refused(text: str, lack: str) -> None:
    """A broken or missing part, or one too many, is named; what it holds is not repeated."""
    with pytest.raises(ConfigError, match=lack) as caught:
        server_of(text)
    assert "hunter2" not in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("name", ["server", "api_key", "project"])
@pytest.mark.parametrize("value", [7, b"https://testvibe.example", ["tvb_secret"]])
def test_what_is_no_text_is_refused(name: str, value: Any) -> None:
    """A value of another type is refused in a sentence that shows nothing of it."""
    given: dict[str, Any] = {"server": HOME, "api_key": KEY, name: value}

    with pytest.raises(ConfigError, match=f"{name} must be a text, not of the type") as caught:
        Client(given.pop("server"), **given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        *("testvibe.example", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("10.0.0.1", "192.168.0.1", "[2001:db8::1]"),
    ],
)
def test_the_key_does_not_travel_in_the_clear(host: str) -> None:
    """http:// to another machine is refused, and allowed only when asked for."""
    text = f"http://{host}"
    with pytest.raises(ConfigError, match="in the clear"):
        server_of(text)
    assert Client(text, api_key=KEY, allow_http=True).server == text


def test_each_source_comes_before_the_next(user_file: Path) -> None:
    """An argument beats a variable, a variable the repository, the repository the user's file.

    The settings that are known are shown even where others are missing.
    """
    place = state(user_file, 'project = "7f3c"')

    def found(*server: str, **given: Any) -> list[Setting | None]:
        each = find_settings(*server, **{"environment": {}, **given})
        return [each.server, each.api_key, each.project]

    project = Setting("7f3c", str(place))
    assert found() == [None, None, project]
    store(user_file, HOME, AWAY, default=HOME)
    ours = Setting(KEY, str(user_file))
    assert found() == [Setting(HOME, str(user_file)), ours, project]
    assert load_settings(environment={}) == Settings(server=HOME, api_key=KEY, project="7f3c")
    state(user_file, f'server = "{AWAY}"\nproject = "7f3c"')
    assert found() == [Setting(AWAY, str(place)), ours, project]
    variables = {"SERVER": "https://variable.example", "API_KEY": OTHER, "PROJECT": "p"}
    environment = {f"TESTVIBE_{name}": value for name, value in variables.items()}
    sources = [Setting(value, f"TESTVIBE_{name}") for name, value in variables.items()]
    assert found(environment=environment) == sources
    passed = ["https://argument.example", KEY, "passed"]
    assert found(passed[0], api_key=KEY, project="passed", environment=environment) == [
        Setting(value, "argument") for value in passed
    ]


def test_a_key_is_used_for_the_server_it_was_stored_for(user_file: Path) -> None:
    """The key of one server is not sent to another, nor below another path of its host."""
    store(user_file, HOME, f"{HOME}/one/api/v1/ops", default=HOME)
    assert load_settings(f"{HOME}/one/", environment={}).server == f"{HOME}/one"
    for other in (AWAY, f"{HOME}/two", f"{HOME}/one/two"):
        for arguments, environment in (((other,), {}), ((), {"TESTVIBE_SERVER": other})):
            assert find_settings(*arguments, environment=environment).api_key is None
            with pytest.raises(ConfigError, match=f"no API key for {other}"):
                load_settings(*arguments, environment=environment)


@pytest.mark.parametrize("given", [{}, {"api_key": OTHER}, {"api_key": KEY, "project": "p"}])
@pytest.mark.parametrize("environment", [{}, {"TESTVIBE_API_KEY": OTHER}])
def test_a_key_stays_at_home(
    user_file: Path, given: dict[str, Any], environment: dict[str, str]
) -> None:
    """A server that only a cloned repository names gets no key at all, wherever the key is from."""
    store(user_file, HOME, default=HOME)
    for server in (AWAY, f"{HOME}/elsewhere"):
        place = state(user_file, f'server = "{server}"\nproject = "p"')
        with pytest.raises(ConfigError, match="a repository can't decide where") as caught:
            load_settings(environment=environment, **given)
        assert str(caught.value).startswith(f"{place}: you have not named the server {server}")
    user_file.unlink()
    with pytest.raises(ConfigError, match="a repository can't decide where"):
        load_settings(environment=environment, **given)


def test_a_project_belongs_to_its_server(user_file: Path) -> None:
    """Project and routes of a repository that names another server are not taken for this one's."""
    place = state(user_file, f'server = "{AWAY}"\nproject = "p"')
    assert load_settings(HOME, api_key=KEY, environment={}).project is None
    assert load_settings(f"{AWAY}:443", api_key=KEY, environment={}).project == "p"
    place.write_text('project = "p"')
    assert load_settings(HOME, api_key=KEY, environment={}).project == "p"
    place.write_text(f'server = "{HOME}"')
    assert load_settings(HOME, api_key=KEY, environment={}).project is None
    place.write_text(f'server = "{AWAY}"\n[endpoints]\nlist_runs = "{HISTORY}"\n')
    assert [routes_of(server) for server in (HOME, f"{AWAY}/")] == [{}, {"list_runs": HISTORY}]


def routes_of(server: str = HOME, **options: Any) -> dict[str, str]:
    """Return the routes that a client of a server takes, as they would be written."""
    settings = load_settings(server, api_key=KEY, project="p", environment={}, **options)
    return {name: f"{route.method} {route.path}" for name, route in settings.endpoints.items()}


HISTORY = "GET /projects/{project}/history"
STOP = "POST /projects/{project}/features/{feature}/stop"


@pytest.mark.parametrize(
    ("name", "route", "fault"),
    [
        ("list_run", HISTORY, "'list_run' is not an operation whose route is assumed"),
        ("list_runs", "GET /history", "'list_runs' needs a method and a path with {project}"),
        ("list_runs", f"POST {HISTORY[4:]}", "'list_runs' reads, so its method must be GET"),
        ("cancel_generation", f"GET {STOP[5:]}", "'cancel_generation' acts, so it must not be GET"),
    ],
)
@pytest.mark.parametrize("is_users", [False, True])
def test_an_impossible_route_is_named_with_its_file(
    user_file: Path, name: str, route: str, fault: str, *, is_users: bool
) -> None:
    """A route that an operation can't have is a sentence with the file and the operation."""
    text = f'[endpoints]\n{name} = "{route}"\n'
    place = user_file if is_users else state(user_file, text)
    place.write_text(text)
    with pytest.raises(ConfigError) as caught:
        routes_of()
    assert str(caught.value).startswith(f"{place}: endpoints: {fault}")


def test_a_repository_cant_change_what_an_operation_does(user_file: Path) -> None:
    """A repository's route of what changes something is refused unless the user gives it too."""
    text = f'[endpoints]\ncancel_generation = "{STOP}"\n'
    place = state(user_file, text)
    for own in ("", '[endpoints]\ncancel_generation = "POST /x/{project}/{feature}"\n'):
        user_file.write_text(own)
        with pytest.raises(ConfigError, match="a repository can't decide") as caught:
            routes_of()
        assert str(caught.value).startswith(f"{place}: endpoints: 'cancel_generation' changes")
        assert routes_of(endpoints={"cancel_generation": STOP}) == {"cancel_generation": STOP}
    user_file.write_text(text)
    assert routes_of() == {"cancel_generation": STOP}


def test_a_key_that_others_can_read_is_refused(user_file: Path) -> None:
    """A key in a file that others can read is not used, and the reason says what to do."""
    store(user_file, HOME, default=HOME, mode=0o644)
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        load_settings(environment={})
    assert str(caught.value).startswith(f"{user_file} can be read by others")
    assert load_settings(api_key=OTHER, environment={}).api_key == OTHER


SET = {"TESTVIBE_SERVER": HOME}


HOW_TO_SET = ", log in with testvibe-async login, or give it in code"


@pytest.mark.parametrize(
    ("environment", "text", "source"),
    [
        *((each, "", f"TESTVIBE_SERVER{HOW_TO_SET}") for each in ({}, {"TESTVIBE_API_KEY": KEY})),
        ({"TESTVIBE_SERVER": "", "TESTVIBE_API_KEY": KEY}, "", "TESTVIBE_SERVER"),
        *((each, "", "TESTVIBE_API_KEY") for each in (SET, SET | {"TESTVIBE_API_KEY": ""})),
        ({"TESTVIBE_SERVER": "nonsense"}, "", "TESTVIBE_SERVER: the server must look"),
        (SET | {"TESTVIBE_API_KEY": "x y"}, "", "TESTVIBE_API_KEY: the API key"),
        ({}, 'server = "nonsense"', "config.toml: the server must look"),
        ({}, f'server = "{HOME}"\n[servers.nonsense]', "no API key"),
        ({}, f'server = "{HOME}"\n[servers.x]\napi_key = "k"', "config.toml: the server must look"),
        ({}, f'server = "{HOME}"\n[servers."{HOME}"]\napi_key = "k k"', "config.toml: the API key"),
    ],
)
def test_errors_name_the_source(
    user_file: Path, environment: dict[str, str], text: str, source: str
) -> None:
    """What is missing, or has the wrong form, is named with the variable or the file."""
    user_file.write_text(text)
    user_file.chmod(0o600)
    with pytest.raises(ConfigError, match=source):
        load_settings(environment=environment)


@pytest.mark.parametrize(("stored", "default"), [((HOME, AWAY), HOME), ((HOME,), AWAY), ((), AWAY)])
def test_a_repositorys_own_servers(user_file: Path, stored: tuple[str, ...], default: str) -> None:
    """A server that the user has a key for, or made the default, may be a repository's too."""
    store(user_file, *stored, default=default)
    state(user_file, f'server = "{AWAY}"')
    settings = load_settings(api_key=OTHER, environment={})
    assert (settings.server, settings.api_key) == (AWAY, OTHER)


def test_a_key_in_a_route_is_not_shown(user_file: Path) -> None:
    """A key that was put where a route belongs is not repeated by the error."""
    user_file.write_text(f'[endpoints]\nlist_runs = "{KEY}"\n')
    with pytest.raises(ConfigError, match="tvb_Ab3A…") as caught:
        routes_of()
    assert KEY[10:] not in f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (KEY, "tvb_Ab3A…"),
        (f"Bearer {KEY}\nand {OTHER}!", "Bearer tvb_Ab3A…\nand tvb_yyyy…!"),
        (f"{KEY}trailing", "tvb_Ab3A…"),
        ("tvb_… and tvb_short", "tvb_… and tvb_short"),
    ],
)
def test_of_a_key_only_the_beginning_is_shown(text: str, shown: str) -> None:
    """Each key in a text is cut down; what is none stays."""
    assert masked(text) == shown
