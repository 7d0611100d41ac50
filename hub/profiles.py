"""What is known about the users of a project, and what they chose (Admin and User API): pure rules.

A back end describes its users in the directory; a user may also set preferences and name devices. All of it is one
document a user. The fields are those of Notiflows' users (`docs/api.md`).
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from typing import Annotated, Any

from pydantic import Field

from hub.bodies import ExternalId, Part, fault, read_body, refused
from hub.codec import check_value
from hub.errors import Code, Refused
from hub.frames import dumps
from hub.model import CHANNEL_TYPES, JSON, Channel, ChannelType, Project, timestamp

DOCUMENT_BYTES = 64 * 1024
"""Largest document of a user, as it is stored."""
CUSTOM_BYTES = 16 * 1024
"""Largest `custom_fields`, encoded."""
PUSHES = 20
"""Push subscriptions of one user on one channel."""
DEPTH_AROUND = 6
"""Levels of lists and maps around a user's `custom_fields` at most, wherever they are shown."""

FIELDS = ("email", "first_name", "last_name", "phone", "avatar", "locale", "timezone")


# ---- bodies ------------------------------------------------------------------------------------------


class Attributes(Part):
    """What describes a user. Null takes a value away."""

    email: Annotated[str, Field(max_length=320, pattern=r"^[^\s@]+@[^\s@]+$")] | None = None
    first_name: Annotated[str, Field(max_length=256)] | None = None
    last_name: Annotated[str, Field(max_length=256)] | None = None
    phone: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{1,14}$")] | None = None
    """E.164."""
    avatar: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s]+$")] | None = None
    locale: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")] | None = None
    """BCP 47."""
    timezone: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")] | None = None
    """A name of the IANA's."""
    custom_fields: dict[str, Any] | None = None


class UserFields(Attributes):
    """A user named and described, as the recipient or the actor of a run."""

    external_id: ExternalId


class NotiflowPreferences(Part):
    """What a user chose for one notiflow. Null is the default again."""

    enabled: bool | None = None
    channel_types: dict[ChannelType, bool | None] | None = None


class PreferenceChanges(Part):
    """What a PUT of preferences changes: only what is given."""

    channel_types: dict[ChannelType, bool | None] | None = None
    notiflows: dict[str, NotiflowPreferences | None] | None = None


class SettingsBody(Part):
    settings: dict[str, Any]


class NamedSettings(SettingsBody):
    channel_id: str


class UserChanges(Attributes):
    """What an upsert changes: only what is given."""

    channel_settings: Annotated[list[NamedSettings], Field(max_length=100)] | None = None
    preferences: PreferenceChanges | None = None


class DeviceSettings(Part):
    """Mobile push: where the user's devices are reached."""

    device_tokens: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=4096)]], Field(min_length=1, max_length=20)
    ]


class SlackSettings(Part):
    """Chat: at least one of the two."""

    slack_channel_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    slack_user_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class PushSettings(Part):
    """A browser's push subscription (W3C Push API)."""

    endpoint: Annotated[str, Field(max_length=2048, pattern=r"^https://[^\s]+$")]
    p256dh: Annotated[str, Field(min_length=1, max_length=256)]
    auth: Annotated[str, Field(min_length=1, max_length=256)]


Identifier = Annotated[str, Field(min_length=1, max_length=2048)]


class PushIdentifier(Part):
    identifier: Identifier


class Push(PushIdentifier):
    """One push subscription; the identifier, as a rule the endpoint, tells those of one channel apart."""

    settings: PushSettings


# ---- the document ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything known about one user of a project. Times are µs.

    `preferences` holds only what was chosen. `settings`: channel id -> {settings, created_at, updated_at};
    `push`: channel id -> identifier -> the same.
    """

    id: str
    external_id: str
    created_at: int
    updated_at: int
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    avatar: str | None = None
    locale: str | None = None
    timezone: str | None = None
    custom_fields: JSON = field(default_factory=dict)
    preferences: JSON = field(default_factory=dict)
    settings: JSON = field(default_factory=dict)
    push: JSON = field(default_factory=dict)

    def shown(self) -> JSON:
        """The user as the Admin API shows it."""
        return {
            "id": self.id,
            "external_id": self.external_id,
            **{name: getattr(self, name) for name in FIELDS},
            "custom_fields": self.custom_fields,
            "created_at": timestamp(self.created_at),
            "updated_at": timestamp(self.updated_at),
        }


def new_profile(project_id: str, name: str, now: int) -> Profile:
    """A user of whom nothing is known but the name."""
    return Profile(user_id(project_id, name), name, now, now)


def user_id(project_id: str, name: str) -> str:
    """The user's internal id. The same user has the same one everywhere, also before anybody described them."""
    return _uuid8("user", project_id, name)


def subscription_id(project_id: str, name: str, topic: str) -> str:
    """The id of a user's subscription to a topic."""
    return _uuid8("subscription", project_id, name, topic)


def _uuid8(*parts: str) -> str:
    """A UUIDv8 (RFC 9562, section 5.8) out of a digest: anybody can compute it again, nobody needs to store it."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    value = int.from_bytes(blake2b(text.encode(), digest_size=16).digest())
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def encode(profile: Profile) -> str:
    """The document to be stored. Raises `Refused` when it, or a part of it, is too large or too deep."""
    custom = len(dumps(profile.custom_fields).encode())
    if custom > CUSTOM_BYTES:
        raise refused([fault(("custom_fields",), f"{custom} bytes, at most {CUSTOM_BYTES}", "too_large")])
    check_value(profile.custom_fields, "custom_fields", DEPTH_AROUND)
    # Not `asdict`, which copies every value in it.
    document = dumps({part.name: getattr(profile, part.name) for part in fields(profile)})
    size = len(document.encode())
    if size > DOCUMENT_BYTES:
        message = f"{size} bytes in all about one user, at most {DOCUMENT_BYTES}"
        raise refused([fault(("body",), message, "too_large")])
    return document


def decode(document: str | bytes) -> Profile:
    """The profile of a document that `encode` made."""
    return Profile(**json.loads(document))


def merge(value: Mapping[str, Any], patch: Mapping[str, Any]) -> JSON:
    """Deep: maps are merged, null takes a key away, all else replaces (JSON Merge Patch, RFC 7396)."""
    merged = dict(value)
    for key, change in patch.items():
        before = merged.get(key)
        if change is None:
            merged.pop(key, None)
        elif isinstance(change, dict):
            merged[key] = merge(before if isinstance(before, dict) else {}, change)
        else:
            merged[key] = change
    return merged


# ---- changes, each a new profile ---------------------------------------------------------------------


def described(profile: Profile, attributes: Attributes) -> Profile:
    """With the attributes that were given; `custom_fields` are merged."""
    given: JSON = {name: getattr(attributes, name) for name in FIELDS if name in attributes.model_fields_set}
    if "custom_fields" in attributes.model_fields_set:
        custom = attributes.custom_fields
        given["custom_fields"] = {} if custom is None else merge(profile.custom_fields, custom)
    return replace(profile, **given)


def changed(profile: Profile, project: Project, changes: UserChanges, now: int) -> Profile:
    """As an upsert asks. Raises `Refused` for channels, settings and preferences that cannot be."""
    profile = described(profile, changes)
    if changes.preferences is not None:
        profile = preferring(profile, project, changes.preferences, ("preferences",))
    for number, named in enumerate(changes.channel_settings or ()):
        where = ("channel_settings", number)
        channel = project.by_name.get(named.channel_id)
        if channel is None:
            raise refused([fault((*where, "channel_id"), f"no such channel: {named.channel_id[:64]!r}", "unknown")])
        profile = reachable(profile, channel, named.settings, now, (*where, "settings"))
    return profile


def preferring(
    profile: Profile, project: Project, changes: PreferenceChanges, where: tuple[int | str, ...] = ()
) -> Profile:
    """With what the user chose; only what is given changes. Raises `Refused` for a notiflow that nobody can choose."""
    choices = choosable(project)
    unknown = [handle for handle in changes.notiflows or () if handle not in choices]
    if unknown:
        message = "no notiflow of this handle is open to preferences"
        raise refused([fault((*where, "notiflows", handle[:64]), message, "unknown") for handle in unknown[:16]])
    return replace(profile, preferences=merge(profile.preferences, changes.model_dump(exclude_unset=True)))


def reachable(
    profile: Profile, channel: Channel, settings: JSON, now: int, where: tuple[int | str, ...] = ("settings",)
) -> Profile:
    """With these settings on a channel, in place of those before. Raises `Refused`, also where a channel takes none."""
    checked = _settings(channel, settings, where)
    known = profile.settings.get(channel.id)
    if known is not None and known["settings"] == checked:
        return profile
    return replace(profile, settings=profile.settings | {channel.id: _record(known, checked, now)})


def unreachable(profile: Profile, channel: Channel) -> Profile:
    """Without settings on a channel. Raises `Refused` not_found where there are none."""
    settings_of(profile, channel)
    return replace(profile, settings={key: value for key, value in profile.settings.items() if key != channel.id})


def pushed(profile: Profile, channel: Channel, push: Push, now: int, by: str = "") -> Profile:
    """With one more push subscription, or with another endpoint for a known identifier. `by` names the request, for
    when it comes again. Raises `Refused`.
    """
    if channel.type != "web_push":
        message = f"channel {channel.handle!r} is {channel.type}; only web_push channels have subscriptions"
        raise refused([fault(("settings",), message, "channel_type")])
    known = profile.push.get(channel.id, {})
    settings = push.settings.model_dump()
    if push.identifier in known and known[push.identifier]["settings"] == settings:
        return profile
    if push.identifier not in known and len(known) >= PUSHES:
        message = f"{len(known)} subscriptions of this user on this channel, at most {PUSHES}"
        raise refused([fault(("identifier",), message, "too_many")])
    record = _record(known.get(push.identifier), settings, now)
    if by and push.identifier not in known:
        record["by"] = by
    return replace(profile, push=profile.push | {channel.id: known | {push.identifier: record}})


def push_known(profile: Profile, channel: Channel, identifier: str, by: str) -> bool:
    """Whether there was a push subscription before the request `by` made it, or this is another request."""
    known = profile.push.get(channel.id, {}).get(identifier)
    return known is not None and not (by and known.get("by") == by)


def unpushed(profile: Profile, channel: Channel, identifier: str) -> Profile:
    """Without a push subscription. Raises `Refused` not_found."""
    known = profile.push.get(channel.id, {})
    if identifier not in known:
        shown = identifier[:64]
        message = f"no subscription with this identifier: {shown!r}"
        raise Refused(Code.NOT_FOUND, message, resource="channel_subscription", id=shown)
    left = {key: value for key, value in known.items() if key != identifier}
    return replace(profile, push=profile.push | {channel.id: left})


def _record(before: JSON | None, settings: JSON, now: int) -> JSON:
    return {"settings": settings, "created_at": before["created_at"] if before else now, "updated_at": now}


def _settings(channel: Channel, settings: JSON, where: tuple[int | str, ...]) -> JSON:
    """The settings that a channel of this type takes."""
    model: type[DeviceSettings | SlackSettings]
    match channel.type:
        case "mobile_push":
            model = DeviceSettings
        case "chat":
            model = SlackSettings
        case _:
            message = f"channel {channel.handle!r} is {channel.type}, which takes no settings"
            raise refused([fault(where, message, "channel_type")])
    try:
        checked = read_body(model, settings).model_dump(exclude_none=True)
    except Refused as error:
        faults = [
            fault((*where, wrong["field"]), wrong["message"], wrong["reason"]) for wrong in error.details["fields"]
        ]
        raise refused(faults) from None
    if not checked:
        raise refused([fault(where, "needs slack_channel_id or slack_user_id", "missing")])
    return checked


# ---- what is shown -----------------------------------------------------------------------------------


def choosable(project: Project) -> dict[str, str]:
    """The notiflows that users may switch off: handle -> name."""
    return {notiflow.handle: notiflow.name for notiflow in project.notiflows if notiflow.include_in_preferences}


def preferences_of(profile: Profile | None, project: Project) -> JSON:
    """The user's preferences in full: what nobody chose is on."""
    chosen = profile.preferences if profile else {}
    types, notiflows = chosen.get("channel_types", {}), chosen.get("notiflows", {})
    return {
        "channel_types": {kind: types.get(kind, True) for kind in CHANNEL_TYPES},
        "notiflows": {
            handle: {
                "name": name,
                "enabled": notiflows.get(handle, {}).get("enabled", True),
                "channel_types": notiflows.get(handle, {}).get("channel_types", {}),
            }
            for handle, name in choosable(project).items()
        },
    }


def in_app_allowed(profile: Profile | None, notiflow: str) -> bool:
    """Whether the user wants entries of the notiflow with this handle. What is chosen for a notiflow wins over what is
    chosen for in-app channels at large. To be asked only of notiflows that are open to preferences.
    """
    chosen = profile.preferences if profile else {}
    own = chosen.get("notiflows", {}).get(notiflow, {})
    if not own.get("enabled", True):
        return False
    at_large = chosen.get("channel_types", {}).get("in_app", True)
    return bool(own.get("channel_types", {}).get("in_app", at_large))


def settings_of(profile: Profile, channel: Channel) -> JSON:
    """The user's settings on a channel, as both APIs show them. Raises `Refused` not_found."""
    known = profile.settings.get(channel.id)
    if known is None:
        raise no_settings(channel)
    return {"channel_id": channel.id, "user_id": profile.id, "provider": channel.provider, **_timed(known)}


def no_settings(channel: Channel) -> Refused:
    message = f"no settings on channel {channel.handle!r}"
    return Refused(Code.NOT_FOUND, message, resource="channel_settings", id=channel.id)


def pushes_of(profile: Profile | None, channel: Channel) -> list[JSON]:
    """The user's push subscriptions on a channel, oldest first."""
    if profile is None:
        return []
    return [push_of(profile, channel, identifier) for identifier in profile.push.get(channel.id, {})]


def push_of(profile: Profile, channel: Channel, identifier: str) -> JSON:
    """One push subscription, which is there."""
    return {
        "id": _uuid8("push", profile.id, channel.id, identifier),
        "channel_id": channel.id,
        "identifier": identifier,
        **_timed(profile.push[channel.id][identifier]),
    }


def _timed(record: JSON) -> JSON:
    return {
        "settings": record["settings"],
        "created_at": timestamp(record["created_at"]),
        "updated_at": timestamp(record["updated_at"]),
    }
