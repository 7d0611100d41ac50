"""The lane in which runs of notiflows are worked off: chunk by chunk, beside everything else that a hub does.

Each hub has one. It takes the run that has waited longest, puts a chunk of its recipients' entries into their feeds,
logs them and lets the run go on behind them; so many runs advance in turn, and one for a large topic holds up nobody.
A hub that dies holds its chunk until the lease ends; whoever does it again finds the entries that are there already,
by their ids and by the run's record beside each feed, so that every recipient has exactly one.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

from hub.errors import Code, Refused
from hub.idempotency import Idempotency
from hub.keys import User, digest
from hub.lists import Place
from hub.logs import Row, entered
from hub.model import Project, Rendered
from hub.profiles import Profile
from hub.projects import Directory
from hub.running import Spec, entry_id_of, entry_of, values_of, wanted
from hub.runs import CHUNK, Runs, Taken
from hub.store import Store
from hub.templates import render
from hub.users import Asked, Users

log = logging.getLogger("bellhub.fanout")

AT_ONCE = 2
"""Entries that are on their way to the store together: a send beside them waits for no more."""
LEASE_S = 5.0
"""How long a hub may take for a chunk before another one does it again."""
SLOW_S = 0.005
"""A rendering that takes longer is followed by a pause as long: half of the time stays with sockets and requests."""
SWEEP_S = 30.0
"""Between two looks at all projects, for news that were lost."""
TROUBLE_S = 1.0
"""Patience after a failure."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    recipients: list[Profile]
    behind: str
    """The position behind it; empty: that was all."""


class FanOut:
    """The lane of one hub. `run` is to be kept running."""

    def __init__(self, store: Store, users: Users, runs: Runs, directory: Directory) -> None:
        self._store = store
        self._users = users
        self._runs = runs
        self._directory = directory
        self._due: dict[str, float] = {}
        """When to look at which project's queue."""
        self._bell = asyncio.Event()
        self._turn = asyncio.Lock()

    def nudge(self, project_id: str) -> None:
        """There is something to do in this project."""
        self._due[project_id] = 0.0
        self._bell.set()

    async def run(self) -> None:
        sweep = 0.0
        while True:
            self._bell.clear()
            now = time.monotonic()
            if now >= sweep:
                sweep = now + SWEEP_S
                for project in self._directory.projects():
                    self._due.setdefault(project.id, now)
            for project_id in [project_id for project_id, due in self._due.items() if due <= now]:
                del self._due[project_id]
                wait = await self._look(project_id)
                if wait is not None:
                    self._due.setdefault(project_id, time.monotonic() + wait)
            patience = min((sweep, *self._due.values())) - time.monotonic()
            if patience > 0:
                try:
                    async with asyncio.timeout(patience):
                        await self._bell.wait()
                except TimeoutError:
                    pass

    async def _look(self, project_id: str) -> float | None:
        """One chunk of whatever waits in a project. In how many seconds to look again; None: when there are news."""
        try:
            project = self._directory.project(project_id)
            if project is None:
                return None
            taken = await self._runs.take(project_id, LEASE_S)
            if not isinstance(taken, Taken):
                return taken
            await self._work(project, taken)
        except Refused as refused:
            log.warning("fanout.waits", extra={"project": project_id, "error": refused.message})
            return TROUBLE_S
        except Exception:  # of one run, which goes on when its lease has ended: the hub has others, and sockets
            log.exception("fanout.failed", extra={"project": project_id})
            return TROUBLE_S
        return 0.0

    async def _work(self, project: Project, run: Taken) -> None:
        chunk = await self._chunk(project, run)
        actor = None
        if run.spec.actor is not None:
            (actor,) = await self._users.ensure(project.id, [run.spec.actor], _asked(run))
        rows: list[Row] = []
        waiting = iter(chunk.recipients)

        async def deliver(recipients: Iterator[Profile]) -> None:
            for recipient in recipients:  # all of them take from the one iterator
                row = await self._deliver(project, run, recipient, actor)
                if row is not None:
                    rows.append(row)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(deliver(waiting))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        await self._runs.advance(project.id, run, chunk.behind, rows)

    async def _chunk(self, project: Project, run: Taken) -> _Chunk:
        """The next recipients. Of a topic: who was subscribed when the run began, and is now."""
        number, _, name = run.position.partition(" ")
        if run.spec.topic is None:
            following = int(number) + 1
            behind = f"{following} " if following < run.chunks else ""
            named = await self._users.ensure(project.id, run.recipients, _asked(run))
            return _Chunk([profile for profile in named if profile is not None], behind)
        after: Place | None = (int(number), name) if name else None
        places = await self._users.subscribers(project.id, run.spec.topic, after, run.started, CHUNK)
        found = await self._users.profiles(project.id, [user for _, user in places])
        behind = f"{places[-1][0]} {places[-1][1]}" if len(places) == CHUNK else ""
        return _Chunk([profile for profile in found if profile is not None], behind)

    async def _deliver(self, project: Project, run: Taken, recipient: Profile, actor: Profile | None) -> Row | None:
        """Puts the entry into the recipient's feed, unless it was put there before, ever; the row of the log. None for
        a recipient who was erased meanwhile.
        """
        known = self._directory.project(project.id)
        if known is None or known.api_key != project.api_key:
            raise Refused(Code.NOT_FOUND, "the project is gone")
        spec, name = run.spec, recipient.external_id
        entry_id = entry_id_of(run.id, name)
        if not wanted(spec, recipient):
            return _row(run, entry_id, name, actor)
        try:
            body = entry_of(spec, entry_id, await self._rendered(spec, recipient, actor), actor)
        except Refused as refused:
            return _row(run, entry_id, name, actor, error=refused.message)
        feed = User(project.id, name).feed(spec.channel)
        once = Idempotency(feed.user.idem(digest("run", run.id)), "run")
        try:
            published = await self._store.publish(
                feed, entry_id, body, topic=spec.topic or "", asked=run.started, once=once
            )
        except Refused as refused:
            if refused.code is not Code.NOT_FOUND:
                raise
            return None
        us = await entered(self._store, feed, published)
        return _row(run, entry_id, name, actor, us=us, channel=spec.channel)

    async def _rendered(self, spec: Spec, recipient: Profile, actor: Profile | None) -> Rendered:
        """What the recipient reads. Slow templates take turns with everything else in this process, one at a time.

        Raises `Refused`.
        """
        async with self._turn:
            began = time.perf_counter()
            try:
                return render(spec.notiflow.template, values_of(spec, recipient, actor))
            finally:
                took = time.perf_counter() - began
                if took > SLOW_S:
                    await asyncio.sleep(took)


def _asked(run: Taken) -> Asked:
    return Asked(run.id, run.started, run.position)


def _row(
    run: Taken,
    entry_id: str,
    name: str,
    actor: Profile | None,
    *,
    us: int = 0,
    channel: str | None = None,
    error: str | None = None,
) -> Row:
    spec, by = run.spec, actor.external_id if actor else None
    return Row(entry_id, us, name, channel, spec.notiflow.handle, spec.topic, by, run.id, error)
