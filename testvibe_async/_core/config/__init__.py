"""Configuration: the service's address, the API key, and the required form of arguments."""

from testvibe_async._core.config.files import (
    REPOSITORY_FILE,
    find_repository,
    read_repository_file,
    read_user_file,
    user_file_path,
)
from testvibe_async._core.config.settings import (
    FoundSettings,
    Setting,
    Settings,
    find_settings,
    load_settings,
)
from testvibe_async._core.config.validate import (
    is_documented_key,
    is_loopback,
    masked,
    require_age,
    require_api_key,
    require_choice,
    require_count,
    require_encrypted,
    require_kind,
    require_rate,
    require_seconds,
    require_timeout,
    server_name,
)

__all__ = [
    "REPOSITORY_FILE",
    "FoundSettings",
    "Setting",
    "Settings",
    "find_repository",
    "find_settings",
    "is_documented_key",
    "is_loopback",
    "load_settings",
    "masked",
    "read_repository_file",
    "read_user_file",
    "require_age",
    "require_api_key",
    "require_choice",
    "require_count",
    "require_encrypted",
    "require_kind",
    "require_rate",
    "require_seconds",
    "require_timeout",
    "server_name",
    "user_file_path",
]
