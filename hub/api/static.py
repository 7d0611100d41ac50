"""What browsers load: the modules, styles and pages of `static/`, for pages of every origin.

`/static/client.js` is always today's, `/static/<version>/client.js` is kept by browsers for ever. The version is a hash
of all files, so that modules which import each other fit.
"""

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".ts": "text/plain; charset=utf-8",  # type declarations; its registered type is a video's
    ".png": "image/png",
}
_TYPE = "application/octet-stream"
_HEADERS = {
    # Nothing here is anybody's own, and no cookie is read: whoever can fetch it may read it.
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
    "x-content-type-options": "nosniff",
}
_FOR_EVER = "public, max-age=31536000, immutable"
_SHORTLY = "public, max-age=60"
_IF_SAME = "no-cache"
_VERSION = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class StaticFile:
    """One file, as it is sent."""

    content: bytes
    type: str

    @cached_property
    def packed(self) -> bytes:
        return gzip.compress(self.content, 9, mtime=0)

    @cached_property
    def tag(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:16]


class Static:
    """The files of one directory below `/static`.

    `changing`: they are being worked on, so they are read for every request and browsers ask each time. Otherwise they
    are read once, now; and a module without a version is one line that leads to the one with it: browsers ask for one
    short answer a page, and never mix modules of two versions.
    """

    def __init__(self, directory: Path, *, changing: bool = False) -> None:
        self._directory = directory
        self._changing = changing
        self._files = read(directory)
        self.version = version(self._files)
        """The part of the path that names these very files."""
        self._doors = {} if changing else doors(self._files, self.version)

    def routes(self) -> list[Mount]:
        return [Mount("/static", routes=[Route("/{path:path}", self.file)])]

    async def file(self, request: Request) -> Response:
        """A file, with or without a version before its name."""
        path = request.path_params["path"]
        first, _, rest = path.partition("/")
        files = read(self._directory) if self._changing else self._files
        if _VERSION.fullmatch(first) is None:
            return self._answer(request, path, files | self._doors, _SHORTLY)
        # Another version's is not here (any more, or yet): today's, so that a page which names it goes on working.
        return self._answer(request, rest, files, _FOR_EVER if first == self.version else _IF_SAME)

    def _answer(self, request: Request, name: str, files: Mapping[str, StaticFile], kept: str) -> Response:
        file = files.get(name)
        if file is None:
            raise HTTPException(404, headers=_HEADERS)
        packed = not self._changing and _takes_gzip(request.headers)
        tag = f'"{file.tag}-gzip"' if packed else f'"{file.tag}"'
        headers = {
            **_HEADERS,
            "content-type": file.type,
            "cache-control": _IF_SAME if self._changing else kept,
            "etag": tag,
            "vary": "accept-encoding",
        }
        if _knows(request.headers, tag):
            return Response(status_code=304, headers=headers)
        if packed:
            return Response(file.packed, headers=headers | {"content-encoding": "gzip"})
        return Response(file.content, headers=headers)


def read(directory: Path) -> dict[str, StaticFile]:
    """Every file of a directory, by its path in it."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory).as_posix(): StaticFile(path.read_bytes(), _TYPES.get(path.suffix, _TYPE))
        for path in paths
    }


def version(files: Mapping[str, StaticFile]) -> str:
    """The same for the same names and contents."""
    listed = "".join(f"{name} {hashlib.sha256(file.content).hexdigest()}\n" for name, file in sorted(files.items()))
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def doors(files: Mapping[str, StaticFile], version: str) -> dict[str, StaticFile]:
    """For each module one of the same name that exports what that of this version does (no default export)."""
    found = {}
    for name in files:
        if name.endswith(".js"):
            up = "../" * name.count("/") or "./"
            line = f'export * from "{up}{version}/{name}";\n'
            found[name] = StaticFile(line.encode(), _TYPES[".js"])
    return found


def _takes_gzip(headers: Headers) -> bool:
    """RFC 9110, section 12.5.3; who does not name gzip gets it as it is."""
    offers = (offer.replace(" ", "").partition(";") for offer in headers.get("accept-encoding", "").lower().split(","))
    return any(coding == "gzip" and not re.fullmatch(r"q=0(\.0*)?", weight) for coding, _, weight in offers)


def _knows(headers: Headers, tag: str) -> bool:
    """RFC 9110, section 13.1.2: weak comparison."""
    known = headers.get("if-none-match", "")
    return known.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in known.split(","))
