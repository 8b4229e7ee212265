"""The pytest plugin: features as tests beside one that uses the fixtures."""

import os
import subprocess
import sys
from pathlib import Path

TEST = """
def test_it(testvibe_session_emulator):
    assert testvibe_session_emulator.url

async def check(client):
    return await (await client.project().run_feature("Newsletter"))

def test_a_client(testvibe_client):
    import asyncio
    assert asyncio.run(check(testvibe_client)).is_finished
"""
SESSION = """
import asyncio, os, subprocess, sys
from testvibe_async.testing import Emulator, Scenario

async def main():
    async with Emulator(speed=100.0, scenario=Scenario(failing_runs=0)) as service:
        env = os.environ | {
            "TESTVIBE_SERVER": service.url,
            "TESTVIBE_API_KEY": service.api_key,
            "TESTVIBE_PROJECT": service.project_id,
        }
        command = [sys.executable, "-m", "pytest", "-q", "--testvibe", "--testvibe-select=*list*"]
        command += ["--testvibe-poll-interval=0.1", "none"]
        process = await asyncio.create_subprocess_exec(*command, env=env)
        sys.exit(await process.wait())

asyncio.run(main())
"""
Path("test_own.py").write_text(TEST, encoding="utf-8")
Path("none").mkdir()
for arguments in (["-m", "pytest", "-q", "test_own.py"], ["-c", SESSION]):
    command = [sys.executable, *arguments]
    ended = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    last = ended.stdout.strip().splitlines()[-1]
    print(last, end="; ")
