"""Who is asking: the same answer for every door. Tokens are judged by `auth`, keys by the directory in memory."""

import time

from hub import auth
from hub.auth import BadToken
from hub.codec import check_user
from hub.errors import Code, Refused
from hub.keys import User
from hub.model import Claims, Project
from hub.projects import Directory
from hub.settings import Settings
from hub.store import Store


class Identity:
    """Turns credentials into `Claims`. `development` also lets users in by name alone."""

    def __init__(self, directory: Directory, store: Store, settings: Settings, *, development: bool) -> None:
        self._directory = directory
        self._store = store
        self._settings = settings
        self.development = development

    def project(self, api_key: str) -> Project:
        """The project with this public key. Raises `Refused` forbidden."""
        project = self._directory.by_api_key(api_key)
        if project is None:
            raise Refused(Code.FORBIDDEN, "unknown api key")
        return project

    def origin_allowed(self, project: Project, origin: str | None) -> bool:
        """Whether a browser page from there may talk to this project; None is no browser."""
        if origin is not None and self.development:
            return auth.loopback_origin(origin)
        return auth.origin_allowed(project, origin)

    def page_allowed(self, origin: str) -> bool:
        """Whether any project at all lets a browser page from there in."""
        return auth.loopback_origin(origin) if self.development else self._directory.has_origin(origin)

    def by_token(self, project: Project, token: str) -> Claims:
        """Raises `BadToken`."""
        settings = self._settings
        return auth.verify(token, project, leeway_s=settings.token_leeway_s, require_exp=settings.require_exp)

    def another_projects(self, project: Project, token: str) -> bool:
        """Whether a token that this project refuses is good for another one. It must name its key for that."""
        kid = auth.named_key(token)
        others = [] if kid is None else self._directory.with_signing_key(kid)
        return any(self._takes(other, token) for other in others if other.id != project.id)

    def _takes(self, project: Project, token: str) -> bool:
        try:
            self.by_token(project, token)
        except BadToken:
            return False
        return True

    def by_name(self, project: Project, name: str) -> Claims:
        """Development mode only: anybody is who they say. Raises `BadToken`; `Refused` for an impossible name."""
        if not self.development:
            raise BadToken("sign-in by name alone is for development mode only; send a token")
        return Claims(project.id, check_user(name), int(time.time()), None)

    def lives_s(self, claims: Claims) -> float | None:
        """Seconds until the token's end, leeway included; None: no end."""
        if claims.expires_at is None:
            return None
        return claims.expires_at + self._settings.token_leeway_s - time.time()

    async def not_revoked(self, claims: Claims) -> None:
        """Raises `Refused` revoked. Scripts ask again, in the same step as the change."""
        before, _ = await self._store.check(User(claims.project, claims.user), ())
        if auth.revoked(claims, before):
            raise Refused(Code.REVOKED, "this user's tokens were revoked; sign in again")
