"""A shop on FastAPI with a bell. It carries the hub under `/bell`, signs its users' tokens, and rings when they order.

    pip install bellhub fastapi
    bellhub keys new                      # prints BELLHUB_SIGNING_KEY=…
    bellhub keys secret --role sender     # prints a secret key: BELL_SECRET
    bellhub project origin add http://localhost:8000
    uvicorn --app-dir docs/recipes fastapi_shop:app --ws-max-size 65536
    curl -X POST -u ann:wonderland http://localhost:8000/orders/17

A hub that runs by itself needs another `BELL_URL` and no `mount`; with more than one worker both need `REDIS_URL`.
"""

import os
import secrets
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from hub.app import create_app
from hub.client import AsyncBellhub

URL = os.environ.get("BELL_URL", "http://localhost:8000/bell")
SECRET = os.environ["BELL_SECRET"]
SIGNING_KEY = b64decode(os.environ["BELLHUB_SIGNING_KEY"])
TOKEN_S = 3600
PASSWORDS = {"ann": "wonderland", "bob": "builder"}  # instead of your own sign-in

hub = create_app()  # settings come from the environment, as for `bellhub serve`


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with hub.router.lifespan_context(hub), AsyncBellhub(URL, secret=SECRET) as app.state.bell:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/bell", hub)


def signed_in(basic: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> str:
    password = PASSWORDS.get(basic.username, "")
    if not password or not secrets.compare_digest(basic.password.encode(), password.encode()):
        raise HTTPException(401, headers={"www-authenticate": "Basic"})
    return basic.username


User = Annotated[str, Depends(signed_in)]


@app.get("/bell-token", response_class=PlainTextResponse)
def bell_token(user: User) -> str:
    """What the page's `getToken` fetches. The name is that of the signed-in user, never one that the page gives."""
    now = int(time.time())
    return jwt.encode({"sub": user, "iat": now, "exp": now + TOKEN_S}, SIGNING_KEY, algorithm="RS256")


@app.post("/orders/{number}", status_code=201)
async def order(number: int, user: User) -> dict[str, str]:
    # The key makes a customer who clicks twice hear of it once.
    sent = await app.state.bell.send(
        user,
        f"Order {number} has been placed",
        category="order.placed",
        url=f"/orders/{number}",
        source_key=f"order-{number}",
        idempotency_key=f"order-{number}-placed",
    )
    return {"notification": sent}


@app.delete("/orders/{number}", status_code=204)
async def cancel(number: int, user: User) -> None:
    await app.state.bell.withdraw_source(user, f"order-{number}")
