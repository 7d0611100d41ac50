"""`bellhub serve`, and `bellhub doctor`."""

import asyncio
import json
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from hub import __version__, auth, server
from hub.app import LOOPBACK, Hub
from hub.commands.base import bellhub
from hub.commands.development import DEV_KID, DEV_TTL_S, DEV_USER, development_key
from hub.doctor import examine
from hub.frames import dumps
from hub.model import JSON
from hub.opening import (
    Answer,
    end,
    hindrances,
    read_settings,
    store_options,
)
from hub.projects import DEV_SECRET
from hub.settings import Settings


@bellhub.command()
@store_options
@click.option("--dev", is_flag=True, help="Development mode: anybody is who they say, on this machine only.")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
def serve(
    dev: bool, host: str | None, port: int | None, redis_url: str | None, data_dir: Path | None, as_json: bool
) -> None:
    """Run the hub."""
    settings = read_settings(host=host, port=port, redis_url=redis_url, data_dir=data_dir)
    if dev and _in_url(settings.host) not in LOOPBACK:
        here = "localhost, 127.0.0.1 and ::1"
        raise click.UsageError(f"--dev lets anybody in, so it listens on {here} only, not on {settings.host!r}")
    with hindrances(settings, "stop it, or choose another --data-dir"):
        pem, public = development_key(settings.data_dir) if dev else (None, None)
        hub = Hub(settings, development=dev, signing_key=public, demo_tokens=_demo_tokens(pem))

        def started(port: int) -> None:
            value, text = _greeting(settings, f"http://{_in_url(settings.host)}:{port}", pem)
            click.echo(dumps(value) if as_json else text)

        try:
            code = server.serve(hub, settings, started)
        except (OSError, UnicodeError) as error:
            what = error.strerror if isinstance(error, OSError) else f"cannot listen on {settings.host!r}: {error}"
            end(f"{what}; choose another --host or --port", 3)
    sys.exit(code)


def _demo_tokens(pem: str | None) -> Callable[[str, int, float], str] | None:
    """Signs for the demo page with the private key of development mode."""
    if pem is None:
        return None
    return lambda user, ttl_s, now: auth.sign(user, pem, DEV_KID, "ES256", ttl_s, now)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _greeting(settings: Settings, address: str, pem: str | None) -> Answer:
    """What `serve` says once it listens. `pem`: the private key of development mode."""
    if pem is None:
        return {"address": address, "development": False}, _next_steps(settings, address)
    token = auth.sign(DEV_USER, pem, DEV_KID, "ES256", DEV_TTL_S, time.time())
    body = {
        "category": "order.updated",
        "target": {"type": "user", "id": DEV_USER},
        "title": "Order shipped",
        "body": "Order 12345 is on its way.",
    }
    headers = (f"Authorization: Bearer {DEV_SECRET}", "Content-Type: application/json")
    curl = ["curl", "-sS", f"{address}/v1/messaging/notifications"]
    line = shlex.join([*curl, *(part for header in headers for part in ("-H", header)), "-d", json.dumps(body)])
    value = {"address": address, "development": True, "user": DEV_USER, "token": token, "curl": line}
    return value, (
        f"Bellhub {__version__} in development mode: anybody on this machine is who they say. Ctrl-C ends it.\n\n"
        f"The demo page:\n{address}/\n\nA token for {DEV_USER}, valid for a day:\n{token}\n\n"
        f"To send to {DEV_USER}:\n{line}\n"
    )


def _next_steps(settings: Settings, address: str) -> str:
    where = "" if settings.redis_url else f" --data-dir {shlex.quote(str(settings.data_dir))}"
    like = " and the same REDIS_URL" if settings.redis_url else ""
    return (
        f"Bellhub {__version__} listens on {address}. Ctrl-C ends it.\n\n"
        f"To go on, in another terminal{like}:\n"
        f"bellhub project show{where}  # the public key for your pages\n"
        f"bellhub keys new{where}  # a key to sign tokens of users with\n"
        f"bellhub keys secret{where}  # a key to send notifications with\n"
        f"bellhub project origin add https://your.app{where}  # let its pages in\n"
    )


@bellhub.command("doctor")
@store_options
def doctor_command(redis_url: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Check this machine and the store; exit code 1 when something fails."""
    settings = read_settings(redis_url=redis_url, data_dir=data_dir)

    async def findings() -> list[JSON]:
        found = []
        async for finding in examine(settings):
            found.append(asdict(finding))
            if not as_json:
                click.echo(f"{finding.state:<4}  {finding.check:<10}  {finding.message}")
        return found

    found = asyncio.run(findings())
    if as_json:
        click.echo(dumps(found))
    sys.exit(1 if any(finding["state"] == "fail" for finding in found) else 0)
