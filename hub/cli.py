"""The command line: `bellhub serve`, and everything that is done to a store without HTTP.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 the store cannot be had. Answers go to stdout, as JSON with `--json`;
everything else goes to stderr. The commands use the rules and scripts of the other doors.
"""

import asyncio
import base64
import json
import logging
import os
import re
import shlex
import sys
import time
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, NoReturn

import click

from hub import __version__, auth, frames, notiflows, projects, server
from hub.announcements import Announcement
from hub.api.announcements import announce, shown
from hub.api.messaging import publish, withdraw, withdraw_source
from hub.app import LOOPBACK, Hub
from hub.auth import KEY_TEXT
from hub.codec import check_user, decode
from hub.doctor import examine
from hub.errors import Code, Refused
from hub.frames import dumps
from hub.keys import User
from hub.model import JSON, START, VERBS, Event, Project, SecretKey, SigningKey, micros_of, timestamp
from hub.opening import (
    Answer,
    Opened,
    end,
    hindrances,
    of_project,
    on_store,
    read_settings,
    roll_call,
    rung,
    store_options,
    with_store,
)
from hub.projects import DEFAULT, DEV_SECRET
from hub.rollcall import ALL, SESSION_ID, Roll
from hub.running import read_run
from hub.sending import channel_of, new_entry_id, read_announcing, read_sending
from hub.settings import Settings

DEV_KID = "dev"
DEV_USER = "ann"
DEV_TTL_S = 24 * 3600
EXPIRES_MAX_S = 3650 * 24 * 3600
"""No feed keeps an entry for longer (`feed_days`)."""
LOOK_S = 1.0
"""How often `tail` looks at a feed that says nothing: entries expire, and stores go away, in silence."""


class Commands(click.Group):
    """Arguments are text; what is refused becomes one sentence on stderr and exit code 1."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for arg in args:
            try:
                arg.encode()
            except UnicodeEncodeError:
                raise click.UsageError(f"the argument {arg[:64]!r} is not UTF-8") from None
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Refused as refused:
            end(refused.message, 1)


@click.group(cls=Commands)
def bellhub() -> None:
    """Bellhub: a self-hosted, real-time notification hub."""


def main() -> None:
    logging.basicConfig(level=logging.CRITICAL)  # `serve` sets its own; elsewhere an error is the sentence it ends with
    bellhub()


# ---- serve -------------------------------------------------------------------------------------------


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
        pem, public = _development_key(settings.data_dir) if dev else (None, None)
        hub = Hub(settings, development=dev, signing_key=public)

        def started(port: int) -> None:
            value, text = _greeting(settings, f"http://{_in_url(settings.host)}:{port}", pem)
            click.echo(dumps(value) if as_json else text)

        try:
            code = server.serve(hub, settings, started)
        except (OSError, UnicodeError) as error:
            what = error.strerror if isinstance(error, OSError) else f"cannot listen on {settings.host!r}: {error}"
            end(f"{what}; choose another --host or --port", 3)
    sys.exit(code)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _development_key(data_dir: Path) -> tuple[str, SigningKey]:
    """The key pair of development mode, made at first. Only the private half is kept, and not in the store."""
    path = _development_key_path(data_dir)
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_suffix(".new")
            fresh.unlink(missing_ok=True)
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(auth.new_signing_key("ES256")[1])
            fresh.replace(path)
        pem = path.read_text(errors="replace")
    except OSError as error:
        end(f"cannot keep the development key {path}: {error.strerror}; choose another --data-dir", 3)
    return pem, _public_half(pem, DEV_KID, str(path))


def _development_key_path(data_dir: Path) -> Path:
    return data_dir.expanduser() / "dev-signing-key.pem"


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


# ---- projects ----------------------------------------------------------------------------------------


@bellhub.group()
def project() -> None:
    """Tenants: each has its own users, channels and keys."""


@project.command("new")
@with_store
@click.argument("name")
@click.option("--id", "project_id", help="Else made from the name.")
async def project_new(store: Opened, name: str, project_id: str | None) -> Answer:
    """Make a project, and an owner's key, which is shown only now."""
    made = await store.projects.create(project_id if project_id is not None else _slug(name), name)
    key, secret = auth.new_secret_key("owner")
    await store.projects.change(made.id, lambda p: projects.add_secret_key(p, key))
    value = {"id": made.id, "name": made.name, "api_key": made.api_key, "secret_key": secret}
    return value, _table(value.items())


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:63]
    if not slug:
        raise Refused(Code.INVALID_REQUEST, f"no id can be made from the name {name[:64]!r}: give one with --id")
    return slug


@project.command("list")
@with_store
async def project_list(store: Opened) -> Answer:
    """All projects."""
    found = (await store.projects.load()).values()
    return [_shown(p) for p in found], _table((p.id, p.name, p.api_key) for p in found)


@project.command("show")
@with_store
@click.argument("project_id", metavar="[PROJECT]", default=DEFAULT)
async def project_show(store: Opened, project_id: str) -> Answer:
    """One project: its public key, channels, origins and keys."""
    value = _shown(await store.project(project_id))
    rows = [
        ("id", value["id"]),
        ("name", value["name"]),
        ("api_key", value["api_key"]),
        ("channels", " ".join(channel["handle"] for channel in value["channels"])),
        ("origins", " ".join(value["origins"]) or "none"),
        ("keys", f"{len(value['signing_keys'])} signing, {len(value['secret_keys'])} secret"),
    ]
    return value, _table(rows)


@project.command("delete")
@with_store
@click.argument("project_id", metavar="PROJECT")
@click.option("--yes", is_flag=True, help="It cannot be undone.")
async def project_delete(store: Opened, project_id: str, yes: bool) -> Answer:
    """Delete a project. Its sessions end; its feeds expire by themselves."""
    if not yes:
        raise click.UsageError("it cannot be undone: say --yes")
    await store.project(project_id)
    await store.projects.delete(project_id)
    return {"deleted": project_id}, f"deleted {project_id}"


@project.group()
def origin() -> None:
    """From where browsers may connect."""


@origin.command("add")
@with_store
@click.argument("origin")
@of_project
async def origin_add(store: Opened, origin: str, project_id: str) -> Answer:
    """Let pages of an origin in, such as https://app.example."""
    return _origins(await store.change(project_id, lambda p: projects.add_origin(p, origin)))


@origin.command("remove")
@with_store
@click.argument("origin")
@of_project
async def origin_remove(store: Opened, origin: str, project_id: str) -> Answer:
    """Turn pages of an origin away."""
    return _origins(await store.change(project_id, lambda p: projects.remove_origin(p, origin)))


@origin.command("list")
@with_store
@of_project
async def origin_list(store: Opened, project_id: str) -> Answer:
    """The origins that are let in."""
    return _origins(await store.project(project_id))


def _origins(changed: Project) -> Answer:
    return list(changed.origins), "\n".join(changed.origins) or "none: no browser may connect"


def _shown(found: Project) -> JSON:
    """A project as JSON. Of secret keys not even the digest."""
    return {
        "id": found.id,
        "name": found.name,
        "api_key": found.api_key,
        "channels": [asdict(channel) for channel in found.channels],
        "origins": list(found.origins),
        "signing_keys": [asdict(key) for key in found.signing_keys],
        "secret_keys": [_without_digest(key) for key in found.secret_keys],
    }


def _without_digest(key: SecretKey) -> JSON:
    return {name: value for name, value in asdict(key).items() if name != "digest"}


def _table(rows: Iterable[tuple[object, ...]]) -> str:
    """Columns side by side, the last one as long as it likes."""
    texts = [tuple(map(str, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)][:-1]
    return "\n".join(
        "  ".join((*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[-1])) for row in texts
    )


# ---- channels ----------------------------------------------------------------------------------------


@bellhub.group()
def channel() -> None:
    """Channels: those of type in_app hold feeds."""


@channel.command("new")
@with_store
@click.argument("handle")
@click.option("--type", "kind", default="in_app", show_default=True)
@click.option("--provider", help="Who delivers it, for other types than in_app.")
@of_project
async def channel_new(store: Opened, handle: str, kind: str, provider: str | None, project_id: str) -> Answer:
    """Add a channel to a project."""
    changed = await store.change(project_id, lambda p: projects.add_channel(p, handle, kind, provider))
    return asdict(changed.by_name[handle]), changed.by_name[handle].id


@channel.command("list")
@with_store
@of_project
async def channel_list(store: Opened, project_id: str) -> Answer:
    """The channels of a project, oldest first."""
    found = (await store.project(project_id)).channels
    return [asdict(c) for c in found], _table((c.id, c.handle, c.type, c.provider or "") for c in found)


# ---- keys --------------------------------------------------------------------------------------------


@bellhub.group()
def keys() -> None:
    """Keys that sign tokens of users, and secret keys of producers."""


@keys.command("new")
@with_store
@click.option("--alg", default="RS256", show_default=True, type=click.Choice(auth.ALGORITHMS))
@of_project
async def keys_new(store: Opened, alg: str, project_id: str) -> Answer:
    """Make a signing key. Its private half is shown only now."""
    key, pem = auth.new_signing_key(alg)
    await store.change(project_id, lambda p: projects.add_signing_key(p, key))
    encoded = base64.b64encode(pem.encode()).decode()
    value = {"kid": key.kid, "algorithm": alg, "private_key": pem, "private_key_base64": encoded}
    return value, f"kid {key.kid}\n\n{pem}\nThe same in one line:\nBELLHUB_SIGNING_KEY={encoded}"


@keys.command("import")
@with_store
@click.argument("file", type=click.File("rb"))
@click.option("--kid", help="Its id; else that of the JWK, else its thumbprint.")
@of_project
async def keys_import(store: Opened, file: IO[bytes], kid: str | None, project_id: str) -> Answer:
    """Trust a signing key of your own: its public half, PEM or JWK, from FILE or - (stdin)."""
    key = auth.import_public(file.read(KEY_TEXT + 1).decode(errors="replace"), kid)
    await store.change(project_id, lambda p: projects.add_signing_key(p, key))
    return asdict(key), f"kid {key.kid}"


@keys.command("secret")
@with_store
@click.option(
    "--role",
    default="owner",
    show_default=True,
    help=f"{', '.join(auth.PERMISSIONS)}; or a list of {', '.join(auth.ALL_PERMISSIONS)}.",
)
@click.option("--name", help="What the key is called as a sender.")
@click.option("--agent", metavar="NAME", help="A key for the agent of this name.")
@of_project
async def keys_secret(store: Opened, role: str, name: str | None, agent: str | None, project_id: str) -> Answer:
    """Make a secret key for a producer or an agent. It is shown only now."""
    if name is not None and agent is not None:
        raise click.UsageError("say either --name or --agent")
    kind = "api_key" if agent is None else "agent"
    key, secret = auth.new_secret_key(role, kind=kind, name=name if agent is None else agent)
    await store.change(project_id, lambda p: projects.add_secret_key(p, key))
    return _without_digest(key) | {"secret_key": secret}, secret


@keys.command("list")
@with_store
@of_project
async def keys_list(store: Opened, project_id: str) -> Answer:
    """The keys of a project, live and retired."""
    found = await store.project(project_id)
    signing = [(k.kid, "signing", k.algorithm, _life(k)) for k in found.signing_keys]
    secret = [(k.id, k.kind, " ".join(filter(None, (k.role, k.redacted, k.name))), _life(k)) for k in found.secret_keys]
    value = {key: _shown(found)[key] for key in ("signing_keys", "secret_keys")}
    return value, _table([*signing, *secret]) or "none"


def _life(key: SigningKey | SecretKey) -> str:
    return f"since {key.created_at}" if key.retired_at is None else f"retired {key.retired_at}"


@keys.command("retire")
@with_store
@click.argument("key_id", metavar="ID")
@of_project
async def keys_retire(store: Opened, key_id: str, project_id: str) -> Answer:
    """Refuse a key from now on, by its kid or id."""
    await store.change(project_id, lambda p: projects.retire_key(p, key_id, time.time()))
    return {"retired": key_id}, f"retired {key_id}"


# ---- users -------------------------------------------------------------------------------------------


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
    key = _public_half(pem, kid, where)
    return pem, key if kid is not None else _known(settings, project_id, key)


def _development_signer(settings: Settings) -> tuple[str, SigningKey]:
    path = _development_key_path(settings.data_dir)
    if not path.exists():
        raise Refused(
            Code.NOT_FOUND,
            "no key to sign with: give --key or BELLHUB_SIGNING_KEY (`bellhub keys new` makes one), "
            f"or run `bellhub serve --dev` on {settings.data_dir} once",
        )
    click.echo(f"Signed with {path}: only a hub in development mode accepts this token.", err=True)
    return _development_key(settings.data_dir)


def _decoded(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode(errors="replace")
    except ValueError:
        raise Refused(Code.INVALID_REQUEST, "BELLHUB_SIGNING_KEY: not base64 of a PEM") from None


def _public_half(pem: str, kid: str | None, where: str) -> SigningKey:
    try:
        return auth.public_half(pem, kid)
    except Refused as refused:
        raise Refused(refused.code, f"{where}: {refused.message}", **refused.details) from None


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
    return found.sessions, _table(rows) or "none"


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


# ---- notiflows ---------------------------------------------------------------------------------------


@bellhub.group()
def notiflow() -> None:
    """Kinds of notifications, to be run for recipients or for a topic."""


@notiflow.command("put")
@with_store
@click.argument("handle")
@click.argument("title")
@click.option("--body")
@click.option("--action-url", help="Where a click leads: http, https or relative.")
@click.option("--name", help="What people call it; else the handle.")
@click.option("--category")
@click.option("--priority", help="low, normal or high.")
@click.option("--channel", help="An in-app channel; else the project's oldest.")
@click.option("--inactive", is_flag=True, help="It cannot be run.")
@click.option("--mandatory", is_flag=True, help="Users cannot switch it off.")
@of_project
async def notiflow_put(
    store: Opened, handle: str, project_id: str, inactive: bool, mandatory: bool, **fields: str | None
) -> Answer:
    """Define a notiflow, as a whole. TITLE, body and URL are Liquid: {{ data.… }}, {{ actor.… }}, {{ recipient.… }}."""
    given = {name: value for name, value in fields.items() if value is not None}
    template = {name: given.pop(name) for name in ("title", "body", "action_url") if name in given}
    body = given | {"template": template, "active": not inactive, "include_in_preferences": not mandatory}
    definition = notiflows.read_definition(body)
    now = timestamp(int(time.time() * 1_000_000))
    changed = await store.change(project_id, lambda p: notiflows.put(p, handle, definition, now))
    made = notiflows.existing(changed, handle)
    return notiflows.shown(made), made.id


@notiflow.command("list")
@with_store
@of_project
async def notiflow_list(store: Opened, project_id: str) -> Answer:
    """All notiflows of a project."""
    found = (await store.project(project_id)).notiflows
    rows = ((n.handle, "active" if n.active else "inactive", n.name) for n in found)
    return [notiflows.shown(n) for n in found], _table(rows)


@notiflow.command("show")
@with_store
@click.argument("handle")
@of_project
async def notiflow_show(store: Opened, handle: str, project_id: str) -> Answer:
    """One notiflow and its template."""
    value = notiflows.shown(notiflows.existing(await store.project(project_id), handle))
    template = value.pop("template")
    return value | {"template": template}, _table([*value.items(), *template.items()])


@notiflow.command("run")
@with_store
@click.argument("handle")
@click.argument("recipients", nargs=-1)
@click.option("--topic", help="Instead of recipients: all who are subscribed to it.")
@click.option("--actor", help="The user who caused it.")
@click.option("--data", metavar="JSON", help="An object, for the template.")
@of_project
async def notiflow_run(
    store: Opened,
    handle: str,
    recipients: tuple[str, ...],
    topic: str | None,
    actor: str | None,
    data: str | None,
    project_id: str,
) -> Answer:
    """Run a notiflow for RECIPIENTS or a topic; the id of the run. A running hub does the work."""
    found = await store.project(project_id)
    body: JSON = {"data": {} if data is None else _json(data), "topic": topic}
    if recipients:
        body["recipients"] = [{"external_id": name} for name in recipients]
    if actor is not None:
        body["actor"] = {"external_id": actor}
    spec, named = read_run(found, notiflows.existing(found, handle), body)
    run_id = new_entry_id()
    await store.runs.start(found.id, run_id, spec, named)
    return {"notiflow_run_id": run_id}, run_id


@notiflow.command("delete")
@with_store
@click.argument("handle")
@of_project
async def notiflow_delete(store: Opened, handle: str, project_id: str) -> Answer:
    """Delete a notiflow; what was run already goes on."""
    await store.change(project_id, lambda p: notiflows.remove(p, handle))
    return {"deleted": handle}, f"deleted {handle}"


# ---- notifications -----------------------------------------------------------------------------------


@bellhub.command()
@with_store
@click.argument("user")
@click.argument("title")
@click.option("--body")
@click.option("--url", help="Where a click leads: http, https or relative.")
@click.option("--category", default="system.message", show_default=True)
@click.option("--priority", help="low, normal, high or urgent.")
@click.option("--topic")
@click.option("--source-key", help="To withdraw everything sent with it.")
@click.option("--channel", help="An in-app channel; else the project's oldest.")
@click.option("--data", metavar="JSON", help="An object of your own.")
@click.option("--expires-in", type=click.IntRange(1, EXPIRES_MAX_S), help="Seconds until it leaves the feed.")
@of_project
async def send(
    store: Opened, user: str, project_id: str, data: str | None, expires_in: int | None, **fields: str | None
) -> Answer:
    """Send a notification; its id."""
    request: JSON = {name: value for name, value in fields.items() if value is not None}
    request["target"] = {"type": "user", "id": user}
    if data is not None:
        request["data"] = _json(data)
    if expires_in is not None:
        request["expires_at"] = timestamp(int((time.time() + expires_in) * 1_000_000))
    sending = read_sending(request)
    found = await store.project(project_id)
    published = await publish(store.store, store.logs, found, sending, user, new_entry_id())
    return {"id": published.id, "cursor": published.cursor}, published.id


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(Code.INVALID_REQUEST, f"--data: {len(text)} characters that are not JSON") from None


@bellhub.command("announce")
@with_store
@click.argument("title")
@click.option("--body")
@click.option("--url", help="Where a click leads: http, https or relative.")
@click.option("--category", default="system.announcement", show_default=True)
@click.option("--priority", help="low, normal, high or urgent.")
@click.option("--topic")
@click.option("--channel", help="An in-app channel; else the project's oldest.")
@click.option("--data", metavar="JSON", help="An object of your own.")
@click.option("--publish-at", metavar="TIME", help="RFC 3339, in the future; else now.")
@click.option("--expires-at", metavar="TIME", help="RFC 3339; else when feeds forget.")
@of_project
async def announce_command(store: Opened, project_id: str, data: str | None, **fields: str | None) -> Answer:
    """Send a notification to all users; its id."""
    request: JSON = {name: value for name, value in fields.items() if value is not None}
    if data is not None:
        request["data"] = _json(data)
    made = await announce(store.announcements, await store.project(project_id), read_announcing(request))
    assert isinstance(made, Announcement)  # no key, no answer of before
    return shown(made), made.id


@bellhub.command()
@with_store
@click.argument("announcement_id", metavar="ID")
@of_project
async def unannounce(store: Opened, announcement_id: str, project_id: str) -> Answer:
    """Take a notification back from all users."""
    found = await store.announcements.withdraw((await store.project(project_id)).id, announcement_id)
    return shown(found), f"{found.id} {found.status}"


@bellhub.command("withdraw")
@with_store
@click.argument("user")
@click.argument("entry_id", metavar="[ID]", required=False)
@click.option("--source-key", help="Everything that was sent with it.")
@of_project
async def withdraw_command(
    store: Opened, user: str, entry_id: str | None, source_key: str | None, project_id: str
) -> Answer:
    """Take a notification back, by its id or by its source key."""
    if (entry_id is None) == (source_key is None):
        raise click.UsageError("say either an ID or --source-key")
    found = await store.project(project_id)
    owner = User(found.id, check_user(user))
    if source_key is not None:
        ids = await withdraw_source(store.store, found, owner, source_key)
    else:
        ids = await withdraw(store.store, found, owner, entry_id or "")
    return {"ids": list(ids), "withdrawn": len(ids)}, f"{len(ids)} withdrawn"


@bellhub.command()
@with_store
@click.argument("verb", type=click.Choice(VERBS))
@click.argument("user")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--upto", metavar="CURSOR|top", help="Instead of ids: all that had arrived at a cursor, or until now.")
@click.option("--topic", help="With --upto: only what has this topic.")
@click.option("--channel", help="An in-app channel; else the project's oldest.")
@of_project
async def mark(
    store: Opened, verb: str, user: str, ids: tuple[str, ...], upto: str | None, project_id: str, **fields: str | None
) -> Answer:
    """Mark notifications of a user, by their ids or all of them."""
    found = await store.project(project_id)
    feed = User(found.id, check_user(user)).feed(channel_of(found, fields["channel"]).handle)
    until_now = upto == "top"
    request = {"type": verb, "ids": list(ids) or None, "upto": START if until_now else upto} | fields
    frame = decode(dumps(request | {"channel": feed.channel}), frames.JSON_PROTOCOL)  # by the rules of the socket
    assert isinstance(frame, frames.Mark)
    if frame.ids is not None:
        marked = await store.store.mark(feed, [verb], frame.ids)
    else:
        marked = await store.store.mark_upto(feed, [verb], None if until_now else frame.upto, topic=frame.topic)
    value = {"cursor": marked.cursor, "changed": marked.changed, "counts": asdict(marked.counts)}
    return value, f"{marked.number} changed"


@bellhub.command()
@store_options
@click.argument("user")
@click.option("--channel", "channel_name", help="An in-app channel; else the project's oldest.")
@of_project
def tail(
    user: str,
    channel_name: str | None,
    project_id: str,
    redis_url: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Follow a user's feed from now on, one line an event. Ctrl-C ends it."""

    async def follow(store: Opened) -> NoReturn:
        found = await store.project(project_id)
        feed = User(found.id, check_user(user)).feed(channel_of(found, channel_name).handle)
        async with rung(store.url, store.store, feed.user.events) as bell:
            cursor = (await store.store.catch_up(feed, None, 1)).cursor
            click.echo(f"Following {feed.channel} of {user!r}. Ctrl-C ends it.", err=True)
            while True:
                bell.clear()  # before reading: what rings from now on is not in what is read
                await store.announcements.load(found.id)
                missed = await store.store.catch_up(feed, cursor, 1)
                if missed.mode == "snapshot":
                    click.echo("The log does not reach back: some events are not shown.", err=True)
                for event in missed.events:
                    click.echo(frames.event(event).text if as_json else _line(event))
                cursor = missed.cursor
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await bell.wait()

    with suppress(KeyboardInterrupt):
        on_store(read_settings(redis_url=redis_url, data_dir=data_dir), follow)


def _line(event: Event) -> str:
    match event.kind:
        case "entry":
            entry = json.loads(event.body + "}")
            # The title is somebody's text: `repr` keeps it from steering the terminal.
            what = f"{entry['id']} {entry['category']} {entry['data']['title']!r}"
        case "state":
            what = " ".join((",".join(event.verbs), *event.ids))
        case _:
            what = " ".join((event.reason, *event.ids))
    counts = f"unseen={event.counts.unseen} unread={event.counts.unread} total={event.counts.total}"
    return f"{timestamp(micros_of(event.cursor))} {counts} {event.kind} {what}"


# ---- doctor ------------------------------------------------------------------------------------------


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
