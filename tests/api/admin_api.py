"""How tests speak to the Admin API."""

from typing import Any

import httpx2

from tests.harness import RunningHub

Response = httpx2.Response


class Admin:
    """A back end with an owner's keys."""

    def __init__(self, hub: RunningHub, http: httpx2.AsyncClient) -> None:
        self.http = http
        http.headers.update({"x-notiflows-api-key": hub.api_key, "x-notiflows-secret-key": hub.secret})

    async def ask(self, method: str, path: str, body: Any = None, /, **options: Any) -> Response:
        if body is not None:
            options["json"] = body
        return await self.http.request(method, f"/admin/v1{path}", **options)

    async def good(self, method: str, path: str, body: Any = None, /, **options: Any) -> Any:
        """The JSON of an answer that must be 2xx; None where it has no body."""
        answer = await self.ask(method, path, body, **options)
        assert 200 <= answer.status_code < 300, answer.text
        return answer.json() if answer.content else None


def error_of(answer: Response, status: int, code: str) -> dict[str, Any]:
    """The error of a refusal in seed 2's envelope."""
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert (error["code"], error["status"]) == (code, status)
    assert error["type"].endswith(f"/errors#{code}-{status}")
    assert error["request_id"] == answer.headers["x-request-id"]
    return error


def fields_of(answer: Response) -> list[str]:
    """The fields that a 422 names."""
    return [fault["field"] for fault in error_of(answer, 422, "validation_error")["details"]["fields"]]
