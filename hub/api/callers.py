"""Who asks over HTTP, and whose feed they act on (`docs/api.md`, Who is asking).

A user: the api key with a token, or in development mode with a name. A key or an agent: its secret, with the role that
it was given; it has no feed of its own and acts for the user named by `X-Bellhub-User`. The operator, where the hub has
a console: may do everything, on the project of the api key, for the user named by the same header.
"""

import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from hub import auth
from hub.codec import check_user
from hub.errors import Code, Refused
from hub.identity import Identity
from hub.keys import User
from hub.model import Channel, Claims, Project, SecretKey
from hub.projects import Directory

log = logging.getLogger("bellhub.api")

USER_PERMISSIONS = frozenset({"messaging:read", "messaging:update"})
"""What a user may do, with the own feed."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`id` tells callers of a project apart. `user` is whose feed is acted on; None: a key that names nobody.

    `claims` are there where the user asks in person.
    """

    project: Project
    id: str
    permissions: frozenset[str]
    user: User | None
    claims: Claims | None = None

    def need(self, permission: str | None) -> None:
        """Raises `Refused` forbidden without the permission."""
        if permission is not None and permission not in self.permissions:
            who = "a user" if self.claims else "this key"
            message = f"{who} does not have {permission}"
            raise Refused(Code.FORBIDDEN, message, required_scope=permission)

    def channel(self, name: str) -> Channel:
        """The project's channel with this UUID or handle, of any type. Raises `Refused` not_found."""
        channel = self.project.by_name.get(name)
        if channel is None:
            shown = name[:64]
            raise Refused(Code.NOT_FOUND, f"no such channel: {shown!r}", resource="channel", id=shown)
        return channel


class Callers:
    """One method an API. Raises `Refused`: 401 for credentials that prove nothing, 403 for what is not allowed."""

    def __init__(self, identity: Identity, directory: Directory, operator_key: str | None = None) -> None:
        """Without an operator's key nobody is the operator, whatever they send."""
        self._identity = identity
        self._directory = directory
        self._operator_digest = None if operator_key is None else auth.secret_digest(operator_key)

    async def of_user_api(self, request: Request) -> Caller:
        """`x-notiflows-api-key` with exactly one of `x-notiflows-user-key` and `x-notiflows-user-id` (seed 2)."""
        headers = _headers(request)
        project = self._project(headers)
        if self.is_operator(request):
            caller = self._operator(project, request)
            if caller.user is None:
                raise _bad_header("X-Bellhub-User", "is required: the operator has no feed")
            return caller
        token, name = headers.get("x-notiflows-user-key"), headers.get("x-notiflows-user-id")
        try:
            if (token is None) == (name is None):
                raise auth.BadToken("exactly one of x-notiflows-user-key and x-notiflows-user-id is needed")
            if token is not None:
                claims = self._identity.by_token(project, token)
            else:
                claims = self._identity.by_name(project, _utf8("x-notiflows-user-id", name or ""))
        except Refused as refused:
            raise Refused(Code.INVALID_TOKEN, refused.message, auth="user_key") from None
        return await self._user(project, claims, headers)

    async def of_messaging_api(self, request: Request) -> Caller:
        """`Authorization: Bearer` with a secret key, or with a user's token beside `x-notiflows-api-key` (seed 1)."""
        headers = _headers(request)
        if self.is_operator(request):
            return self._operator(self._project(headers), request)
        scheme, _, credential = headers.get("authorization", "").partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise Refused(Code.INVALID_TOKEN, "a secret key or a user's token is needed: Authorization: Bearer …")
        if "x-notiflows-api-key" in headers and not credential.startswith("sk_"):
            project = self._project(headers)
            try:
                claims = self._identity.by_token(project, credential)
            except Refused as refused:
                raise Refused(Code.INVALID_TOKEN, refused.message, auth="user_key") from None
            return await self._user(project, claims, headers)
        found = self._directory.by_secret(credential)
        if found is None:
            raise Refused(Code.INVALID_TOKEN, "a live secret key is needed: Authorization: Bearer sk_…")
        project, key = found
        self._check_origin(project, headers)
        return self._key(project, key, headers)

    async def of_admin_api(self, request: Request) -> Caller:
        """`x-notiflows-api-key` with `x-notiflows-secret-key`, both of one project; the key must grant `admin`."""
        headers = _headers(request)
        project = self._project(headers)
        if self.is_operator(request):
            return self._operator(project, request)
        found = self._directory.by_secret(headers.get("x-notiflows-secret-key", ""))
        if found is None or found[0].id != project.id:
            message = "x-notiflows-secret-key is missing" if found is None else "the secret key is another project's"
            if found is None and "x-notiflows-secret-key" in headers:
                message = "x-notiflows-secret-key: no live key"
            raise Refused(Code.INVALID_TOKEN, message, auth="secret_key")
        return self._key(*found, {})

    def is_operator(self, request: Request) -> bool:
        """Whether the request comes with the operator's key; every hub without a console: no. Raises `Refused`.

        Pages of other origins cannot send the header: CORS does not allow it.
        """
        if self._operator_digest is None:
            return False
        offered = request.headers.get("x-bellhub-operator")
        if offered is None:
            return False
        if not hmac.compare_digest(auth.secret_digest(offered), self._operator_digest):
            log.warning("operator.refused", extra={"path": request.url.path})
            raise Refused(Code.INVALID_TOKEN, "x-bellhub-operator: not the operator's key", auth="operator_key")
        return True

    def _operator(self, project: Project, request: Request) -> Caller:
        user = self._named_user(project, request.headers)
        log.info("operator.asks", extra={"method": request.method, "path": request.url.path, "project": project.id})
        return Caller(project, "operator", frozenset(auth.ALL_PERMISSIONS), user)

    def _project(self, headers: Mapping[str, str]) -> Project:
        api_key = headers.get("x-notiflows-api-key")
        try:
            return self._identity.project(api_key or "")
        except Refused:
            message = "x-notiflows-api-key is missing" if not api_key else "unknown api key"
            raise Refused(Code.INVALID_TOKEN, message, auth="api_key") from None

    def _check_origin(self, project: Project, headers: Mapping[str, str]) -> None:
        origin = headers.get("origin")
        if not self._identity.origin_allowed(project, origin):
            shown = (origin or "")[:100]
            raise Refused(Code.FORBIDDEN, f"origin {shown!r} is not allowed", reason="origin")

    async def _user(self, project: Project, claims: Claims, headers: Mapping[str, str]) -> Caller:
        self._check_origin(project, headers)
        await self._identity.not_revoked(claims)
        user = User(claims.project, claims.user)
        return Caller(project, f"user {claims.user}", USER_PERMISSIONS, user, claims)

    def _key(self, project: Project, key: SecretKey, headers: Mapping[str, str]) -> Caller:
        return Caller(project, f"key {key.id}", auth.permissions(key.role), self._named_user(project, headers))

    def _named_user(self, project: Project, headers: Mapping[str, str]) -> User | None:
        """Whom somebody without a feed acts for."""
        name = headers.get("x-bellhub-user")
        return None if name is None else User(project.id, _user_name("X-Bellhub-User", name))


def _headers(request: Request) -> dict[str, str]:
    """The first one of each name; Starlette's look-up walks through all of them for every question."""
    return dict(reversed(request.headers.items()))


def _user_name(header: str, value: str) -> str:
    try:
        return check_user(_utf8(header, value))
    except Refused as refused:
        raise _bad_header(header, refused.message) from None


def _bad_header(name: str, message: str) -> Refused:
    return Refused(Code.INVALID_REQUEST, f"{name}: {message}", reason="invalid_param", param=name)


def _utf8(header: str, value: str) -> str:
    """A header's text, which ASGI servers show as Latin-1. Raises `Refused`."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise auth.BadToken(f"{header} is not UTF-8") from None
