"""Commands on notifications: sending, announcing, taking back, marking, watching."""

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from hub import frames
from hub.announcements import Announcement
from hub.api.announcements import announce, shown
from hub.api.messaging import publish, withdraw, withdraw_source
from hub.codec import check_user, decode
from hub.commands.base import bellhub, json_option
from hub.frames import dumps
from hub.keys import User
from hub.model import JSON, START, VERBS, Event, micros_of, timestamp
from hub.opening import (
    Answer,
    Opened,
    of_project,
    on_store,
    read_settings,
    rung,
    store_options,
    with_store,
)
from hub.sending import channel_of, new_entry_id, read_announcing, read_sending

EXPIRES_MAX_S = 3650 * 24 * 3600
"""No feed keeps an entry for longer (`feed_days`)."""

LOOK_S = 1.0
"""How often `tail` looks at a feed that says nothing: entries expire, and stores go away, in silence."""


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
        request["data"] = json_option(data)
    if expires_in is not None:
        request["expires_at"] = timestamp(int((time.time() + expires_in) * 1_000_000))
    sending = read_sending(request)
    found = await store.project(project_id)
    published = await publish(store.store, store.logs, found, sending, user, new_entry_id())
    return {"id": published.id, "cursor": published.cursor}, published.id


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
        request["data"] = json_option(data)
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
