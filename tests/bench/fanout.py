"""`python -m tests.bench.fanout`: a run for a large topic, and what it does to other sends of the same hub.

There is no reference for this: the latency of sends during the run stands beside that of the same hub before it.
"""

import argparse
import asyncio
import sys
import time
from functools import lru_cache

import httpx2

from hub import keys
from hub.projects import DEFAULT
from tests.bench.load import run
from tests.bench.processes import HUB, Cores, ServerProcess, pin, raise_file_limit, rss_kib
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


def wrong(redis: RedisServer, feeds: list[str]) -> int:
    """Recipients that have not exactly one entry."""
    pipe = redis.client.pipeline(transaction=False)
    for feed in feeds:
        pipe.xlen(feed)
    return sum(events != 1 for events in pipe.execute())


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
            still_on = redis.client.zcard(keys.runs(DEFAULT)) == 1
            while redis.client.zcard(keys.runs(DEFAULT)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            seconds = time.perf_counter() - began
            grown = None if memory is None else (rss_kib(server.pid) or memory) - memory
        finally:
            server.stop()
        bad = wrong(redis, [user.feed("inbox").key("log") for user in users])
    finally:
        redis.remove()
    rows = [Figure(f"fan-out to {asked.recipients:,} of a topic", asked.recipients / seconds, "recipients/s")]
    rows += [Figure(f"{figure.name}, before", figure.value, figure.unit) for figure in alone]
    rows += [Figure(f"{figure.name}, meanwhile", figure.value, figure.unit) for figure in beside]
    before, meanwhile = alone[1].value, beside[1].value
    rows.append(Figure("p99 meanwhile ÷ p99 before", meanwhile / before if before and meanwhile else None, ""))
    rows.append(Figure("memory of the hub, growth", None if grown is None else grown / 1024, "MiB"))
    rows.append(Figure("recipients without exactly one entry", bad, ""))
    for row in rows:
        print(f"{row.name:<76} {'–' if row.value is None else f'{row.value:,.2f}':>12}  {row.unit}")
    if not still_on:
        print("warning: the run was over before the sends beside it were", file=sys.stderr)
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
