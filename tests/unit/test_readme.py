"""What the README tells a reader to type exists and is understood."""

import re
import shlex
from pathlib import Path

import click
import pytest

from hub.cli import bellhub

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[str]:
    """Every `bellhub …` line of the shell blocks of a page, without comments and redirections."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [
        line.split(" #")[0].split(" >")[0].strip().removesuffix("&").strip() for b in blocks for line in b.split("\n")
    ]
    return [line for line in lines if line.startswith("bellhub ")]


def test_the_readme_has_commands() -> None:
    assert len(commands(ROOT / "README.md")) >= 4


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in commands(page)}))
def test_every_command_on_a_page_is_one_that_the_command_line_understands(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = bellhub
    path: list[str] = []
    while isinstance(command, click.Group):
        path.append(words.pop(0))
        found = command.get_command(click.Context(command), path[-1])
        assert found is not None, f"no such command: {' '.join(path)}"
        command = found
    command.make_context(path[-1], words)  # raises UsageError for unknown options and missing arguments


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)", page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("target", ["run", "test"])
def test_the_makefile_has_what_the_readme_names(target: str) -> None:
    assert f"make {target}" in (ROOT / "README.md").read_text()
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
