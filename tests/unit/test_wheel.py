"""What is installed is whole: code, scripts, browser files and the command."""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = directory.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("hub/**/*.py", "hub"),
        ("hub/lua/*.lua", "hub"),
        ("hub/lua/lib/*.lua", "hub"),
        ("static/**/*", "hub/static"),
        ("docs/**/*", "hub/docs"),
    ],
)
def test_the_wheel_holds_every_file_as_it_is(wheel: zipfile.ZipFile, here: str, there: str) -> None:
    files = [path for path in ROOT.glob(here) if path.is_file()]
    assert files
    for path in files:
        name = path.relative_to(ROOT / Path(there).name).as_posix()
        assert wheel.read(f"{there}/{name}") == path.read_bytes()


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == {"hub", "bellhub"}


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    scripts = configparser.ConfigParser()
    scripts.read_string(wheel.read(name).decode())
    assert scripts["console_scripts"]["bellhub"] == "hub.cli:main"
