"""The pytest plugin: a test that uses the fixtures, and one whose session has features as tests."""

import subprocess
import sys
from pathlib import Path

TEST = """
import os, subprocess, sys

async def check(client):
    return await (await client.project().run_feature("Newsletter"))

def test_a_client(testvibe_client):
    import asyncio
    assert asyncio.run(check(testvibe_client)).is_finished

def test_features(testvibe_session_emulator):
    emulator = testvibe_session_emulator
    env = os.environ | {
        "TESTVIBE_SERVER": emulator.url,
        "TESTVIBE_API_KEY": emulator.api_key,
        "TESTVIBE_PROJECT": emulator.project_id,
    }
    command = [sys.executable, "-m", "pytest", "-q", "--testvibe", "--testvibe-select=*list*"]
    command += ["--testvibe-poll-interval=0.1", "none"]
    assert subprocess.run(command, env=env).returncode == 0
    assert len(emulator.runs) == 1
"""
Path("test_own.py").write_text(TEST, encoding="utf-8")
Path("none").mkdir()
command = [sys.executable, "-m", "pytest", "-q", "test_own.py"]
ended = subprocess.run(command, capture_output=True, text=True, check=False)
assert ended.returncode == 0, ended.stdout + ended.stderr
print(ended.stdout.strip().splitlines()[-1])
