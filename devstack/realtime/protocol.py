"""Phoenix frames on the wire, protocol versions 1 and 2: text and binary, in and out. Used by `socket` and `channel`.

Rules: traces/realtime.md §1 "Envelope". A frame that is not one decodes to None: the real server ignores it silently.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

Version = Literal[1, 2]
VERSIONS: dict[str | None, Version] = {None: 1, "1.0.0": 1, "2.0.0": 2}
JSON_ENCODED = 1
_PLAIN = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_SORTED = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_PUSH, _BROADCAST, _HEADER = 3, 4, 7


@dataclass(frozen=True, slots=True)
class UserMessage:
    """A broadcast whose payload stays bytes: from a binary push, from HTTP for one event, or from the database."""

    event: str
    payload: bytes
    encoding: int = JSON_ENCODED
    meta: str = ""

    def as_json(self) -> str | None:
        """The payload of a version 1 frame; None when the bytes are not JSON, then version 1 gets nothing."""
        if self.encoding != JSON_ENCODED:
            return None
        meta = f'"meta":{self.meta},' if self.meta else ""
        return f'{{"event":{dumps(self.event)},{meta}"payload":{self.payload.decode()},"type":"broadcast"}}'

    def as_bytes(self, topic: str) -> bytes:
        """The binary frame of version 2 (type 4)."""
        parts = [topic.encode(), self.event.encode(), self.meta.encode()]
        return bytes([_BROADCAST, *map(len, parts), self.encoding]) + b"".join(parts) + self.payload


@dataclass(frozen=True, slots=True)
class Push:
    """What a client sent. `ref` and `join_ref` keep their JSON type, because replies echo them."""

    topic: str
    event: str
    payload: Any
    ref: Any = None
    join_ref: Any = None


def dumps(value: object, *, sort: bool = False) -> str:
    """Compact JSON; `sort` gives the key order of an Elixir map."""
    return (_SORTED if sort else _PLAIN).encode(value)


def decode(version: Version, raw: str | bytes) -> Push | None:
    """A client's frame, or None when it has to be ignored."""
    if isinstance(raw, bytes):
        return _decode_binary(raw) if version == 2 else None
    try:
        frame = json.loads(raw)
        if "\\u" in raw:
            dumps(frame).encode()  # a lone surrogate is not a character
    except (ValueError, RecursionError):
        return None
    return _from_object(frame) if version == 1 else _from_array(frame)


def encode(version: Version, topic: str, event: str, payload: str, *, ref: Any = None, join_ref: Any = None) -> str:
    """A server's text frame; `payload` is JSON text already. Version 1 never carries `join_ref`."""
    if version == 1:
        return f'{{"ref":{dumps(ref)},"event":{dumps(event)},"payload":{payload},"topic":{dumps(topic)}}}'
    return f"[{dumps(join_ref)},{dumps(ref)},{dumps(topic)},{dumps(event)},{payload}]"


def _from_object(frame: Any) -> Push | None:
    if not isinstance(frame, dict) or not {"topic", "event", "payload", "ref"} <= frame.keys():
        return None
    return _checked(Push(frame["topic"], frame["event"], frame["payload"], frame["ref"], frame.get("join_ref")))


def _from_array(frame: Any) -> Push | None:
    if not isinstance(frame, list) or len(frame) < 5:
        return None
    join_ref, ref, topic, event, payload = frame[:5]
    return _checked(Push(topic, event, payload, ref, join_ref))


def _checked(push: Push) -> Push | None:
    return push if isinstance(push.topic, str) and isinstance(push.event, str) else None


def _decode_binary(raw: bytes) -> Push | None:
    if len(raw) < _HEADER or raw[0] != _PUSH:
        return None
    parts, at = [], _HEADER
    for length in raw[1:6]:
        parts.append(raw[at : at + length])
        at += length
    if at > len(raw):
        return None
    try:
        join_ref, ref, topic, event, _metadata_of_the_client = (part.decode() for part in parts)
        if raw[6] == JSON_ENCODED:
            json.loads(raw[at:])
    except ValueError:
        return None
    return Push(topic, "broadcast", UserMessage(event, raw[at:], raw[6]), ref or None, join_ref or None)
