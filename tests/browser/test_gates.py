"""What holds for the browser's side as a whole."""

import json

from tests.browser.tools import REPOSITORY

PACKAGES = REPOSITORY / "tests" / "js"


def test_packages_of_the_tests_are_pinned_shipped_to_nobody_and_named_without_a_registry() -> None:
    named = json.loads((PACKAGES / "package.json").read_text())
    assert named["private"] is True
    assert "dependencies" not in named
    assert all(version[0].isdigit() for version in named["devDependencies"].values())
    lock = json.loads((PACKAGES / "package-lock.json").read_text())
    assert lock["packages"][""]["devDependencies"] == named["devDependencies"]
    assert [path for path, package in lock["packages"].items() if "resolved" in package] == []
