"""Commands on users: tokens, revocation, sessions."""

import base64
import os
import time
from pathlib import Path
from typing import IO

import click

from hub import auth
from hub.auth import KEY_TEXT
from hub.codec import check_user
from hub.commands.base import bellhub, table
from hub.commands.development import development_key, development_key_path, public_half
from hub.errors import Code, Refused
from hub.frames import dumps
from hub.keys import User
from hub.model import SigningKey, timestamp
from hub.opening import (
    Answer,
    Opened,
    of_project,
    on_store,
    read_settings,
    roll_call,
    store_options,
    with_store,
)
from hub.rollcall import ALL, SESSION_ID, Roll
from hub.settings import Settings


@bellhub.command()
@store_options
@click.argument("user")
@click.option("--ttl", "ttl_s", type=int, default=3600, show_default=True, help="Seconds until it expires.")
@click.option("--key", "key_file", type=click.File("r", errors="replace"), help="Private key, PEM; - is stdin.")
@click.option("--kid", help="Its id; else the project is asked.")
@of_project
def token(
    user: str,
    ttl_s: int,
    key_file: IO[str] | None,
    kid: str | None,
    project_id: str,
    redis_url: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Sign a token for a user, with --key, else BELLHUB_SIGNING_KEY, else the key of development mode."""
    settings = read_settings(redis_url=redis_url, data_dir=data_dir)
    pem, key = _signer(settings, key_file, kid, project_id)
    now = time.time()
    signed = auth.sign(user, pem, key.kid, key.algorithm, ttl_s, now)
    expires = timestamp((int(now) + ttl_s) * 1_000_000)
    click.echo(dumps({"token": signed, "user": user, "kid": key.kid, "expires_at": expires}) if as_json else signed)


def _signer(settings: Settings, file: IO[str] | None, kid: str | None, project_id: str) -> tuple[str, SigningKey]:
    """The private PEM to sign with, and its public half under the id that the project knows it by."""
    encoded = os.environ.get("BELLHUB_SIGNING_KEY")
    if file is not None:
        pem, where = file.read(KEY_TEXT + 1), "--key"
    elif encoded:
        pem, where = _decoded(encoded), "BELLHUB_SIGNING_KEY"
    elif kid is not None:
        raise click.UsageError("--kid goes with --key or BELLHUB_SIGNING_KEY")
    else:
        return _development_signer(settings)
    key = public_half(pem, kid, where)
    return pem, key if kid is not None else _known(settings, project_id, key)


def _development_signer(settings: Settings) -> tuple[str, SigningKey]:
    path = development_key_path(settings.data_dir)
    if not path.exists():
        raise Refused(
            Code.NOT_FOUND,
            "no key to sign with: give --key or BELLHUB_SIGNING_KEY (`bellhub keys new` makes one), "
            f"or run `bellhub serve --dev` on {settings.data_dir} once",
        )
    click.echo(f"Signed with {path}: only a hub in development mode accepts this token.", err=True)
    return development_key(settings.data_dir)


def _decoded(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode(errors="replace")
    except ValueError:
        raise Refused(Code.INVALID_REQUEST, "BELLHUB_SIGNING_KEY: not base64 of a PEM") from None


def _known(settings: Settings, project_id: str, key: SigningKey) -> SigningKey:
    """The project's own record of a key."""

    async def look(store: Opened) -> Answer:
        found = (await store.project(project_id)).signing_keys
        return [known for known in found if known.public_pem == key.public_pem and known.retired_at is None], ""

    live, _ = on_store(settings, look)
    if not live:
        raise Refused(
            Code.NOT_FOUND,
            f"no live signing key of project {project_id!r} belongs to this private key: "
            "`bellhub keys import` its public half, or say --kid",
        )
    known: SigningKey = live[-1]
    return known


@bellhub.command()
@with_store
@click.argument("user")
@of_project
async def revoke(store: Opened, user: str, project_id: str) -> Answer:
    """Refuse the tokens a user has now; their sessions end."""
    found = await store.project(project_id)
    before = timestamp(await store.store.revoke(User(found.id, check_user(user))) * 1_000_000)
    return {"user": user, "revoked_before": before}, f"tokens of {user!r} issued before {before} are refused"


@bellhub.group()
def sessions() -> None:
    """The open sockets of a user, on all hubs of the store."""


@sessions.command("list")
@with_store
@click.argument("user")
@of_project
async def sessions_list(store: Opened, user: str, project_id: str) -> Answer:
    """Who is connected as this user."""
    owner = User((await store.project(project_id)).id, check_user(user))
    async with roll_call(store) as roll:
        found = await roll.sessions(owner)
    _warn_of_silence(found)
    rows = [(s["id"], s["opened_at"], s["hub"], ",".join(s["channels"]), s["client"] or "") for s in found.sessions]
    return found.sessions, table(rows) or "none"


@sessions.command("end")
@with_store
@click.argument("user")
@click.argument("session", metavar="[ID]", default=ALL)
@of_project
async def sessions_end(store: Opened, user: str, session: str, project_id: str) -> Answer:
    """End one session, or all of them. Those users may come back: `revoke` keeps them out."""
    if session != ALL and not SESSION_ID.fullmatch(session):
        raise Refused(Code.NOT_FOUND, f"no session {session[:64]!r}", resource="session", id=session[:64])
    owner = User((await store.project(project_id)).id, check_user(user))
    async with roll_call(store) as roll:
        found = await roll.end(owner, session)
    _warn_of_silence(found)
    if session != ALL and not found.sessions:
        raise Refused(Code.NOT_FOUND, f"no session {session!r} of {user!r}", resource="session", id=session)
    ended = [s["id"] for s in found.sessions]
    return {"ended": ended}, f"{len(ended)} ended"


def _warn_of_silence(found: Roll) -> None:
    if not found.complete:
        click.echo(f"{found.asked - found.answered} of {found.asked} hubs did not answer.", err=True)
