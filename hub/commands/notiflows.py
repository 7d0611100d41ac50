"""Commands on notiflows."""

import time

import click

from hub import notiflows
from hub.commands.base import bellhub, json_option, table
from hub.model import JSON, timestamp
from hub.opening import (
    Answer,
    Opened,
    of_project,
    with_store,
)
from hub.running import read_run
from hub.sending import new_entry_id


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
    return [notiflows.shown(n) for n in found], table(rows)


@notiflow.command("show")
@with_store
@click.argument("handle")
@of_project
async def notiflow_show(store: Opened, handle: str, project_id: str) -> Answer:
    """One notiflow and its template."""
    value = notiflows.shown(notiflows.existing(await store.project(project_id), handle))
    template = value.pop("template")
    return value | {"template": template}, table([*value.items(), *template.items()])


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
    body: JSON = {"data": {} if data is None else json_option(data), "topic": topic}
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
