"""`/static/`: what pages of any origin load (docs/operations.md, Browser files)."""

import gzip
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from hub.api import static
from tests.conftest import StartHub
from tests.harness import RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILES = Path(__file__).parents[2] / "static"
NAMES = sorted(path.relative_to(FILES).as_posix() for path in FILES.rglob("*") if path.is_file())
MODULES = [name for name in NAMES if name.endswith(".js")]
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
}
FOR_EVER = "public, max-age=31536000, immutable"
ELSEWHERE = {"origin": "https://shop.example"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(shared_hub: RunningHub) -> AsyncIterator[httpx2.AsyncClient]:
    async with shared_hub.http() as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def version(http: httpx2.AsyncClient) -> str:
    """As it can be read from what is served."""
    found = re.fullmatch(
        r'export \* from "\./([0-9a-f]{16})/client\.js";\n', (await http.get("/static/client.js")).text
    )
    assert found
    return found[1]


@pytest.mark.parametrize("name", NAMES)
async def test_a_versioned_file_is_the_file_itself_and_kept_for_ever(
    http: httpx2.AsyncClient, version: str, name: str
) -> None:
    answer = await http.get(f"/static/{version}/{name}", headers=ELSEWHERE)
    assert answer.status_code == 200
    assert answer.content == (FILES / name).read_bytes()
    assert answer.headers["cache-control"] == FOR_EVER


@pytest.mark.parametrize("name", NAMES)
async def test_a_page_of_any_origin_may_load_it_as_what_it_is(
    http: httpx2.AsyncClient, version: str, name: str
) -> None:
    for path in (f"/static/{name}", f"/static/{version}/{name}"):
        headers = (await http.get(path, headers=ELSEWHERE)).headers
        assert headers["content-type"] == TYPES[Path(name).suffix]
        assert headers["access-control-allow-origin"] == "*"
        assert headers["cross-origin-resource-policy"] == "cross-origin"
        assert headers["x-content-type-options"] == "nosniff"


async def test_a_module_without_a_version_leads_to_the_one_with_it(http: httpx2.AsyncClient, version: str) -> None:
    for name in MODULES:
        answer = await http.get(f"/static/{name}")
        assert answer.text == f'export * from "{"../" * name.count("/") or "./"}{version}/{name}";\n'
        assert answer.headers["cache-control"] == "public, max-age=60"


async def test_no_module_has_a_default_export_which_would_not_come_through() -> None:
    assert [
        name for name in MODULES if re.search(r"^export default|as default\b", (FILES / name).read_text(), re.M)
    ] == []


async def test_what_a_browser_has_is_not_sent_again(http: httpx2.AsyncClient, version: str) -> None:
    for path in ("/static/client.js", "/static/docs.css", f"/static/{version}/client.js"):
        first = await http.get(path)
        tag = first.headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = await http.get(path, headers={"if-none-match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
            assert again.headers["cache-control"] == first.headers["cache-control"]
            assert again.headers["access-control-allow-origin"] == "*"
        assert (await http.get(path, headers={"if-none-match": '"other"'})).status_code == 200


async def test_it_is_sent_packed_to_those_who_take_that(http: httpx2.AsyncClient, version: str) -> None:
    path, plain = f"/static/{version}/client.js", (FILES / "client.js").read_bytes()
    tags = set()
    for offered, packed in {
        "gzip, deflate, br": True,
        "br;q=1.0, GZIP;q=0.5": True,
        "gzip;q=0": False,
        "gzip; q=0.0": False,
        "br": False,
        "": False,
    }.items():
        async with http.stream("GET", path, headers={"accept-encoding": offered}) as answer:
            sent = b"".join([part async for part in answer.aiter_raw()])
        assert answer.headers["vary"] == "accept-encoding"
        assert answer.headers.get("content-encoding") == ("gzip" if packed else None), offered
        assert (gzip.decompress(sent) if packed else sent) == plain
        assert int(answer.headers["content-length"]) == len(sent)
        tags.add(answer.headers["etag"])
    assert len(tags) == 2  # a cache must not take one for the other


async def test_only_files_of_static_are_there_and_they_can_only_be_read(http: httpx2.AsyncClient, version: str) -> None:
    for path in (
        "",
        "nothing.js",
        "..%2Fpyproject.toml",
        f"{version}/",
        f"{version}/{version}/client.js",
    ):
        answer = await http.get(f"/static/{path}", headers=ELSEWHERE)
        assert answer.status_code == 404, path
        assert answer.headers["access-control-allow-origin"] == "*"  # or a page would be told of a CORS fault
    for method in ("POST", "PUT", "DELETE"):
        assert (await http.request(method, "/static/client.js")).status_code == 405
    head = await http.head(f"/static/{version}/client.js")
    assert (head.status_code, head.content) == (200, b"")


async def test_another_versions_address_goes_on_working_and_is_not_kept(http: httpx2.AsyncClient) -> None:
    """A page may name it, or have come from another hub in the middle of an update."""
    answer = await http.get("/static/0123456789abcdef/client.js")
    assert answer.content == (FILES / "client.js").read_bytes()
    assert answer.headers["cache-control"] == "no-cache"


async def test_the_version_is_one_of_all_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.js").write_text("1")
    (tmp_path / "deep/b.css").write_text("2")
    first = static.version(static.read(tmp_path))
    assert static.version(static.read(tmp_path)) == first
    (tmp_path / "deep/b.css").write_text("3")
    second = static.version(static.read(tmp_path))
    (tmp_path / "deep/b.css").rename(tmp_path / "deep/c.css")
    assert len({first, second, static.version(static.read(tmp_path))}) == 3


async def test_a_hub_that_was_built_with_other_files_has_another_version(tmp_path: Path) -> None:
    (tmp_path / "client.js").write_text("export const n = 1;")
    app = Starlette(routes=static.Static(tmp_path).routes())
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://hub") as http:
        (tmp_path / "client.js").write_text("export const n = 2;")
        door = (await http.get("/static/client.js")).text
        version = door.split("/")[1]
        answer = await http.get(f"/static/{version}/client.js")
        assert answer.text == "export const n = 1;"  # of when it was started: what is kept for ever never changes
        assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()[:16]}-gzip"'


async def test_in_development_a_changed_file_is_there_at_once(tmp_path: Path) -> None:
    (tmp_path / "client.js").write_text("export const n = 1;")
    app = Starlette(routes=static.Static(tmp_path, changing=True).routes())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://hub") as http:
        for content in ("export const n = 1;", "export const n = 2;"):
            (tmp_path / "client.js").write_text(content)
            for path in ("/static/client.js", "/static/0123456789abcdef/client.js"):
                answer = await http.get(path)
                assert answer.text == content
                assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.asyncio(loop_scope="function")
async def test_in_development_only_pages_of_this_machine_may_load_it(start_hub: StartHub) -> None:
    hub = await start_hub(development=True)
    async with hub.http() as http:
        local = await http.get("/static/client.js", headers={"origin": "http://localhost:3000"})
        assert local.status_code == 200
        assert local.content == (FILES / "client.js").read_bytes()
        assert local.headers["access-control-allow-origin"] == "*"
        assert (await http.get("/static/client.js", headers=ELSEWHERE)).status_code == 403
