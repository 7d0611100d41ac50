"""Settings: read once, here, from the environment. Everybody else is given values.

`python -m hub.settings > docs/settings.md` writes their page; a test holds the two equal.
"""

import os
from pathlib import Path
from typing import Literal

from limits import RateLimitItem, parse_many
from pydantic import AliasChoices, Field, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_data_dir() -> Path:
    """Where the embedded store lives when nobody says otherwise (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "bellhub"


_MOST_REQUESTS = 10**15 - 1
"""The largest number of a header (RFC 9651, section 3.3.1)."""
_LONGEST_WINDOW_S = 366 * 24 * 3600


def rate(text: str) -> RateLimitItem | None:
    """A limit in the notation of the library `limits`; None where it is empty. Raises ValueError."""
    if not text:
        return None
    try:
        (item,) = parse_many(text)
    except ValueError:
        raise ValueError("not one limit, as 600/minute") from None
    if not 1 <= item.amount <= _MOST_REQUESTS or item.get_expiry() > _LONGEST_WINDOW_S:
        raise ValueError(f"1 to {_MOST_REQUESTS:,} requests in at most a year; empty: no limit")
    return item


class Settings(BaseSettings):
    """Every setting has a default that works and, where it is a quantity, its unit in its name."""

    model_config = SettingsConfigDict(
        env_prefix="BELLHUB_", populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    redis_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("BELLHUB_REDIS_URL", "REDIS_URL"),
        description="An outside Redis ≥ 7.0 or Valkey ≥ 7.2. Without it the hub starts its own store.",
    )
    redis_bin: Path | None = Field(
        default=None, description="The server program of the embedded store; else it is looked for."
    )
    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Directory of the embedded store. Back this up. With `XDG_DATA_HOME` set: `bellhub` in there.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=8080,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("BELLHUB_PORT", "PORT"),
        description="Port to listen on; 0 takes a free one.",
    )
    docs_url: str | None = Field(
        default=None, description="Base of the links in error answers; the hub's own `/docs` when unset."
    )
    require_exp: bool = Field(default=False, description="Refuse user tokens without `exp`.")
    token_leeway_s: int = Field(default=30, ge=0, le=300, description="Clock difference forgiven in tokens.")
    auth_timeout_s: float = Field(default=5, gt=0, description="Time a socket has to send `auth`.")
    ping_s: float = Field(default=25, gt=0, description="Silence of a client after which the hub pings.")
    pong_s: float = Field(default=10, gt=0, description="Time a client has to answer a ping.")
    max_age_s: float = Field(default=43200, gt=0, description="Age at which a socket is asked to come back.")
    check_s: float = Field(default=30, gt=0, description="Time between two cursor checks of a followed feed.")
    probe_s: float = Field(default=10, gt=0, description="Time between two probes of the subscriber connection.")
    sessions_per_user: int = Field(default=100, ge=1, description="Sessions of one user in one hub process.")
    feed_entries: int = Field(
        default=1000, ge=1, le=5000, description="Entries a feed holds, archived and dismissed ones included."
    )
    feed_days: int = Field(
        default=90, ge=1, le=3650, description="Age at which entries leave a feed, at the next send to it."
    )
    log_events: int = Field(
        default=500, ge=1, le=500, description="Events a feed remembers for clients that come back."
    )
    key_rate: str = Field(
        default="60000/minute",
        description="HTTP requests of one secret key, as `10/second` or `3000 per 5 minutes`; empty: no limit.",
    )
    user_rate: str = Field(
        default="600/minute", description="HTTP requests of one user, in the same notation. Sockets are not counted."
    )
    log_days: int = Field(
        default=30, ge=1, le=3650, description="Age at which the log of what was sent forgets, at the next send."
    )
    console_key: str | None = Field(
        default=None,
        min_length=32,
        max_length=255,
        pattern="^[!-~]+$",
        repr=False,
        description="The operator's key, 32 to 255 printable ASCII characters. With it there is `/console`.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="`debug`, `info`, `warning` or `error`."
    )

    @field_validator("key_rate", "user_rate")
    @classmethod
    def _is_a_rate(cls, text: str) -> str:
        rate(text)
        return text


# ---- their page --------------------------------------------------------------------------------------

_UNITS = {"_s": "s", "_days": "days", "_entries": "entries", "_events": "events", "_per_user": "sessions"}
_HEAD = """\
# Settings

Every setting is an environment variable; where two are named, the first one wins. The options of `bellhub serve`
override theirs. The commands that work on a store read the same ones as the hub: give them the same values.

`BELLHUB_SIGNING_KEY`, read by `bellhub token` only, holds a private key: base64 of its PEM, as `bellhub keys new`
prints it.

This page is generated: `python -m hub.settings > docs/settings.md`.

| variable | default | unit | meaning |
|---|---|---|---|
"""


def page() -> str:
    """`docs/settings.md`."""
    return _HEAD + "".join(f"{_row(name, field)}\n" for name, field in Settings.model_fields.items())


def variables(name: str) -> tuple[str, ...]:
    """The environment variables of a setting, the one that wins first."""
    alias = Settings.model_fields[name].validation_alias
    return tuple(map(str, alias.choices)) if isinstance(alias, AliasChoices) else (f"BELLHUB_{name.upper()}",)


def _row(name: str, field: FieldInfo) -> str:
    names = ", ".join(f"`{variable}`" for variable in variables(name))
    unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")
    return f"| {names} | {_default(field)} | {unit} | {field.description} |"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "`~/.local/share/bellhub`"
    match field.default:
        case None:
            return "none"
        case bool():
            return f"`{str(field.default).lower()}`"
    return f"`{field.default}`"


if __name__ == "__main__":
    print(page(), end="")
