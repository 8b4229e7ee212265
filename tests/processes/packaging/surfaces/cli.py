"""The command line: a run with a report against the emulator that it serves."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("testvibe-async"))


def main() -> None:
    """Serve an emulator, and use it."""
    serve = [COMMAND, "emulator", "--port", "0", "--speed", "50"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as (
        service
    ):
        assert service.stdout is not None
        lines = [service.stdout.readline() for _ in range(3)]
        variables = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        try:
            for arguments in (
                ["features"],
                ["run", "Newsletter", "--wait", "--report", "junit.xml"],
                ["history"],
            ):
                ended = subprocess.run(
                    [COMMAND, *arguments],
                    env=os.environ | variables,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert ended.returncode in {0, 1}, ended
                assert not ended.returncode or arguments[0] == "run", ended
        finally:
            service.terminate()
    assert "<testsuite" in Path("junit.xml").read_text(encoding="utf-8")


main()
print("features, run, report, history")
