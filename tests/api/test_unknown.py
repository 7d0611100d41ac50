"""Addresses and methods that are not there: told in the envelope of the API whose path it is."""

import httpx2
import pytest

from tests.harness import RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(hub: RunningHub, method: str, path: str) -> httpx2.Response:
    async with hub.http() as http:
        return await http.request(method, path)


@pytest.mark.parametrize("base", ["/user/v1", "/api/user/v1", "/admin/v1", "/api/admin/v1"])
async def test_an_unknown_address_is_404_in_the_envelope_of_seed_2(shared_hub: RunningHub, base: str) -> None:
    answer = await ask(shared_hub, "GET", f"{base}/nowhere/at/all")
    found = answer.json()["error"]
    assert (answer.status_code, found["status"], found["code"]) == (404, 404, "not_found")
    assert found["details"] == {"resource": "path", "id": f"{base}/nowhere/at/all"}
    assert found["request_id"] == answer.headers["x-request-id"]


async def test_an_unknown_address_is_404_in_the_envelope_of_seed_1(shared_hub: RunningHub) -> None:
    answer = await ask(shared_hub, "GET", "/v1/messaging/nowhere")
    found = answer.json()["error"]
    assert (answer.status_code, found["type"], found["code"]) == (404, "invalid_request_error", "not_found")


@pytest.mark.parametrize("path", ["/user/v1/channels/inbox/feed/entries", "/v1/messaging/notifications"])
async def test_another_method_is_405_and_says_which_are_possible(shared_hub: RunningHub, path: str) -> None:
    answer = await ask(shared_hub, "PUT", path)
    assert answer.status_code == 405
    assert answer.json()["error"]["details"] == {"reason": "method_not_allowed"}
    assert "PUT" not in answer.headers["allow"]
    assert answer.headers["allow"]


async def test_all_methods_of_an_address_are_told(shared_hub: RunningHub) -> None:
    answer = await ask(shared_hub, "PATCH", "/api/admin/v1/users/a%2Fb/sessions")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, HEAD")


async def test_elsewhere_an_unknown_address_is_404_in_plain_text(shared_hub: RunningHub) -> None:
    answer = await ask(shared_hub, "GET", "/nowhere")
    assert (answer.status_code, answer.text) == (404, "Not Found\n")


@pytest.mark.parametrize("path", ["/user/v1/channels/inbox/feed/entries/", "/v1/messaging/notifications/", "/admin/v1"])
async def test_a_slash_too_many_or_too_few_is_unknown_and_nobody_is_sent_elsewhere(
    shared_hub: RunningHub, path: str
) -> None:
    for method in ("GET", "POST"):
        answer = await ask(shared_hub, method, path)
        assert (answer.status_code, "location" in answer.headers) == (404, False)
