"""A hub process that also publishes by itself what a `PipeDoor` asks for: `Store.publish` without HTTP.

`python -m tests.bench.engine`, with the hub's settings in the environment.
"""

import asyncio
import logging
import sys

from hub.app import Hub
from hub.keys import User
from hub.projects import DEFAULT
from hub.sending import entry_body, new_entry_id, read_sending
from hub.server import serve
from hub.settings import Settings
from tests.bench.load import notification, read_pipe_door

log = logging.getLogger("bellhub.bench")


class Publisher:
    """Publishes entries of one form into any user's `inbox`, as many at once as it is asked for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._ready = entry_body("@id", read_sending(notification("-", 0)))
        self._under_way: set[asyncio.Task[None]] = set()

    def send(self, user: str, number: int) -> None:
        task = asyncio.create_task(self._publish(user, number))
        self._under_way.add(task)
        task.add_done_callback(self._published)

    async def _publish(self, user: str, number: int) -> None:
        entry_id = new_entry_id()
        body = self._ready.replace("@id", entry_id).replace('"n":0', f'"n":{number}')
        await self._hub.store.publish(User(DEFAULT, user).feed("inbox"), entry_id, body, topic="order-updates")

    def _published(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if task.exception() is not None:
            log.error("bench.publish_failed", exc_info=task.exception())
            self._hub.failed.set()


def main() -> int:
    settings = Settings()
    hub = Hub(settings)
    publisher = Publisher(hub)
    return serve(hub, settings, lambda port: read_pipe_door(publisher.send))


if __name__ == "__main__":
    sys.exit(main())
