"""Settings keep the key to themselves."""

import re

from tests.promises.test_secrets import KEY, shows
from testvibe_async._config.settings import load_settings


def test_settings_show_no_key() -> None:
    """Settings hold the key, and do not show it."""
    settings = load_settings("https://testvibe.example", api_key=KEY)
    assert settings.api_key == KEY
    assert not shows(f"{settings} {settings!r}")
    assert re.search("testvibe.example", repr(settings))
