"""The pure modules of the browser's side, under `node --test`: fast, without a browser."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TESTS = sorted(str(path) for path in (REPOSITORY / "tests/js").glob("*.test.mjs"))


def test_the_pure_modules_pass_their_own_tests() -> None:
    """Runs `node --test tests/js/*.test.mjs`. In CI a missing node is a failure: nothing would be tested."""
    node = shutil.which("node")
    if node is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs node, which is not installed")
    ran = subprocess.run([node, "--test", *TESTS], capture_output=True, text=True, cwd=REPOSITORY)
    assert ran.returncode == 0, ran.stdout + ran.stderr
