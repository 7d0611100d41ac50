"""Imports go downwards: what a module may know is what lies below it (`docs/architecture.md`, Rooms)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HUB = Path(__file__).parents[2] / "hub"
FLOORS = (
    ("a producer's side, which knows nothing of the hub", "client"),
    ("words", "errors model frames keys settings"),
    (
        "rules",
        "codec auth actions bodies lists profiles protocol sending notification templates notiflows pages running",
    ),
    (
        "store",
        "scripts redis engine idempotency indexes rates announcements store feeds users logs runs bus rollcall "
        "embedded projects findings",
    ),
    ("people", "identity registry wheel fanout"),
    ("a session", "session"),
    ("who asks over HTTP", "api.callers"),
    ("what HTTP doors share", "api.middleware api.requests api.dialects"),
    ("the way in", "api.doors"),
    ("doors", "ws health api.*"),
    ("the parts wired", "app"),
    ("how it is run", "server opening"),
    ("what a command checks", "doctor"),
    ("what commands share", "commands.base commands.development"),
    ("commands", "commands.*"),
    ("the command line", "cli"),
    ("its name", "__main__"),
)
SIDEWAYS = 4
"""On the lowest floors modules may know each other; from here up they may not."""


def floor(module: str) -> int:
    for number, (_, modules) in enumerate(FLOORS):
        if module in modules.split():
            return number
    for package in ("api", "commands"):
        if module.startswith(f"{package}."):
            return floor(f"{package}.*")
    raise AssertionError(f"hub/{module.replace('.', '/')}.py stands on no floor: put it on one in FLOORS")


def modules() -> list[str]:
    files = [path.relative_to(HUB).with_suffix("") for path in HUB.rglob("*.py") if path.name != "__init__.py"]
    return sorted(".".join(path.parts) for path in files)


def imported(module: str) -> Iterator[str]:
    """Modules of the hub that a module imports, wherever in it."""
    source = (HUB / module.replace(".", "/")).with_suffix(".py").read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide the floor"
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name.removeprefix("hub.") for name in names if name.removeprefix("hub.") in modules())


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    here = floor(module)
    highest = here if here < SIDEWAYS else here - 1
    upwards = {other for other in imported(module) if floor(other) > highest}
    assert not upwards, f"hub.{module} ({FLOORS[here][0]}) imports {upwards}"
