"""Who is speaking: user tokens, producers' secret keys, the origins of browsers.

Rules only, no I/O. A token says which key signed it, never how that key is to be used: keys and their
algorithms come from the project alone (RFC 8725, sections 3.1 and 3.5).
"""

import hashlib
import hmac
import ipaddress
import json
import re
import secrets
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms
from jwt.utils import base64url_decode

from hub.codec import check_user
from hub.errors import Code, Refused
from hub.model import JSON, Claims, Project, SecretKey, SigningKey, timestamp

ALGORITHMS = ("RS256", "ES256", "EdDSA")
KID = re.compile(r"[A-Za-z0-9._-]{1,64}")
KEYS_TRIED = 4
"""Keys that a token without `kid` is tried against: each try costs a signature check."""
RSA_BITS = (2048, 8192)
KEY_TEXT = 16 * 1024
"""Characters in the text of a public key; one of RSA 8192 bits needs 1,500."""
YEAR_10000 = 253_402_300_800
"""Seconds since 1970. Claims at or after it are milliseconds by mistake and could not be shown as a time."""

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_JWS = jwt.PyJWS(algorithms=ALGORITHMS)
_ALGORITHM_NAMES = frozenset(get_default_algorithms())
_NOT_FOLLOWED = ("jku", "jwk", "x5u", "x5c", "crit")
_BY_KTY = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
_ACCEPTED = f"accepted are RSA of {RSA_BITS[0]}-{RSA_BITS[1]} bits, EC P-256 and Ed25519"
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
_THUMBPRINT_MEMBERS = ("crv", "e", "kty", "n", "x", "y")


class BadToken(Refused):
    """The token proves nothing. `expired`: age is its only fault, a fresh one will do (4003; else 4501)."""

    def __init__(self, message: str, *, expired: bool = False) -> None:
        super().__init__(Code.INVALID_TOKEN, message)
        self.expired = expired


def _refuse(field: str, message: str) -> Refused:
    fields = [{"field": field, "message": message, "reason": "invalid"}]
    return Refused(Code.INVALID_REQUEST, f"{field}: {message}", fields=fields)


# ---- user tokens -------------------------------------------------------------------------------------


def verify(token: str, project: Project, *, leeway_s: int, require_exp: bool, now: float | None = None) -> Claims:
    """The claims of a token that one of the project's live keys signed; BadToken otherwise.

    `sub` is required; `exp`, `nbf` and `iat` are enforced when present, forgiving `leeway_s`; `exp` is
    required with `require_exp`. A token with `aud` is meant for somebody else (RFC 7519, section 4.1.3).
    Not asked here: whether the user was revoked (`revoked`). `now` in seconds since 1970; None: this moment.
    """
    payload = _signed_payload(token, _candidates(_header(token), project))
    return _claims(payload, project.id, leeway_s, require_exp, time.time() if now is None else now)


def named_key(token: str) -> str | None:
    """The key that a token says it was signed with (`kid`), unproven; None where it says nothing of the kind."""
    try:
        kid = _header(token).get("kid")
    except BadToken:
        return None
    return kid if isinstance(kid, str) else None


def revoked(claims: Claims, before: int | None) -> bool:
    """Whether the user's `revoked_before` (seconds, rounded up; None: never revoked) ends this sign-in.

    A token that does not tell when it was issued may be older, so it ends too.
    """
    if before is None:
        return False
    return claims.issued_at is None or claims.issued_at < before


def _header(token: str) -> JSON:
    if not token:
        raise BadToken("no token")
    if not token.isascii() or token.count(".") != 2:
        raise BadToken("not a signed token of three parts (RFC 7515, compact form)")
    try:
        header = json.loads(base64url_decode(token.partition(".")[0]))
    except (ValueError, RecursionError):
        # `from None`: the decoder's error holds the text it choked on.
        raise BadToken("header: not base64url of JSON") from None
    if not isinstance(header, dict):
        raise BadToken("header: not a JSON object")
    for name in _NOT_FOLLOWED:
        if name in header:
            raise BadToken(f"header {name}: not followed; keys and rules come from the project only")
    return header


def _candidates(header: JSON, project: Project) -> list[SigningKey]:
    """The keys that may have signed: the one named by `kid`, else the newest of the header's algorithm."""
    live = [key for key in project.signing_keys if key.retired_at is None]
    if not live:
        raise BadToken("the project has no signing key")
    if "kid" in header:
        live = [_named(header["kid"], live)]
    keys = [key for key in reversed(live) if key.algorithm == header.get("alg")][:KEYS_TRIED]
    if not keys:
        expected = " or ".join(sorted({key.algorithm for key in live}))
        raise BadToken(f"algorithm {_shown(header.get('alg'))}, expected {expected}")
    return keys


def _named(kid: Any, live: Iterable[SigningKey]) -> SigningKey:
    if not isinstance(kid, str) or not KID.fullmatch(kid):
        raise BadToken("kid: not 1-64 characters of A-Z a-z 0-9 . _ -")
    # Only a dictionary key: never a path, an address or a query.
    key = {key.kid: key for key in live}.get(kid)
    if key is None:
        raise BadToken(f"kid {kid!r}: no live key of the project has it")
    return key


def _shown(algorithm: Any) -> str:
    """An algorithm's name for a message: only registered ones are repeated, the rest is the sender's text."""
    return algorithm if isinstance(algorithm, str) and algorithm in _ALGORITHM_NAMES else "unknown"


def _signed_payload(token: str, keys: list[SigningKey]) -> bytes:
    for key in keys:
        try:
            decoded = _JWS.decode_complete(token, _public_key(key.algorithm, key.public_pem), [key.algorithm])
        except jwt.PyJWTError:
            continue
        payload: bytes = decoded["payload"]
        return payload
    tried = f"key {keys[0].kid!r}" if len(keys) == 1 else f"any of {len(keys)} keys"
    raise BadToken(f"signature: does not verify with {tried}")


@lru_cache(maxsize=1024)
def _public_key(algorithm: str, pem: str) -> Any:
    """Parsing costs as much as verifying. Raises for a PEM that `import_public` would have refused."""
    return _JWS.get_algorithm_by_name(algorithm).prepare_key(pem)


def _claims(payload: bytes, project: str, leeway_s: int, require_exp: bool, now: float) -> Claims:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        raise BadToken("claims: not JSON") from None
    if not isinstance(claims, dict):
        raise BadToken("claims: not a JSON object")
    if claims.get("aud"):
        raise BadToken("claim aud: names another audience; tokens for this hub carry none")
    user, issued = _subject(claims), _seconds(claims, "iat")
    _started("iat", issued, now + leeway_s)
    _started("nbf", _seconds(claims, "nbf"), now + leeway_s)
    # Last, so that `expired` means: nothing else is wrong.
    expires = _not_expired(_seconds(claims, "exp"), leeway_s, require_exp, now)
    return Claims(project, user, None if issued is None else int(issued), expires)


def _subject(claims: JSON) -> str:
    if not isinstance(claims.get("sub"), str):
        raise BadToken("claim sub: missing or not a string")
    try:
        return check_user(claims["sub"])
    except Refused as refused:
        raise BadToken(f"claim sub: {refused.message}") from None


def _seconds(claims: JSON, name: str) -> float | None:
    """A time claim in seconds since 1970; None when it is absent."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in (int, float) or not 0 <= value < YEAR_10000:
        raise BadToken(f"claim {name}: not a number of seconds between 1970 and the year 10000")
    return float(value)


def _started(name: str, start: float | None, latest: float) -> None:
    if start is not None and start > latest:
        raise BadToken(f"claim {name}: not valid before {_time(start)}")


def _not_expired(expires: float | None, leeway_s: int, require_exp: bool, now: float) -> float | None:
    if expires is None:
        if require_exp:
            raise BadToken("claim exp: missing, and this hub requires it")
        return None
    if now >= expires + leeway_s:
        raise BadToken(f"claim exp: expired at {_time(expires)}", expired=True)
    return expires


def _time(seconds: float) -> str:
    return timestamp(int(seconds * 1_000_000))


def _today() -> str:
    return _time(time.time())


# ---- signing keys ------------------------------------------------------------------------------------


def new_signing_key(algorithm: str = "RS256") -> tuple[SigningKey, str]:
    """A fresh key pair: the public half to keep and the private one (PKCS #8 PEM), which is kept nowhere."""
    private = _generate(algorithm)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    kid = secrets.token_hex(8)
    return SigningKey(kid, algorithm, _public_pem(private.public_key()), _today()), pem.decode()


def import_public(text: str, kid: str | None) -> SigningKey:
    """The public key in PEM or JWK JSON. Its id: `kid`, else the JWK's own, else its RFC 7638 thumbprint.

    Refuses (invalid_request) private keys and shared secrets, RSA below 2048 or above 8192 bits, curves other
    than P-256 and Ed25519, and a JWK whose `alg` or `use` says it is for something else.
    """
    if len(text) > KEY_TEXT:
        raise _refuse("public_key", f"{len(text)} characters, at most {KEY_TEXT}")
    jwk = _parse_jwk(text) if text.lstrip().startswith(("{", "[")) else None
    public = _from_pem(text) if jwk is None else _from_jwk(jwk)
    algorithm = _algorithm_of(public)
    if jwk is not None and jwk.get("alg", algorithm) != algorithm:
        raise _refuse("public_key", f"the JWK's alg is not {algorithm}")
    if kid is None and jwk is not None:
        kid = jwk.get("kid")
    if kid is None:
        kid = _thumbprint(public, algorithm)
    if not isinstance(kid, str) or not KID.fullmatch(kid):
        raise _refuse("kid", "not 1-64 characters of A-Z a-z 0-9 . _ -")
    return SigningKey(kid, algorithm, _public_pem(public), _today())


def public_half(private_pem: str, kid: str | None) -> SigningKey:
    """What verifies the tokens that this private key (PEM, unencrypted) signs; `kid` as in `import_public`."""
    try:
        private: Any = serialization.load_pem_private_key(private_pem.encode(errors="replace"), None)
        public = _public_pem(private.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # `from None`: nothing of a private key may reach a log.
        raise _refuse("private_key", "not an unencrypted private key in PEM") from None
    return import_public(public, kid)


def sign(user: str, private_pem: str, kid: str, algorithm: str, ttl_s: int, now: float) -> str:
    """A user token that is valid for `ttl_s` seconds from `now` (seconds since 1970)."""
    if algorithm not in ALGORITHMS:
        raise _refuse("algorithm", _one_of(algorithm, ALGORITHMS))
    if not 1 <= ttl_s < YEAR_10000 - now:
        raise _refuse("ttl_s", f"{ttl_s} s, at least 1 and ending before the year 10000")
    claims = {"sub": check_user(user), "iat": int(now), "exp": int(now) + ttl_s}
    try:
        return jwt.encode(claims, private_pem, algorithm, headers={"kid": kid})
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        # `from None`: nothing of a private key may reach a log.
        raise _refuse("private_key", f"not an unencrypted private key for {algorithm} in PEM") from None


def _generate(algorithm: str) -> PrivateKey:
    match algorithm:
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS[0])
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            raise _refuse("algorithm", _one_of(algorithm, ALGORITHMS))


def _parse_jwk(text: str) -> JSON:
    try:
        jwk = json.loads(text)
    except (ValueError, RecursionError):
        raise _refuse("public_key", "neither PEM nor JSON") from None
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kty"), str):
        raise _refuse("public_key", "not one JWK with a kty; of a key set, send one key")
    return jwk


def _from_jwk(jwk: JSON) -> Any:
    if _PRIVATE_MEMBERS & jwk.keys():
        raise _refuse("public_key", "a private key; send its public half only")
    if jwk["kty"] not in _BY_KTY:
        raise _refuse("public_key", "kty is not RSA, EC or OKP; shared secrets cannot be used")
    if jwk.get("use", "sig") != "sig":
        raise _refuse("public_key", "the JWK's use is not sig")
    algorithm: Any = _JWS.get_algorithm_by_name(_BY_KTY[jwk["kty"]])
    try:
        return algorithm.from_jwk(jwk)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm):
        raise _refuse("public_key", f"cannot be read as a {jwk['kty']} public key; {_ACCEPTED}") from None


def _from_pem(text: str) -> Any:
    if "PRIVATE KEY" in text:
        raise _refuse("public_key", "a private key; send its public half only")
    try:
        return serialization.load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise _refuse("public_key", f"cannot be read as a public key in PEM or JWK; {_ACCEPTED}") from None


def _algorithm_of(public: Any) -> str:
    """The one algorithm this key may be used with."""
    match public:
        case rsa.RSAPublicKey():
            if not RSA_BITS[0] <= public.key_size <= RSA_BITS[1]:
                raise _refuse("public_key", f"RSA of {public.key_size} bits; {_ACCEPTED}")
            return "RS256"
        case ec.EllipticCurvePublicKey():
            if not isinstance(public.curve, ec.SECP256R1):
                raise _refuse("public_key", f"EC {public.curve.name}; {_ACCEPTED}")
            return "ES256"
        case ed25519.Ed25519PublicKey():
            return "EdDSA"
        case _:
            raise _refuse("public_key", f"another kind of key; {_ACCEPTED}")


def _public_pem(public: PublicKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()


def _thumbprint(public: PublicKey, algorithm: str) -> str:
    """RFC 7638: SHA-256 over the required members in order, so the same key has the same id everywhere."""
    jwk = _JWS.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True)
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS if name in jwk}
    digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _one_of(value: str, known: Iterable[str]) -> str:
    return f"{value[:64]!r} is not one of {', '.join(known)}"


# ---- secret keys -------------------------------------------------------------------------------------

KEY_NAME_MAX = 128
"""Characters in the name of a key or an agent."""
ALL_PERMISSIONS = ("messaging:read", "messaging:update", "alerts:create", "admin")
PERMISSIONS: dict[str, frozenset[str]] = {
    "owner": frozenset(ALL_PERMISSIONS),
    "sender": frozenset({"alerts:create"}),
    "reader": frozenset({"messaging:read"}),
    "support": frozenset({"messaging:read", "messaging:update"}),
}
"""What a key of each role may do."""


def permissions(role: str) -> frozenset[str]:
    """What a role, or a comma-separated list of permissions, allows. invalid_request for unknown words."""
    if role in PERMISSIONS:
        return PERMISSIONS[role]
    words = [word.strip() for word in role.split(",")]
    for word in words:
        if word not in ALL_PERMISSIONS:
            raise _refuse("role", _one_of(word, (*PERMISSIONS, *ALL_PERMISSIONS)))
    return frozenset(words)


def new_secret_key(role: str, *, kind: str = "api_key", name: str | None = None) -> tuple[SecretKey, str]:
    """A fresh `sk_` key of 256 bits: the record to keep, and the key itself, which is kept nowhere."""
    permissions(role)
    if name is not None and not (1 <= len(name) <= KEY_NAME_MAX and name.isprintable()):
        raise _refuse("name", f"{name[:64]!r}: {len(name)} characters, 1 to {KEY_NAME_MAX} printable ones are needed")
    secret = f"sk_{secrets.token_urlsafe(32)}"
    record = secret_record(str(uuid.uuid4()), secret, role)
    return replace(record, kind=kind, name=name), secret


def secret_record(key_id: str, secret: str, role: str) -> SecretKey:
    """What is kept of a secret key: enough to recognise it, by machine and by eye."""
    return SecretKey(key_id, secret_digest(secret), f"sk_…{secret[-4:]}", role, _today())


def secret_digest(secret: str) -> str:
    """SHA-256 in hex. No salt and no stretching: the keys are random and long."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def secret_key(project: Project, secret: str) -> SecretKey | None:
    """The project's live key that `secret` is, compared in constant time."""
    offered, found = secret_digest(secret), None
    for key in project.secret_keys:
        if hmac.compare_digest(key.digest, offered) and key.retired_at is None:
            found = key
    return found


# ---- origins -----------------------------------------------------------------------------------------

_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9_.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def origin_allowed(project: Project, origin: str | None) -> bool:
    """Whether a browser page of this origin (RFC 6454) may connect; None: no browser, nothing to ask."""
    if origin is None:
        return True
    asked = _parts(origin)
    return asked is not None and asked in {_parts(allowed) for allowed in project.origins}


def loopback_origin(origin: str) -> bool:
    """Whether the page comes from this very machine."""
    parts = _parts(origin)
    return parts is not None and parts[1] in _LOOPBACK


def check_origin(text: str) -> str:
    """The origin as browsers send it: lower case, no default port. Refuses anything else."""
    parts = _parts(text)
    if parts is None:
        raise _refuse("origin", f"{text[:100]!r} is not https://host[:port] with nothing behind it")
    scheme, host, port = parts
    if scheme == "http" and host not in _LOOPBACK:
        raise _refuse("origin", f"{text[:100]!r}: http only for {', '.join(sorted(_LOOPBACK))}; use https")
    return f"{scheme}://{host}" if port == _DEFAULT_PORTS[scheme] else f"{scheme}://{host}:{port}"


@lru_cache(maxsize=1024)
def _parts(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin; None if it is none (`null`, a path, a wildcard, ...)."""
    # ASCII first: lower() turns a few foreign letters into ASCII ones.
    match = _ORIGIN.fullmatch(origin.lower()) if origin.isascii() else None
    if match is None:
        return None
    host = _host(match["host"])
    port = int(match["port"] or _DEFAULT_PORTS[match["scheme"]])
    return (match["scheme"], host, port) if host and 1 <= port <= 65535 else None


def _host(host: str) -> str | None:
    if not host.startswith("["):
        return host if all(host.split(".")) else None
    try:
        return f"[{ipaddress.IPv6Address(host[1:-1])}]"
    except ValueError:
        return None
