"""`python -m tests.bench.fanout`: a run for a large topic, and what it does to other sends of the same hub.

There is no reference for this: the latency of sends during the run stands beside that of the same hub before it.
"""

import argparse
import asyncio
import json
import sys
import time
from functools import lru_cache

import httpx2

from hub import keys
from hub.keys import User
from hub.projects import DEFAULT
from tests.bench.load import run
from tests.bench.processes import HUB, Cores, ServerProcess, cpu_us, pin, raise_file_limit, rss_kib
from tests.bench.scenarios import Bed, Figure, Size, latency
from tests.harness import Doors, RedisServer, set_up, subscribed

TOPIC = "everybody"


async def start(bed: Bed) -> None:
    """Runs a notiflow for the topic."""
    headers = {"x-notiflows-api-key": bed.api_key, "x-notiflows-secret-key": bed.secret}
    definition = {"template": {"title": "Hello {{ recipient.external_id }}", "body": "News about {{ data.what }}"}}
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{bed.server.port}/admin/v1", headers=headers) as http:
        (await http.put("/notiflows/news", json=definition)).raise_for_status()
        (await http.post("/notiflows/news/run", json={"topic": TOPIC, "data": {"what": "bells"}})).raise_for_status()


def wrong(redis: RedisServer, users: list[User]) -> list[str]:
    """Recipients that have not exactly one entry, and what they have."""
    pipe = redis.client.pipeline(transaction=False)
    for user in users:
        pipe.xrange(user.feed("inbox").key("log"))
    return [f"{user.name}: {events}" for user, events in zip(users, pipe.execute(), strict=True) if len(events) != 1]


async def bench(asked: argparse.Namespace, cores: Cores) -> int:
    """Prints the figures; 1 where a recipient has not exactly one entry."""
    redis = RedisServer(aof=asked.aof)
    try:
        api_key, secret = await set_up(redis.url)
        users = subscribed(redis, TOPIC, asked.recipients)
        assert redis.process is not None
        server = ServerProcess.hub(HUB, redis.url, cores.server)
        try:
            await server.ready()
            bed = Bed(server, redis.process.pid, api_key, secret, lru_cache(maxsize=None)(Doors().token))
            size = Size(seconds=asked.seconds, rate=asked.rate)
            alone = (await latency(bed, size)).figures
            memory = rss_kib(server.pid)
            await start(bed)
            began = time.perf_counter()
            beside = (await latency(bed, size)).figures
            cpu, done = cpu_us(server.pid), redis.client.hlen(keys.log_rows(DEFAULT))
            still_on = redis.client.zcard(keys.runs(DEFAULT)) == 1
            while redis.client.zcard(keys.runs(DEFAULT)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            seconds = time.perf_counter() - began
            spent, rest = cpu_us(server.pid), redis.client.hlen(keys.log_rows(DEFAULT)) - done
            grown = None if memory is None else (rss_kib(server.pid) or memory) - memory
        finally:
            server.stop()
        bad = wrong(redis, users)
        log = redis.client.hgetall(keys.log_rows(DEFAULT))
    finally:
        redis.remove()
    rows = [Figure(f"fan-out to {asked.recipients:,} of a topic", asked.recipients / seconds, "recipients/s")]
    cost = None if cpu is None or spent is None or not rest else (spent - cpu) / rest
    rows.append(Figure("of that, CPU of the server when nothing else was sent", cost, "µs/recipient"))
    rows += [Figure(f"{figure.name}, before", figure.value, figure.unit) for figure in alone]
    rows += [Figure(f"{figure.name}, meanwhile", figure.value, figure.unit) for figure in beside]
    before, meanwhile = alone[1].value, beside[1].value
    rows.append(Figure("p99 meanwhile ÷ p99 before", meanwhile / before if before and meanwhile else None, ""))
    rows.append(Figure("memory of the hub, growth", None if grown is None else grown / 1024, "MiB"))
    rows.append(Figure("recipients without exactly one entry", len(bad), ""))
    for row in rows:
        print(f"{row.name:<76} {'–' if row.value is None else f'{row.value:,.2f}':>12}  {row.unit}")
    if not still_on:
        print("warning: the run was over before the sends beside it were", file=sys.stderr)
    for one in bad[:10]:
        logged = [row for row in log.values() if json.loads(row)[0] == one.partition(":")[0]]
        print(f"wrong: {one}, in the log: {logged}", file=sys.stderr)
    return 1 if bad else 0


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.bench.fanout", description=__doc__.splitlines()[0])
    parser.add_argument("--recipients", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=100, help="sends a second beside the run")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for which sends are measured, twice")
    parser.add_argument("--aof", action="store_true", help="Redis keeps an append-only file, appendfsync always")
    return parser.parse_args(argv)


if __name__ == "__main__":
    apart = Cores.apart()
    pin(0, apart.rest)
    raise_file_limit()
    sys.exit(run(bench(arguments(sys.argv[1:]), apart)))
