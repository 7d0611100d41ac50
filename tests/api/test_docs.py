"""The documents that the hub serves: `/docs`, its pages, `/openapi.json`."""

import ast
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from starlette.requests import Request

from hub.api.dialects import Dialect, feed_dialect, messaging_dialect
from hub.api.requests import bad_param
from hub.errors import Code, Refused
from hub.pages import operations
from tests.harness import RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT: dict[str, Any] = yaml.safe_load((DOCS / "openapi.yaml").read_text())
PAGES = ["/docs", *(f"/docs/{path.stem}" for path in sorted(DOCS.glob("*.md")))]


class Page(HTMLParser):
    """What a page holds: its anchors, what it loads, where it leads, and anything a strict policy would block."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.blocked: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.anchors += [named["id"] or ""] if "id" in named else []
        self.links += [named["href"] or ""] if tag == "a" and "href" in named else []
        self.loads += [named[name] or "" for name in ("src", "href") if name in named and tag != "a"]
        self.blocked += [name for name in named if name == "style" or name.startswith("on")]
        self.blocked += [tag] if tag in ("style", "script") else []


async def fetch(hub: RunningHub, path: str) -> Page:
    async with hub.http() as http:
        answer = await http.get(path)
    assert answer.status_code == 200, path
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == "default-src 'self'; frame-ancestors 'none'"
    return Page(answer.text)


async def test_the_document_is_served_as_it_is(shared_hub: RunningHub) -> None:
    async with shared_hub.http() as http:
        answer = await http.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == DOCUMENT


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_needs_nothing_that_a_strict_policy_forbids(shared_hub: RunningHub, path: str) -> None:
    page = await fetch(shared_hub, path)
    assert page.blocked == []
    up = "../" * (path.count("/") - 1)
    assert f"{up}static/docs.css" in page.loads
    async with shared_hub.http() as http:
        for load in page.loads:
            assert (await http.get(f"{path.rpartition('/')[0]}/{load}")).status_code == 200, load


@pytest.mark.parametrize("path", PAGES)
async def test_every_link_of_a_page_leads_somewhere(shared_hub: RunningHub, path: str) -> None:
    page = await fetch(shared_hub, path)
    assert page.links
    for link in page.links:
        where, _, anchor = link.partition("#")
        if "://" in where:
            continue
        there = page
        if where:
            async with shared_hub.http() as http:
                answer = await http.get(f"{path.rpartition('/')[0]}/{where}")
            assert answer.status_code == 200, link
            there = Page(answer.text)
        assert not anchor or anchor in there.anchors, link


async def test_the_reference_shows_every_operation_and_every_schema(shared_hub: RunningHub) -> None:
    page = await fetch(shared_hub, "/docs")
    names = [operation["operationId"] for _, _, operation in operations(DOCUMENT)]
    assert len(set(page.anchors)) == len(page.anchors)
    assert {name.lower() for name in [*names, *DOCUMENT["components"]["schemas"]]} <= set(page.anchors)


async def test_the_style_has_a_light_and_a_dark_side(shared_hub: RunningHub) -> None:
    async with shared_hub.http() as http:
        style = (await http.get("/static/docs.css")).text
    assert "prefers-color-scheme: dark" in style


async def test_a_page_that_does_not_exist_is_404(shared_hub: RunningHub) -> None:
    async with shared_hub.http() as http:
        for name in ("nothing", "..%2Fpyproject.toml", "api.md"):
            assert (await http.get(f"/docs/{name}")).status_code == 404, name


# ---- errors ----------------------------------------------------------------------------------------------


def emitted(dialect: Dialect, link: str) -> set[str]:
    """The anchors of every error that a dialect can tell."""
    state = SimpleNamespace(request_id="r", root="")
    request = cast("Request", SimpleNamespace(state=state, scope={"path": "/x/y"}, method="GET"))
    refusals = [Refused(code, "") for code in Code]
    refusals += [bad_param("x", ""), Refused(Code.INVALID_REQUEST, "", fields=[{"field": "x"}])]
    refusals += [Refused(Code.INVALID_REQUEST, "", reason="method_not_allowed")]
    found = set()
    for refused in refusals:
        error = yaml.safe_load(bytes(dialect(request, refused).body))["error"]
        assert error[link].startswith("https://docs.example/errors#")
        found.add(error[link].partition("#")[2])
    return found


def sections() -> list[str]:
    return re.findall(r"^## (.+)$", (DOCS / "errors.md").read_text(), re.MULTILINE)


async def test_every_link_of_an_error_leads_to_its_section(shared_hub: RunningHub) -> None:
    anchors = (await fetch(shared_hub, "/docs/errors")).anchors
    base = "https://docs.example"
    both = emitted(feed_dialect(base), "type") | emitted(messaging_dialect(base), "doc_url")
    assert both - set(anchors) == set()
    assert len(both) > 15


async def test_no_section_is_about_an_error_that_there_is_not() -> None:
    base = "https://docs.example"
    both = emitted(feed_dialect(base), "type") | emitted(messaging_dialect(base), "doc_url")
    assert set(sections()) == both
    assert len(sections()) == len(both)


async def test_the_link_of_an_error_opens_the_page_of_this_hub(shared_hub: RunningHub) -> None:
    async with shared_hub.http() as http:
        for path, link in (("/user/v1/preferences", "type"), ("/v1/messaging/notifications/x", "doc_url")):
            error = (await http.request("GET" if link == "type" else "DELETE", path)).json()["error"]
            address, _, anchor = error[link].partition("#")
            assert anchor in Page((await http.get(address)).text).anchors


def refusals() -> list[ast.keyword]:
    """Every detail that the hub's code gives a refusal."""
    sources = [path.read_text() for path in (DOCS.parent / "hub").rglob("*.py")]
    calls = [node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [detail for call in calls if ast.unparse(call.func) == "Refused" for detail in call.keywords if detail.arg]


COMMAND_LINE = {"exists"}
"""Reasons that no HTTP answer has."""


async def test_the_page_on_errors_names_every_detail_and_every_reason_that_the_code_gives() -> None:
    text = (DOCS / "errors.md").read_text()
    details = {detail.arg for detail in refusals()} - {"ids"}
    reasons = {
        str(detail.value.value)
        for detail in refusals()
        if detail.arg == "reason" and isinstance(detail.value, ast.Constant)
    }
    assert len(reasons) > 8
    assert [word for word in details | reasons - COMMAND_LINE if f"`{word}`" not in text] == []


async def test_the_document_knows_every_detail_that_the_code_gives() -> None:
    known = DOCUMENT["components"]["schemas"]["Details"]["properties"].keys()
    assert {detail.arg for detail in refusals()} - known == set()
