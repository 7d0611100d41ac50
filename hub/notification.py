"""The notification object of the Messaging API: an entry in the words of seed 1 (`docs/api.md`)."""

import json
from collections.abc import Collection

from hub.model import JSON, Entry, timestamp

INCLUDABLE = ("sender", "resource")
"""Sub-objects, which are null unless they are asked for (seed 1, `include[]`)."""
STATUSES = ("unseen", "seen", "read", "dismissed")
"""In this order, and only ever forward. Seed 1 knows no archive: an archived entry has the status below."""


def notification(entry: Entry, include: Collection[str] = ()) -> JSON:
    """All fields of seed 1, in its order. `include`: of `INCLUDABLE`."""
    said = content(entry)
    sender, resource = sender_of(said), said.get("resource")
    return {
        "id": entry.id,
        "object": "notification",
        "category": said.get("category") or said.get("notiflow_handle"),
        "title": title_of(said),
        "body": body_of(said),
        "status": status(entry),
        "priority": said.get("priority", "normal"),
        "sender": _actor(sender) if sender and "sender" in include else None,
        "resource": _entity(resource) if resource and "resource" in include else None,
        "seen_at": _at(entry.seen),
        "read_at": _at(entry.read),
        "dismissed_at": _at(entry.dismissed),
        "created_at": said.get("created_at") or _at(entry.score),
        "updated_at": _at(entry.updated or entry.score),
    }


def status(entry: Entry) -> str:
    """Derived from the three times that seed 1 knows."""
    if entry.dismissed:
        return "dismissed"
    if entry.read:
        return "read"
    return "seen" if entry.seen else "unseen"


def content(entry: Entry) -> JSON:
    """The stored part of an entry, as a map."""
    said: JSON = json.loads(f"{entry.body}}}")
    return said


def title_of(said: JSON) -> str:
    """Whatever made an entry, it has a title: its notiflow's handle where nobody wrote one."""
    title = said["data"].get("title")
    return title if isinstance(title, str) else str(said["notiflow_handle"])


def body_of(said: JSON) -> str | None:
    body = said["data"].get("body")
    return body if isinstance(body, str) else None


def sender_of(said: JSON) -> JSON | None:
    """Who sent it, as a producer says it; None for the system. A notiflow's actor is a user."""
    if said.get("sender"):
        sender: JSON = said["sender"]
        return sender
    actor = said.get("actor")
    if not actor or not actor["external_id"]:
        return None
    name = " ".join(part for part in (actor["first_name"], actor["last_name"]) if part)
    return {
        "id": actor["external_id"],
        "type": "user",
        "name": name or None,
        "handle": actor["email"],
        "avatar_url": actor["avatar"],
    }


def _actor(sender: JSON) -> JSON:
    kind = sender["type"]
    return {
        "id": sender["id"],
        "object": "actor",
        "type": kind,
        "name": sender["name"],
        "handle": sender["handle"] if kind in ("user", "api_key") else None,
        "avatar_url": sender["avatar_url"] if kind == "user" else None,
        "role": None,
    }


def _entity(resource: JSON) -> JSON:
    return {
        "id": resource["id"],
        "object": "entity",
        "type": resource["type"],
        "name": resource["name"],
        "handle": resource["handle"],
    }


def _at(micros: int) -> str | None:
    return timestamp(micros) if micros else None
