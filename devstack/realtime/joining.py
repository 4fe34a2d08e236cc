"""A client's wish to join: reading its payload, and deciding. Used by `socket`.

Wrong types in `config` are tolerated as the real server does; refusals: traces/realtime.md §1 "Join".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devstack.realtime.access import Rights, rights
from devstack.realtime.bindings import binding_id
from devstack.realtime.channel import Channel
from devstack.realtime.protocol import Push
from devstack.realtime.tokens import TokenError

if TYPE_CHECKING:
    from devstack.realtime.socket import Socket

PREFIX = "realtime:"


class Refused(Exception):
    """The join is refused; the message is the `reason` of the reply."""


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """What a `phx_join` asks for."""

    push: Push
    token: str
    private: bool
    hears_itself: bool
    wants_ack: bool
    wants_feed_ready: bool
    wants_presence: bool
    old_api: bool
    bindings: tuple[dict[str, Any], ...]

    @property
    def topic(self) -> str:
        """The topic with its prefix."""
        return self.push.topic

    @property
    def name(self) -> str:
        """The topic without its prefix."""
        return self.push.topic.removeprefix(PREFIX)

    @property
    def response(self) -> dict[str, Any]:
        """The reply: each binding as sent, with its id first."""
        echoed = [{"id": binding_id(each), **dict(sorted(each.items()))} for each in self.bindings]
        return {"postgres_changes": echoed}


def read(push: Push, token_of_socket: str) -> JoinRequest:
    """The request in a push; without a usable `access_token` the socket's own token counts.

    Raises:
        Refused: no topic name, or a `config` that is not an object.
    """
    payload = push.payload if isinstance(push.payload, dict) else {}
    config = payload.get("config") or {}
    if push.topic == PREFIX:
        raise Refused("TopicNameRequired: You must provide a topic name")
    if not isinstance(config, dict):
        raise Refused("UnknownErrorOnChannel: no function clause matching in Access.get/3")
    broadcast, presence = (_object(config.get(key)) for key in ("broadcast", "presence"))
    private = config.get("private") is True
    if _object(broadcast.get("replay")) and not private:
        raise Refused("UnableToReplayMessages: Replay is not allowed for public channels")
    token = payload.get("access_token")
    own = isinstance(token, str) and not token.startswith("sb_")
    old_api = "config" not in payload
    return JoinRequest(
        push, str(token) if own else token_of_socket, private,
        hears_itself=broadcast.get("self") is True,
        wants_ack=broadcast.get("ack") is True,
        wants_feed_ready=broadcast.get("replication_ready") is True,
        wants_presence=presence.get("enabled") is True,
        old_api=old_api,
        bindings=_from_topic(push.topic) if old_api else _bindings(config.get("postgres_changes")),
    )  # fmt: skip


async def admit(socket: Socket, request: JoinRequest) -> Channel:
    """The channel, not yet open.

    Raises:
        Refused: the token is bad, or no policy lets its role read the private topic.
    """
    try:
        identity = socket.stack.verify(request.token)
    except TokenError as error:
        raise Refused(error.join) from error
    allowed = Rights(read=True, write=True)
    if request.private:
        allowed = await rights(socket.stack.caller, identity, request.name)
    if not allowed.read:
        raise Refused(f"Unauthorized: You do not have permissions to read from this Channel topic: {request.name}")
    return Channel(socket, request, identity, allowed)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _bindings(value: object) -> tuple[dict[str, Any], ...]:
    return tuple(each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()


def _from_topic(topic: str) -> tuple[dict[str, Any], ...]:
    """The API before `config`: `realtime:schema:table:filter`."""
    parts = topic.removeprefix(PREFIX).split(":", 2)
    return (dict(zip(("schema", "table", "filter"), parts, strict=False)),)
