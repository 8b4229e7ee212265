"""`testvibe-async settings`: what is in force here, and where each of it comes from."""

from __future__ import annotations

from testvibe_async._config import Setting, find_settings, masked, user_file_path
from testvibe_async.cli.common import COMMON, Common

__all__ = ["settings"]


def settings(*, common: Common = COMMON) -> None:
    """Show which server, API key and project are in force here, and where each comes from.

    Arguments come first, then TESTVIBE_SERVER, TESTVIBE_API_KEY and TESTVIBE_PROJECT, then the
    file .testvibe-async.toml of the repository, then your own configuration file. Of the key only
    the beginning is shown.

    For example:

        testvibe-async settings
        testvibe-async settings --json
    """
    found = find_settings(common.server, project=common.project)
    shown = {
        "server": _shown(found.server),
        "apiKey": _shown(found.api_key, is_secret=True),
        "project": _shown(found.project),
    }
    output = common.output
    output.document(shown)
    names = ("server", "API key", "project")
    output.table(
        ("Setting", "Value", "From"),
        [
            (name, *(each.values() if each else (None, "not set")))
            for name, each in zip(names, shown.values(), strict=True)
        ],
    )
    if path := user_file_path():
        output.note(f"Your own configuration file is {path}.")


def _shown(setting: Setting | None, *, is_secret: bool = False) -> dict[str, str] | None:
    """Return a setting and its source; of a secret what is safe to show."""
    if setting is None:
        return None
    value = setting.value
    if is_secret:
        # What has another form may be another secret, put there by mistake.
        value = masked(value) if masked(value) != value else "something that is no key"
    return {"value": value, "from": setting.source}
