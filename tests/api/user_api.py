"""The User API as its tests speak to it."""

import re
from typing import Any

import httpx2

FEED = "/user/v1/channels/inbox/feed"
ENTRIES = f"{FEED}/entries"
NOWHERE = "0198f000-0000-7000-8000-000000000000"
"""An id that no entry has."""
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

Response = httpx2.Response
Http = httpx2.AsyncClient


async def patch(http: Http, entry_id: str, **flags: Any) -> Response:
    return await http.patch(f"{ENTRIES}/{entry_id}", json=flags)


async def shown(http: Http, entry_id: str) -> dict[str, Any]:
    answer = await http.get(f"{ENTRIES}/{entry_id}")
    assert answer.status_code == 200, answer.text
    entry: dict[str, Any] = answer.json()
    return entry


def details(answer: Response, status: int, code: str) -> Any:
    """The `details` of an error, after everything around them was checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"type", "code", "message", "status", "request_id", "details"}
    assert error["code"] == code
    assert error["status"] == status
    assert error["request_id"] == answer.headers["x-request-id"]
    assert error["type"].endswith(f"/docs/errors#{code}-{status}")
    assert error["message"]
    return error["details"]


def fields(answer: Response) -> dict[str, str]:
    """Which fields a 422 names, and why."""
    faults = details(answer, 422, "validation_error")["fields"]
    assert all(set(fault) == {"field", "message", "reason"} for fault in faults)
    return {fault["field"]: fault["reason"] for fault in faults}
