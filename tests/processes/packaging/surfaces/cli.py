"""The command line: the demonstration, which serves an emulator, and the history."""

import subprocess
import sys
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("testvibe-async"))

for arguments in (["demo"], ["history"]):
    ended = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended
    assert arguments == ["history"] or "16 in " in ended.stdout, ended
print("demo, history")
