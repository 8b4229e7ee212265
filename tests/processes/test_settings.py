"""What reading settings brings, in a new Python."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.rooms.config.test_settings import HOME, KEY


def test_importing_reads_no_file_and_loads_no_toml() -> None:
    """The package's import loads neither tomllib nor platformdirs, nor does a complete Client."""
    script = (
        "import sys; from testvibe_async import Client; "
        f"Client('{HOME}', api_key='{KEY}', project='p', endpoints={{}}); "
        "print({'tomllib', 'platformdirs'} & set(sys.modules))"
    )
    unmeasured = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    loaded = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=unmeasured
    )
    assert loaded.stdout == "set()\n"
