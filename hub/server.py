"""uvicorn, as the hub runs it: logs as events with fields, sockets without hidden queues, an orderly end."""

import asyncio
import gc
import json
import logging
import logging.config
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import uvicorn

from hub.app import Hub, create_app
from hub.frames import TRANSPORT_BYTES
from hub.settings import Settings

SEND_BUFFER = 128 * 1024
"""Bytes the kernel keeps for a slow reader; its own tuning would hide megabytes."""
UNACKED_MS = 30_000
"""A peer that acknowledges nothing for so long is gone."""
YOUNG = 10_000
"""New objects before Python looks for garbage among them; its own 700 are less than requests under way hold."""
LEAVE_S = 8
"""Time that open requests and sockets are given when the hub ends; container runtimes kill after 10."""


class Fields(logging.Formatter):
    """One line per event: time, level, event, then its fields as `name=value`."""

    _own = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        at = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        fields = "".join(
            f" {name}={json.dumps(value, default=str)}" for name, value in vars(record).items() if name not in self._own
        )
        line = f"{at} {record.levelname.lower()} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


_CLIENTS_FAULTS = ("Invalid UTF-8 sequence", "ASGI callable returned without completing handshake")
"""What uvicorn logs as errors although any client can cause it; each was answered as the protocol says."""


def _ours(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_CLIENTS_FAULTS)


def logging_config(level: str) -> dict[str, Any]:
    quiet = {"level": "WARNING", "handlers": ["out"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"fields": {"()": Fields}},
        "filters": {"ours": {"()": lambda: _ours}},
        "handlers": {
            "out": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "fields",
                "filters": ["ours"],
            }
        },
        "root": {"level": "WARNING", "handlers": ["out"]},
        "loggers": {
            "bellhub": {"level": level.upper(), "handlers": ["out"], "propagate": False},
            # Its lines on accepted sockets print whole addresses.
            "uvicorn": quiet,
        },
    }


class Server(uvicorn.Server):
    """Starts the hub before it listens; at the end says `bye` to every session before uvicorn closes their sockets.

    Ends by itself when the hub has failed.
    """

    def __init__(self, config: uvicorn.Config, hub: Hub, started: Callable[[int], None]) -> None:
        super().__init__(config)
        self._hub = hub
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        starting = asyncio.create_task(self._hub.start())
        while not starting.done():  # a signal ends the wait for a store that does not come, too
            await asyncio.wait({starting}, timeout=0.1)
            if self.should_exit:
                starting.cancel()
                await asyncio.wait({starting})
        if starting.cancelled():
            return
        await starting
        await super().startup(sockets)
        if self.started and sockets:
            self._watch = asyncio.create_task(self._end_when_failed())
            self._started(sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listening in self.servers:  # whoever comes back now must find another hub, or the next one here
            listening.close()
        self._hub.registry.drain()
        end = time.monotonic() + LEAVE_S
        while not self._hub.registry.empty and time.monotonic() < end:  # noqa: ASYNC110  (once in a life)
            await asyncio.sleep(0.02)
        self.config.timeout_graceful_shutdown = max(1, round(end - time.monotonic()))
        await super().shutdown(sockets)
        self._watch.cancel()
        await self._hub.stop()

    async def _end_when_failed(self) -> None:
        await self._hub.failed.wait()
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket whose connections hide little. Raises OSError naming the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio switches Nagle's algorithm off only then: it would hold small frames back for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKED_MS)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listener


def serve(hub: Hub, settings: Settings, started: Callable[[int], None]) -> int:
    """Runs until a signal or a failure; the exit code. `started` is told the port. Raises what hinders the start."""
    logging.config.dictConfig(logging_config(settings.log_level))
    gc.set_threshold(YOUNG)
    listener = listen(settings.host, settings.port)
    config = uvicorn.Config(
        create_app(hub),
        ws="websockets-sansio",
        ws_max_size=TRANSPORT_BYTES,
        ws_ping_interval=None,  # the hub pings; browsers cannot see the protocol's own pings
        ws_per_message_deflate=False,
        access_log=False,
        log_config=None,
        lifespan="off",  # `Server` starts the hub, so that its errors reach the caller
        timeout_graceful_shutdown=LEAVE_S,
        server_header=False,
    )
    server = Server(config, hub, started)
    # uvicorn raises the signal that ended it once more, to the handler it found: an orderly end is no failure.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    return 1 if hub.failed.is_set() else 0
