"""A run of a notiflow: what is asked, for whom, and what each recipient gets (`docs/api.md`, Run a notiflow)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Annotated, Any

from pydantic import Field

from hub.bodies import Part, TopicName, fault, read_body, refused
from hub.errors import Code, Refused
from hub.frames import dumps
from hub.model import JSON, Notiflow, Project, Rendered, Template
from hub.profiles import Profile, UserFields, described, encode, in_app_allowed, new_profile
from hub.sending import check_link, stored_body

RECIPIENTS = 1000
"""Recipients named in one run; a topic has any number."""


class RunBody(Part):
    """The body of `POST /admin/v1/notiflows/{handle}/run`."""

    recipients: Annotated[list[UserFields], Field(min_length=1, max_length=RECIPIENTS)] | None = None
    topic: TopicName | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    actor: UserFields | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything that a run needs, whatever becomes of its notiflow: all that is told of it later, too."""

    notiflow: Notiflow
    channel: str
    """Handle of the in-app channel."""
    data: JSON
    actor: UserFields | None
    topic: str | None

    def encode(self) -> str:
        actor = None if self.actor is None else self.actor.model_dump(exclude_unset=True)
        notiflow = asdict(self.notiflow)
        return dumps(
            {"notiflow": notiflow, "channel": self.channel, "data": self.data, "actor": actor, "topic": self.topic}
        )


def decode_spec(text: str | bytes) -> Spec:
    """What `Spec.encode` made."""
    value = json.loads(text)
    notiflow = Notiflow(**value["notiflow"] | {"template": Template(**value["notiflow"]["template"])})
    actor = None if value["actor"] is None else UserFields.model_validate(value["actor"])
    return Spec(notiflow, value["channel"], value["data"], actor, value["topic"])


def encode_recipients(recipients: Sequence[UserFields]) -> str:
    return dumps([recipient.model_dump(exclude_unset=True) for recipient in recipients])


def decode_recipients(text: str | bytes) -> list[UserFields]:
    return [UserFields.model_validate(value) for value in json.loads(text)]


def read_run(project: Project, notiflow: Notiflow, value: object) -> tuple[Spec, list[UserFields]]:
    """Checks a decoded JSON value: what to run, and for whom, each once; nobody where it is for a topic.

    Raises `Refused`: invalid_request with `fields`; conflict for a notiflow that is not active; not_found where the
    project has no in-app channel.
    """
    body = read_body(RunBody, value, inside=2)  # its `data` will lie two levels deeper in a `page` frame
    if (body.recipients is None) == (body.topic is None):
        raise refused([fault(("recipients",), "exactly one of recipients and topic is needed", "one_of")])
    recipients = list({recipient.external_id: recipient for recipient in (body.recipients or [])[::-1]}.values())[::-1]
    for fields in (*recipients, *([body.actor] if body.actor else [])):
        encode(described(new_profile(project.id, fields.external_id, 0), fields))
    check_link(body.data)
    if not notiflow.active:
        message = f"notiflow {notiflow.handle!r} is not active"
        raise Refused(Code.CONFLICT, message, reason="inactive", resource="notiflow", id=notiflow.handle)
    spec = Spec(notiflow, _channel(project, notiflow), body.data, body.actor, body.topic)
    entry_of(spec, "", Rendered("x", None, None), None)  # or it would be too large for every recipient
    return spec, recipients


def _channel(project: Project, notiflow: Notiflow) -> str:
    for channel in project.feed_channels:
        if notiflow.channel in (None, channel.handle):
            return channel.handle
    shown = notiflow.channel or "in_app"
    raise Refused(Code.NOT_FOUND, f"no such channel: {shown!r}", resource="channel", id=shown)


def wanted(spec: Spec, recipient: Profile) -> bool:
    """Whether the recipient lets entries of this notiflow in; mandatory ones always come."""
    return not spec.notiflow.include_in_preferences or in_app_allowed(recipient, spec.notiflow.handle)


def values_of(spec: Spec, recipient: Profile, actor: Profile | None) -> JSON:
    """What the template can name."""
    return {"data": spec.data, "actor": actor.shown() if actor else None, "recipient": recipient.shown()}


def entry_of(spec: Spec, entry_id: str, text: Rendered, actor: Profile | None) -> str:
    """The immutable part of the entry as JSON without the closing brace. Raises `Refused` when it is too large."""
    said = {"title": text.title, "body": text.body, "action_url": text.action_url}
    names = ("id", "external_id", "first_name", "last_name", "email", "avatar")
    return stored_body(
        {
            "id": entry_id,
            "notiflow_handle": spec.notiflow.handle,
            "category": spec.notiflow.category,
            "priority": spec.notiflow.priority,
            "topic": spec.topic,
            "actor": {name: getattr(actor, name) for name in names} if actor else None,
            "sender": None,
            "resource": None,
            "data": spec.data | {name: value for name, value in said.items() if value is not None},
            "expires_at": None,
        }
    )


def entry_id_of(run_id: str, recipient: str) -> str:
    """The id of a recipient's entry: the same whoever works it out. A UUIDv7 of the run's time (RFC 9562)."""
    random = blake2b(f"{run_id} {recipient}".encode(), digest_size=10).digest()
    value = int(run_id.replace("-", ""), 16) >> 80 << 80 | int.from_bytes(random)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return _uuid(value)


_OTHER = (1 << 62) - 1
"""The random bits at the end of a UUIDv7."""


def notification_id(entry_id: str) -> str:
    """The id of the notification that an entry is the delivery of, and the other way round."""
    return _uuid(int(entry_id.replace("-", ""), 16) ^ _OTHER)


def _uuid(value: int) -> str:
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
