"""Programs of `tests/js/package.json`, which `make test` installs."""

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
STATIC = REPOSITORY / "static"
PACKAGES = REPOSITORY / "tests" / "js" / "node_modules"


def run(program: str, *arguments: str | Path) -> "subprocess.CompletedProcess[bytes]":
    """Runs one of them. In CI a missing one is a failure: nothing would be tested."""
    path = PACKAGES / ".bin" / program
    if not path.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {program}: make tests/js/node_modules/installed")
    env = os.environ | {"NODE_PATH": str(PACKAGES)}  # a recipe imports React, which is not beside it
    return subprocess.run([path, *arguments], cwd=REPOSITORY, capture_output=True, check=False, env=env)


def bundled(file: Path, *options: str) -> bytes:
    """A module and all that it imports, as a build step of somebody else's makes it."""
    built = run("esbuild", file, "--bundle", "--minify", "--format=esm", "--log-level=warning", *options)
    assert (built.returncode, built.stderr) == (0, b""), built.stderr.decode()
    return built.stdout
