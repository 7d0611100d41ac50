"""Pages of other origins and the HTTP APIs: what a browser is told (docs/api.md, Browsers)."""

from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio

from hub import auth
from hub.projects import add_origin, add_secret_key, remove_origin
from tests.api.user_api import ENTRIES, NOWHERE, Http, Response, details
from tests.conftest import StartHub
from tests.harness import RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOP, STRANGER, NEIGHBOUR = "https://shop.example", "https://evil.example", "https://neighbour.example"
SEND = "/v1/messaging/notifications"
SENDING = {"category": "a", "target": {"type": "user", "id": "ann"}, "title": "t"}
OPEN = [ENTRIES, f"/api{ENTRIES}", f"{ENTRIES}/{NOWHERE}", SEND]
CLOSED = ["/admin/v1/users/ann/revoke", "/api/admin/v1/users/ann/revoke", "/healthz", "/nowhere"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(shared_hub: RunningHub) -> RunningHub:
    """One project lists `SHOP`, another one `NEIGHBOUR`."""
    await shared_hub.change_project(lambda p: add_origin(p, SHOP))
    await shared_hub.add_project("other")
    await shared_hub.change_project(lambda p: add_origin(p, NEIGHBOUR), "other")
    return shared_hub


@pytest_asyncio.fixture(loop_scope="module")
async def http(hub: RunningHub, ann: str) -> AsyncIterator[Http]:
    async with hub.http() as client:
        client.headers.update(hub.user_headers(ann))
        yield client


async def preflight(http: Http, path: str, origin: str, method: str = "PATCH") -> Response:
    """As a browser sends it: without any of the headers that it asks about."""
    asks = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "content-type,x-notiflows-api-key,x-notiflows-user-key",
    }
    async with httpx2.AsyncClient(base_url=http.base_url, verify=False) as browser:
        return await browser.request("OPTIONS", path, headers=asks)


def cors(answer: Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


READABLE = {
    "access-control-allow-origin": SHOP,
    "access-control-expose-headers": "x-request-id, idempotent-replayed, ratelimit, ratelimit-policy, retry-after",
}


@pytest.mark.parametrize("path", OPEN)
async def test_a_preflight_of_a_listed_origin_is_allowed_for_two_hours(http: Http, path: str) -> None:
    """Notiflows, Allowed origins: "Mechanism described is ordinary CORS"; nothing is left to a wildcard."""
    answer = await preflight(http, path, SHOP)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["vary"] == "origin"
    assert cors(answer) == {
        "access-control-allow-origin": SHOP,
        "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE",
        "access-control-allow-headers": (
            "authorization, content-type, idempotency-key, x-bellhub-user, x-notiflows-api-key, "
            "x-notiflows-user-id, x-notiflows-user-key, x-request-id"
        ),
        "access-control-max-age": "7200",
    }


@pytest.mark.parametrize("path", OPEN)
@pytest.mark.parametrize(
    "origin", [STRANGER, "null", "http://shop.example", f"{SHOP}:444", f"{SHOP}.evil.example", "*"]
)
async def test_a_preflight_of_another_origin_is_refused(http: Http, path: str, origin: str) -> None:
    """Notiflows, Allowed origins: "Origin = scheme + host + port"."""
    answer = await preflight(http, path, origin)
    assert answer.status_code == 403
    assert answer.headers["vary"] == "origin"
    assert cors(answer) == {}


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        (ENTRIES, "GET", 200),
        (f"{ENTRIES}/{NOWHERE}", "GET", 404),
        (f"{ENTRIES}/{NOWHERE}/x", "GET", 404),
        (ENTRIES, "DELETE", 405),
        (ENTRIES, "OPTIONS", 405),
        (SEND, "POST", 401),
    ],
)
async def test_a_page_of_a_listed_origin_can_read_every_answer(http: Http, path: str, method: str, status: int) -> None:
    answer = await http.request(method, path, headers={"origin": SHOP})
    assert answer.status_code == status
    assert cors(answer) == READABLE
    assert ("ratelimit" in answer.headers) == (status == 200 or path.endswith(NOWHERE))  # once it is known who asks
    assert answer.headers["vary"] == "origin"


async def test_a_page_can_do_what_the_user_can(hub: RunningHub, http: Http, ann: str) -> None:
    entry_id = await hub.send(ann)
    headers = {"origin": SHOP, "idempotency-key": "k"}
    for _ in range(2):
        answer = await http.patch(f"{ENTRIES}/{entry_id}", json={"read": True}, headers=headers)
        assert (answer.status_code, answer.json()["status"]) == (200, "read")
    assert answer.headers["idempotent-replayed"] == "true"
    assert cors(answer) == READABLE


async def test_what_is_no_browser_is_not_asked_for_its_origin(hub: RunningHub, http: Http) -> None:
    """Notiflows, Allowed origins: "A request without an Origin header (server, curl) is not affected"."""
    for answer in (
        await http.get(ENTRIES),
        await http.post(SEND, json=SENDING, headers=hub.producer),
    ):
        assert answer.status_code in (200, 202)
        assert cors(answer) == {}
        assert answer.headers["vary"] == "origin"  # a cache must not give this answer to a browser


async def test_the_origin_of_another_project_is_told_403(http: Http) -> None:
    """docs/api.md: "of another project is 403": its pre-flight request cannot be told apart."""
    assert (await preflight(http, ENTRIES, NEIGHBOUR)).status_code == 204
    answer = await http.get(ENTRIES, headers={"origin": NEIGHBOUR})
    assert details(answer, 403, "forbidden") == {"reason": "origin"}
    assert cors(answer)["access-control-allow-origin"] == NEIGHBOUR


@pytest.mark.parametrize("origin", [STRANGER, NEIGHBOUR])
async def test_a_page_with_a_secret_key_is_asked_too(hub: RunningHub, http: Http, origin: str) -> None:
    """docs/api.md: "Secret keys do not belong into pages"."""
    refused = await http.post(SEND, json=SENDING, headers=hub.producer | {"origin": origin})
    assert (refused.status_code, refused.json()["error"]["details"]) == (403, {"reason": "origin"})
    allowed = await http.post(SEND, json=SENDING, headers=hub.producer | {"origin": SHOP})
    assert allowed.status_code == 202


@pytest.mark.parametrize("path", CLOSED)
async def test_only_the_apis_of_users_and_messaging_have_cors(hub: RunningHub, http: Http, path: str) -> None:
    answer = await preflight(http, path, SHOP, "POST")
    assert answer.status_code in (404, 405)
    assert cors(answer) == {}
    assert cors(await http.get(path, headers={"origin": SHOP})) == {}


@pytest.mark.asyncio(loop_scope="function")
async def test_an_empty_list_blocks_browsers_and_not_servers(start_hub: StartHub) -> None:
    """Notiflows, Allowed origins: "Empty list blocks every browser request"."""
    hub = await start_hub()
    async with hub.http() as http:
        http.headers.update(hub.user_headers("ann"))
        assert (await preflight(http, ENTRIES, SHOP)).status_code == 403
        assert details(await http.get(ENTRIES, headers={"origin": SHOP}), 403, "forbidden") == {"reason": "origin"}
        assert (await http.get(ENTRIES)).status_code == 200
        await hub.change_project(lambda p: add_origin(p, SHOP))
        assert (await preflight(http, ENTRIES, SHOP)).status_code == 204
        await hub.change_project(lambda p: remove_origin(p, SHOP))
        assert (await preflight(http, ENTRIES, SHOP)).status_code == 403


@pytest.mark.asyncio(loop_scope="function")
async def test_in_development_mode_pages_of_this_machine_are_allowed(start_hub: StartHub) -> None:
    hub = await start_hub(development=True, origins=(SHOP,))
    async with hub.http() as http:
        http.headers.update({"x-notiflows-api-key": "pk_dev", "x-notiflows-user-id": "ann"})
        for origin in ("http://localhost:5173", "http://127.0.0.1:3000", "http://localhost:8000"):
            assert (await preflight(http, ENTRIES, origin)).headers["access-control-allow-origin"] == origin
            assert (await http.get(ENTRIES, headers={"origin": origin})).status_code == 200
        for origin in (SHOP, STRANGER, "http://localhost.evil.example"):
            assert (await preflight(http, ENTRIES, origin)).status_code == 403
            assert cors(await http.get(ENTRIES, headers={"origin": origin})) == {}


async def test_a_key_that_may_not_is_told_so_to_its_page(hub: RunningHub, http: Http) -> None:
    key, secret = auth.new_secret_key("reader")
    await hub.change_project(lambda p: add_secret_key(p, key))
    answer = await http.post(SEND, json=SENDING, headers={"authorization": f"Bearer {secret}", "origin": SHOP})
    assert answer.json()["error"]["details"] == {"required_scope": "alerts:create"}
    assert cors(answer) == READABLE
