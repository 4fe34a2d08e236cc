"""Who is where: all open sockets, all joined channels by topic, and two fault switches. One per `RealtimeApi`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from devstack.realtime.protocol import UserMessage

if TYPE_CHECKING:
    from devstack.realtime.channel import Channel
    from devstack.realtime.socket import Socket

Message = str | UserMessage  # a JSON payload, or one that stays bytes


class Hub:
    """A public and a private channel of one name are two topics."""

    def __init__(self) -> None:
        self.sockets: set[Socket] = set()
        self.deaf_to_changes = self.deaf_to_broadcasts = False
        self._channels: dict[tuple[str, bool], dict[Channel, None]] = {}

    def add(self, channel: Channel) -> None:
        """From now on the channel gets the broadcasts of its topic."""
        self._channels.setdefault((channel.topic, channel.private), {})[channel] = None

    def remove(self, channel: Channel) -> None:
        """No more broadcasts; removing twice is harmless."""
        members = self._channels.get((channel.topic, channel.private), {})
        members.pop(channel, None)
        if not members:
            self._channels.pop((channel.topic, channel.private), None)

    def broadcast(self, topic: str, private: bool, message: Message, *, sender: Channel | None = None) -> None:
        """Send to everybody on the topic (with its prefix), to the sender only when it asked for that."""
        for channel in self._members(topic, private):
            if channel is not sender or channel.hears_itself:
                channel.deliver(message)

    def _members(self, topic: str, private: bool) -> Iterator[Channel]:
        return iter(list(self._channels.get((topic, private), {})))
