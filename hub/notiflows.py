"""Definitions of notiflows: from what an administrator says to what the project keeps (`docs/api.md`, Notiflows)."""

import uuid
from dataclasses import asdict, replace
from typing import Annotated, Literal

from pydantic import Field

from hub.bodies import Part, fault, read_body, refused
from hub.errors import Code, Refused
from hub.model import JSON, NOTIFLOW, Notiflow, Project, Template
from hub.templates import check_template

NOTIFLOWS = 100
"""Notiflows of one project: they are in its document, in the memory of every hub."""


class _Template(Part):
    title: Annotated[str, Field(min_length=1)]
    body: Annotated[str, Field(min_length=1)] | None = None
    action_url: Annotated[str, Field(min_length=1)] | None = None


class Definition(Part):
    """The body of `PUT /admin/v1/notiflows/{handle}`."""

    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    template: _Template
    active: bool = True
    include_in_preferences: bool = True
    channel: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    category: Annotated[str, Field(pattern=r"^[a-z0-9_.]{1,64}$")] | None = None
    priority: Literal["low", "normal", "high"] = "normal"


def read_definition(value: object) -> Definition:
    """Checks a decoded JSON value, its template too. Raises `Refused` with one entry in `fields` per fault."""
    definition = read_body(Definition, value)
    check_template(Template(**definition.template.model_dump()))
    return definition


def check_handle(handle: str) -> str:
    """A handle fit to be one. Raises `Refused`."""
    if not NOTIFLOW.fullmatch(handle):
        raise refused([fault(("handle",), f"{handle[:64]!r} does not match {NOTIFLOW.pattern}", "format")])
    return handle


def put(project: Project, handle: str, definition: Definition, at: str) -> Project:
    """With the notiflow as it is defined: a new one, or in the place of the one with that handle. `at`: the time now.

    Raises `Refused`: an ill-formed handle, a channel that holds no feeds, or one notiflow too many.
    """
    check_handle(handle)
    channel = None if definition.channel is None else project.feed_channel(definition.channel)
    if definition.channel is not None and channel is None:
        raise refused([fault(("channel",), f"no such in-app channel: {definition.channel!r}", "unknown")])
    known = project.notiflow(handle)
    if known is None and len(project.notiflows) >= NOTIFLOWS:
        raise Refused(Code.CONFLICT, f"{NOTIFLOWS} notiflows, at most {NOTIFLOWS}", reason="limit", resource="notiflow")
    fields: JSON = definition.model_dump(exclude={"template", "name", "channel"})
    made = Notiflow(
        id=known.id if known else str(uuid.uuid4()),
        handle=handle,
        name=definition.name or handle,
        template=Template(**definition.template.model_dump()),
        created_at=known.created_at if known else at,
        updated_at=at,
        channel=channel.handle if channel else None,
        **fields,
    )
    if known is None:
        return replace(project, notiflows=(*project.notiflows, made))
    if known == replace(made, updated_at=known.updated_at):
        return project
    return replace(project, notiflows=tuple(made if n is known else n for n in project.notiflows))


def remove(project: Project, handle: str) -> Project:
    """Without that notiflow; what was run keeps its own copy. Raises `Refused` not_found."""
    known = existing(project, handle)
    return replace(project, notiflows=tuple(n for n in project.notiflows if n is not known))


def existing(project: Project, handle: str) -> Notiflow:
    """Raises `Refused` not_found."""
    found = project.notiflow(handle)
    if found is None:
        shown = handle[:64]
        raise Refused(Code.NOT_FOUND, f"no such notiflow: {shown!r}", resource="notiflow", id=shown)
    return found


def shown(notiflow: Notiflow) -> JSON:
    """As the Admin API shows it."""
    return asdict(notiflow)
