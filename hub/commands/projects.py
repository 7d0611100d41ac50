"""Commands on projects: tenants, their origins, channels and keys."""

import base64
import re
import time
import unicodedata
from dataclasses import asdict
from typing import IO

import click

from hub import auth, projects
from hub.auth import KEY_TEXT
from hub.commands.base import bellhub, table
from hub.errors import Code, Refused
from hub.model import JSON, Project, SecretKey, SigningKey
from hub.opening import (
    Answer,
    Opened,
    of_project,
    with_store,
)
from hub.projects import DEFAULT


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
    return value, table(value.items())


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
    return [_shown(p) for p in found], table((p.id, p.name, p.api_key) for p in found)


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
    return value, table(rows)


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
    return [asdict(c) for c in found], table((c.id, c.handle, c.type, c.provider or "") for c in found)


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
    return value, table([*signing, *secret]) or "none"


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
