"""Runs of notiflows that are not done: queued with all they need, and worked off in chunks by whichever hub comes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hub import keys
from hub.engine import Engine, text
from hub.errors import Refused
from hub.idempotency import Idempotency, operands, parse
from hub.logs import Logs, Row
from hub.model import Answer
from hub.profiles import UserFields
from hub.running import Spec, decode_recipients, decode_spec, encode_recipients

QUEUE = 1000
"""Runs of one project that are not done."""
CHUNK = 100
"""Recipients between two looks at the queue."""
START = "0 "
"""The first position. A position is `<µs> <name>`, behind which a topic goes on, or, where recipients are named,
`<number> ` of the chunk of them that comes next.
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A run that this hub may work at now, from a position on; `started` in µs. Where recipients are named, `chunks` is
    how many chunks of them there are, and `recipients` the one that comes now.
    """

    id: str
    spec: Spec
    started: int
    position: str
    chunks: int
    recipients: list[UserFields]


class Runs:
    """The runs of all projects."""

    def __init__(self, engine: Engine, logs: Logs) -> None:
        self._engine = engine
        self._logs = logs

    async def start(
        self,
        project_id: str,
        run_id: str,
        spec: Spec,
        recipients: Sequence[UserFields],
        once: Idempotency | None = None,
    ) -> Answer | None:
        """Queues a run and tells all hubs; what was answered, where the same request did it before.

        Raises `Refused`: idempotency_key_reused; rate_limited when `QUEUE` runs are waiting.
        """
        idem, args = operands(once, keys.runs(project_id))
        chunks = [recipients[first : first + CHUNK] for first in range(0, len(recipients), CHUNK)]
        reply = await self._engine.run(
            "run_start",
            idem | {"queue": keys.runs(project_id), "run": keys.run(project_id, run_id)},
            args
            | {
                "id": run_id,
                "spec": spec.encode(),
                "position": START,
                "most": QUEUE,
                "idem_answer": once.answer if once else "",
            },
            [encode_recipients(chunk) for chunk in chunks],
        )
        if reply[0] != b"ok":
            return parse(reply)
        try:
            await self._engine.call("SPUBLISH", keys.CONTROL, f"{keys.RUN_NEWS}{project_id}")
        except Refused:  # it is queued; hubs look by themselves now and then
            pass
        return None

    async def take(self, project_id: str, lease_s: float) -> Taken | float | None:
        """The run that has waited longest, for `lease_s`; else the seconds until there may be one, or None."""
        queue = keys.runs(project_id)
        word, *rest = await self._engine.run("run_claim", {"queue": queue}, {"lease_us": int(lease_s * 1_000_000)})
        if word == b"none":
            return None
        if word == b"wait":
            return int(rest[0]) / 1_000_000
        run_id = text(rest[0])
        run = keys.run(project_id, run_id)
        spec, started, position, chunks = await self._engine.call("HMGET", run, "spec", "started", "position", "chunks")
        if position is None:  # done by another hub just now
            return 0.0
        named = await self._engine.call("HGET", run, f"chunk:{text(position).strip()}") if int(chunks) else None
        recipients = [] if named is None else decode_recipients(named)
        return Taken(run_id, decode_spec(spec), int(started), text(position), int(chunks), recipients)

    async def advance(self, project_id: str, run: Taken, behind: str, rows: Sequence[Row]) -> None:
        """Logs a chunk and lets the run go on behind it; an empty `behind` ends it, and its actor is forgotten."""
        log_keys, log_args, values, places = self._logs.operands(project_id, rows)
        await self._engine.run(
            "run_advance",
            log_keys
            | {
                "queue": keys.runs(project_id),
                "run": keys.run(project_id, run.id),
                "erased": keys.erased(project_id),
            },
            log_args
            | {
                "id": run.id,
                "before": run.position,
                "behind": behind,
                "spec": "" if behind else replace(run.spec, actor=None).encode(),
            },
            values,
            places,
        )

    async def specs(self, project_id: str, run_ids: Sequence[str]) -> dict[str, Spec]:
        """What was run, by run id; what is older than the log is missing."""
        ids = list(dict.fromkeys(run_ids))
        specs = await asyncio.gather(*(self._engine.call("HGET", keys.run(project_id, id_), "spec") for id_ in ids))
        return {run_id: decode_spec(spec) for run_id, spec in zip(ids, specs, strict=True) if spec is not None}
