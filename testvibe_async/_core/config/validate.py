"""The required form of a server, a key and a number.

Decides the form alone, never where a value came from. It does no I/O, and no error shows a possible
secret.
"""

from __future__ import annotations

import logging
import re
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, TypeVar
from urllib.parse import urlsplit

from testvibe_async._core.util import API_PATH
from testvibe_async.errors import ConfigError

T = TypeVar("T")

_logger = logging.getLogger("testvibe_async")

_SITE = r"https?://[^\s/]+(/\S*)?"

_warned_of: set[int] = set()
"""The hashes of keys that the log has warned about."""


def masked(text: str) -> str:
    """Return a text in which each API key is reduced to its beginning, such as `tvb_9hK2…`."""
    return re.sub(r"(tvb_[0-9A-Za-z]{4})[0-9A-Za-z]{4,}", r"\1…", text)


def require_api_key(api_key: str, prefix: str = "") -> str:
    """Return a key without surrounding white space, if it can be sent as one.

    Args:
        api_key: The key. A key that does not look like TestVibe's is accepted, with one warning in
            the log for each key of a process: the service decides what a key is.
        prefix: The beginning of the error or the warning.

    Raises:
        ConfigError: The key is empty, or has characters that no header may contain. The error shows
            no part of it.
    """
    api_key = api_key.strip()
    if not re.fullmatch(r"[!-~]+", api_key):
        raise ConfigError(f"{prefix}the API key {_fault_of(api_key)}")
    if not is_documented_key(api_key) and hash(api_key) not in _warned_of:
        _warned_of.add(hash(api_key))
        _logger.warning(
            "%sthe API key does not look like one of TestVibe's (tvb_ and 43 letters or digits; "
            "this one has %d characters); it is used as it is",
            prefix,
            len(api_key),
        )
    return api_key


def is_documented_key(api_key: str) -> bool:
    """Return whether a key has the documented form."""
    return re.fullmatch(r"tvb_[0-9A-Za-z]{43}", api_key) is not None


def _fault_of(api_key: str) -> str:
    """Describe why a text can't be a key, without any part of it."""
    if not api_key:
        return "is empty"
    if "\n" in api_key or "\r" in api_key:
        return "holds a line break: it must be one line, the key alone"
    if re.search(r"\s", api_key):
        return "holds white space: it must be the key alone, without a word such as Bearer"
    return "holds a character that is not printable ASCII, so it can't be sent"


def require_encrypted(server: str, *, allow_http: bool) -> None:
    """Check that the key is not sent unencrypted.

    Args:
        server: The result of `server_name`.
        allow_http: True to allow sending it unencrypted.

    Raises:
        ConfigError: It would be sent unencrypted, and that is not allowed.
    """
    parts = urlsplit(server)
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname or ""):
        raise ConfigError(
            f"http:// would send the API key to {parts.hostname} in the clear",
            advice="use https://, or pass allow_http=True (--allow-http)",
        )


def server_name(text: str, prefix: str = "") -> str:
    """Return the canonical name of a server: scheme and host, with any port and path prefix.

    Surrounding white space, slashes at the end and the API's own path `/api/v1/ops` are removed.

    Args:
        text: The server's address, in any spelling.
        prefix: The beginning of the error.

    Raises:
        ConfigError: It is not an address. The error shows nothing beyond the host.
    """
    example = f"{prefix}the server must look like https://testvibe.example"
    try:
        parts = urlsplit(re.sub(r"\s", " ", text.strip()))
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError as error:
        raise ConfigError(f"{example}; this one is no URL: {error}") from error
    if parts.scheme not in {"http", "https"}:
        raise ConfigError(f"{example}; this one does not begin with https:// or http://")
    if not host:
        raise ConfigError(f"{example}; this one lacks the host")
    is_name = re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", host)
    if not is_name and (":" not in host or _address(host) is None):
        raise ConfigError(f"{example}; {host!r} is no host")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"{example}, without user, query and fragment; this one, at {host}, has more"
        )
    name = f"[{host}]" if ":" in host else host
    is_usual = port in {None, {"http": 80, "https": 443}[parts.scheme]}
    path = _path_prefix(parts.path)
    if path is None:
        raise ConfigError(
            f"{example}, or with a path of letters, digits, '-', '.', '_' and '~' such as "
            f"https://testvibe.example/path; this one, at {host}, has another"
        )
    return f"{parts.scheme}://{name}" + ("" if is_usual else f":{port}") + path


def _path_prefix(path: str) -> str | None:
    """Return the path prefix of a server, without the API's own path; None if it is not valid."""
    path = re.sub(rf"(?:{API_PATH}|/)*$", "", path)
    segments = path.split("/")[1:]
    # No escapes and no empty segment: a prefix has one spelling, since it distinguishes servers.
    is_prefix = all(re.fullmatch(r"[\w.~-]+", each, re.ASCII) for each in segments)
    has_dots = not {".", ".."}.isdisjoint(segments)
    return path if is_prefix and not has_dots and masked(path) == path else None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    return host == "localhost" or ((address := _address(host)) is not None and address.is_loopback)


def require_seconds(name: str, value: float) -> float:
    """Return a duration, if it is a finite number of seconds above 0.

    Raises:
        ConfigError: It is not.
    """
    return _above_zero(name, value, "a number of seconds")


def require_age(name: str, value: float) -> float:
    """Return an age, if it is a finite number of seconds, 0 or more.

    Raises:
        ConfigError: It is not.
    """
    if _is_number(value) and value == 0:
        return 0.0
    return _above_zero(name, value, "0, or a number of seconds")


def require_timeout(timeout: float | None) -> float | None:
    """Return a time-out, if it is a number of seconds, 0 or more, or None for no limit.

    Raises:
        ConfigError: It is neither.
    """
    if timeout is not None and not (_is_number(timeout) and timeout >= 0):
        raise ConfigError(f"timeout must be a number of seconds, 0 or more, not {timeout!r}")
    return None if timeout is None else float(timeout)


def require_rate(name: str, value: float) -> float:
    """Return a rate, if it is a finite number of requests a second above 0.

    Raises:
        ConfigError: It is not.
    """
    return _above_zero(name, value, "a number of requests a second")


def require_kind(name: str, value: T, kind: type[Any]) -> T:
    """Return a value, if it is of a class.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(value, kind):
        raise ConfigError(f"{name} must be a {kind.__name__}, not {value!r}")
    return value


def _is_number(value: float) -> bool:
    """Return whether a value is a number that a finite float can represent."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max


def _above_zero(name: str, value: float, what: str) -> float:
    if not _is_number(value) or value <= 0:
        raise ConfigError(f"{name} must be {what} above 0, not {value!r}")
    return float(value)


def require_count(name: str, value: int) -> int:
    """Return a count, if it is a whole number, 1 or more.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{name} must be a whole number from 1, not {value!r}")
    return value


def require_text(name: str, value: str) -> str:
    """Return a text, if it is not blank.

    Raises:
        ConfigError: It is blank, or no text. A text of another type is not shown: it may be a key.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a text, not of the type {type(value).__name__}")
    if not value.strip():
        raise ConfigError(f"{name} is blank: give a value, or leave it out")
    return value


def require_site(value: str | None) -> str | None:
    """Return the address of a site to test, if it is one; None for the project's own.

    Raises:
        ConfigError: It does not begin with http:// or https://, or lacks the host.
    """
    if value is None or (isinstance(value, str) and re.fullmatch(_SITE, value)):
        return value
    raise ConfigError(f"site_url must be an address such as https://shop.example, not {value!r}")


def require_user_agent(value: str) -> str:
    """Return a product name for the User-Agent, if a header may contain it.

    Raises:
        ConfigError: It is blank, or is not one line of printable ASCII.
    """
    if isinstance(value, str) and re.fullmatch(r"[!-~][ -~]*", value):
        return value
    raise ConfigError(f"user_agent must be one line of ASCII such as 'shop-ci/1.2', not {value!r}")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that is not one of the choices.

    Raises:
        ConfigError: The word is not one of the choices.
    """
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")
