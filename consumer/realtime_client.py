"""What the package `realtime` 2.34.1 does not do by itself: stay quiet, and end without leaving anything behind.

Called by the session. Its private names are touched here and nowhere else, and only if they are there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from loguru import logger
from realtime import AsyncRealtimeChannel, AsyncRealtimeClient

# These print frames (a user's prompt) at ERROR and the URL (the key) at DEBUG or inside an error's text.
_LOUD = ("realtime._async.client", "realtime._async.channel", "realtime._async.timer", "websockets.client")
_UNREADABLE = "Unrecognized message format"
_on_unreadable: ContextVar[Callable[[], None] | None] = ContextVar("on_unreadable", default=None)


def new_client(url: str, key: str) -> AsyncRealtimeClient:
    """A client that tries once and never reconnects; `url` ends in `/realtime/v1` (facts/realtime.md §4 rule 1)."""
    return AsyncRealtimeClient(url, key, auto_reconnect=False, max_retries=1, initial_backoff=1)


def hush(on_unreadable: Callable[[], None]) -> None:
    """Silence the libraries' logs for everything the current task starts from now on.

    `on_unreadable` is called for each frame that the client drops because it cannot read it: a change without
    permission on its row, or a `system` frame without a channel (bug B7). Their log line is the only trace of them.
    """
    _on_unreadable.set(on_unreadable)
    for name in _LOUD:
        logging.getLogger(name).addFilter(_HUSH)


def client_tasks(client: AsyncRealtimeClient) -> list[asyncio.Task[Any]]:
    """The client's reader and heartbeat, as far as they run."""
    tasks = (getattr(client, name, None) for name in ("_listen_task", "_heartbeat_task"))
    return [task for task in tasks if task is not None]


def abandon(client: AsyncRealtimeClient, channel: AsyncRealtimeChannel) -> None:
    """Forget a channel without a word to the server, with its rejoin timer and the clocks of unanswered pushes."""
    if client.channels.get(channel.topic) is channel:
        del client.channels[channel.topic]
    channel.rejoin_timer.reset()
    for push in (channel.join_push, *channel.messages_waiting_for_ack.values()):
        push.destroy()
    _cancel(getattr(channel, "_background_tasks", ()))


async def close_client(client: AsyncRealtimeClient, seconds: float) -> None:
    """Close the socket, politely for `seconds`, then by force; afterwards nothing of the client is left running."""
    connection = getattr(client, "_ws_connection", None)
    for channel in list(client.channels.values()):
        abandon(client, channel)
    try:
        async with asyncio.timeout(seconds):
            await client.close()
    except Exception as error:
        logger.debug("a Realtime socket did not close by itself: {}", type(error).__name__)
    finally:
        _cancel(client_tasks(client))
        if connection is not None:
            connection.transport.abort()


def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in list(tasks):
        task.cancel()


class _Hush(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        on_unreadable = _on_unreadable.get()
        if on_unreadable is not None and str(record.msg).startswith(_UNREADABLE):
            on_unreadable()
        return on_unreadable is None


_HUSH = _Hush()
