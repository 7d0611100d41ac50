"""The recipes in `docs/recipes`, run as their first lines say."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.harness import PATIENCE_S, Client, RedisServer, clean_env, free_port

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"


def bellhub(redis_url: str, *words: str) -> dict[str, str]:
    """What a command prints."""
    argv = [sys.executable, "-m", "hub", *words, "--redis-url", redis_url, "--json"]
    return json.loads(subprocess.run(argv, capture_output=True, check=True, env=clean_env()).stdout)


@pytest.fixture
def shop(redis_server: RedisServer) -> Iterator[int]:
    """The port of the FastAPI shop, once it and the hub in it are up."""
    port = free_port()
    env = {
        "REDIS_URL": redis_server.url,
        "BELLHUB_SIGNING_KEY": bellhub(redis_server.url, "keys", "new")["private_key_base64"],
        "BELL_SECRET": bellhub(redis_server.url, "keys", "secret", "--role", "sender")["secret_key"],
        "BELL_URL": f"http://127.0.0.1:{port}/bell",
    }
    argv = ["--app-dir", str(RECIPES), "fastapi_shop:app", "--ws-max-size", "65536", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", *argv],
        env=clean_env() | env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = []
    with process, process.stderr as lines:
        for line in lines:
            said.append(line)
            if "Uvicorn running" in line:
                break
        assert process.poll() is None, said
        yield port
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


async def test_the_shop_signs_tokens_sends_on_an_order_and_carries_the_hub(
    shop: int, redis_server: RedisServer
) -> None:
    page, ann = f"http://127.0.0.1:{shop}", ("ann", "wonderland")
    (project,) = bellhub(redis_server.url, "project", "list")
    async with httpx2.AsyncClient(base_url=page, timeout=PATIENCE_S, verify=False) as http:
        token = (await http.get("/bell-token", auth=ann)).text
        phone = await Client.open(f"ws://127.0.0.1:{shop}/bell/ws/v1")
        await phone.send("auth", api_key=project["api_key"], token=token)
        assert (await phone.next("welcome"))["user"] == "ann"
        await phone.ask("subscribe", channel="inbox")

        sent = [await http.post("/orders/17", auth=ann) for _ in range(2)]
        assert [answer.status_code for answer in sent] == [201, 201]
        entry = (await phone.next("entry"))["entry"]
        assert {answer.json()["notification"] for answer in sent} == {entry["id"]}
        assert entry["data"] == {"title": "Order 17 has been placed", "action_url": "/orders/17"}

        await http.post("/orders/18", auth=("bob", "builder"))
        assert (await http.delete("/orders/17", auth=ann)).status_code == 204
        assert (await phone.next("gone"))["ids"] == [entry["id"]]
        assert len([frame for frame in phone.frames if frame["type"] == "entry"]) == 1

        for nobody in (None, ("ann", "wrong"), ("eve", "")):
            assert (await http.get("/bell-token", auth=nobody)).status_code == 401
        assert (await http.get("/bell/static/client.js")).status_code == 200
        await phone.close()
