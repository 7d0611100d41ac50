"""The key pair of development mode, which signs tokens that only such a hub accepts."""

import os
from pathlib import Path

from hub import auth
from hub.errors import Refused
from hub.model import SigningKey
from hub.opening import (
    end,
)

DEV_KID = "dev"

DEV_USER = "ann"

DEV_TTL_S = 24 * 3600


def development_key(data_dir: Path) -> tuple[str, SigningKey]:
    """The key pair of development mode, made at first. Only the private half is kept, and not in the store."""
    path = development_key_path(data_dir)
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
    return pem, public_half(pem, DEV_KID, str(path))


def development_key_path(data_dir: Path) -> Path:
    return data_dir.expanduser() / "dev-signing-key.pem"


def public_half(pem: str, kid: str | None, where: str) -> SigningKey:
    try:
        return auth.public_half(pem, kid)
    except Refused as refused:
        raise Refused(refused.code, f"{where}: {refused.message}", **refused.details) from None
