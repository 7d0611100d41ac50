"""What the browser's side may weigh, and that its types hold."""

import gzip
import json
from pathlib import Path

import pytest

from tests.browser.tools import REPOSITORY, STATIC, bundled, run

LIMITS = {"client.js": 7 * 1024, "bell.js": 18 * 1024}
"""Bytes of a module and all that it imports, minified and packed."""
PACKAGES = REPOSITORY / "tests" / "js"


@pytest.mark.parametrize("name", LIMITS)
def test_it_stays_small(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    weighs, limit = len(gzip.compress(bundled(STATIC / name), 9)), LIMITS[name]
    with capsys.disabled():
        print(f"\nstatic/{name} and what it imports: {weighs:,} bytes minified and packed, at most {limit:,}")
    assert weighs <= limit


def test_packages_of_the_tests_are_pinned_shipped_to_nobody_and_named_without_a_registry() -> None:
    named = json.loads((PACKAGES / "package.json").read_text())
    assert named["private"] is True
    assert "dependencies" not in named
    assert all(version[0].isdigit() for version in named["devDependencies"].values())
    lock = json.loads((PACKAGES / "package-lock.json").read_text())
    assert lock["packages"][""]["devDependencies"] == named["devDependencies"]
    assert [path for path, package in lock["packages"].items() if "resolved" in package] == []


def test_the_types_of_every_module_hold() -> None:
    checked = run("tsc", "-p", PACKAGES, "--noEmit")
    assert checked.returncode == 0, checked.stdout.decode()


def test_the_declarations_in_static_types_are_those_of_the_modules(tmp_path: Path) -> None:
    """After a change: `make types`."""
    emitted = run("tsc", "-p", PACKAGES, "--declaration", "--emitDeclarationOnly", "--outDir", tmp_path)
    assert emitted.returncode == 0, emitted.stdout.decode()
    fresh = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {path.name: path.read_text() for path in (STATIC / "types").iterdir()} == fresh


USE = """
import { BellhubClient, shared } from "https://bell.example.com/static/client.js";
import { NotificationBell } from "https://bell.example.com/static/bell.js";
const client: BellhubClient = shared({ apiKey: "pk_dev", channel: "inbox", user: "ann" });
const unread: number = client.getSnapshot().counts.unread;
const titles: string[] = client.getSnapshot().entries.map((entry) => entry.data.title);
const leave: () => void = client.subscribe(() => console.log(unread, titles));
client.mark("read", ["a"], { signal: AbortSignal.timeout(1) }).then(leave);
document.querySelector<NotificationBell>("notification-bell")!.client = client;
"""


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("", ""),
        ('client.mark("reed", ["a"]);', "TS2345"),
        ("client.getSnapshot().counts.unred;", "TS2551"),
        ('new BellhubClient({ channel: "inbox" });', "TS2741"),
    ],
)
def test_a_page_in_typescript_is_checked_against_the_declarations(tmp_path: Path, code: str, fault: str) -> None:
    """As docs/bell.md says: `paths` leads from the hub's address to them."""
    (tmp_path / "page.ts").write_text(USE + code)
    paths = {"https://bell.example.com/static/*.js": [f"{STATIC}/types/*.d.ts"]}
    options = {"strict": True, "noEmit": True, "module": "esnext", "target": "es2023", "types": [], "paths": paths}
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["page.ts"]}))
    said = run("tsc", "-p", tmp_path).stdout.decode()
    assert (fault in said) if fault else (said == ""), said
