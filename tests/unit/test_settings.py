"""Settings: their page tells the truth, and what is nearer to the command wins."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from pydantic import ValidationError

from hub import settings
from hub.opening import read_settings
from hub.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("BELLHUB_") or name in ("PORT", "REDIS_URL", "XDG_DATA_HOME"):
            monkeypatch.delenv(name)


def test_the_page_is_what_the_command_prints() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "hub.settings"], capture_output=True, check=True, cwd=PAGE.parents[1]
    ).stdout.decode()
    assert PAGE.read_text() == printed, "python -m hub.settings > docs/settings.md"


def test_the_page_has_one_line_for_every_setting_and_each_variable_works(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [line.split(" | ") for line in settings.page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(Settings.model_fields)
    example = {"int": "7", "float": "7.5", "bool": "true"}
    particular = {"log_level": "error", "key_rate": "7/hour", "user_rate": "7/hour", "console_key": "k" * 32}
    for (names, *_), (field, about) in zip(rows, Settings.model_fields.items(), strict=True):
        assert about.description
        for variable in names.strip("| ").replace("`", "").split(", "):
            value = particular.get(field) or example.get(getattr(about.annotation, "__name__", ""), "/x")
            monkeypatch.setenv(variable, value)
            assert str(getattr(Settings(), field)).lower() == value, variable
            monkeypatch.delenv(variable)


def test_the_default_on_the_page_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = [line.split(" | ")[1].strip("`") for line in settings.page().splitlines() if line.startswith("| `")]
    monkeypatch.setenv("HOME", "/home/ann")
    used = ["none" if value is None else str(value) for value in Settings().model_dump().values()]
    assert [text.lower().replace("/home/ann", "~").removesuffix(".0") for text in used] == defaults


def test_options_win_over_variables_and_ours_over_those_that_others_use_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    assert read_settings().port == 1
    monkeypatch.setenv("BELLHUB_PORT", "2")
    assert read_settings(port=None).port == 2
    assert read_settings(port=3).port == 3


def test_somebody_without_a_home_is_told_which_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", Path("~nobody-of-this-name/x").expanduser)
    with pytest.raises(click.UsageError, match="BELLHUB_DATA_DIR"):
        read_settings()
    assert read_settings(data_dir=Path("/x")).data_dir == Path("/x")


def test_the_data_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    assert Settings().data_dir == Path("/x/bellhub")


def test_a_key_that_is_too_short_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELLHUB_CONSOLE_KEY", "hunter2")
    with pytest.raises(click.UsageError, match=r"BELLHUB_CONSOLE_KEY: .* 32 characters") as refused:
        read_settings()
    assert "hunter2" not in refused.value.message
    with pytest.raises(ValidationError) as invalid:
        Settings()
    assert "hunter2" not in str(invalid.value)
    monkeypatch.setenv("BELLHUB_CONSOLE_KEY", "hunter2" * 5)
    assert "hunter2" not in repr(Settings())
