"""What sockets and channels share: settings, keys, database sessions, capture, feed. Made by `RealtimeApi`."""

from __future__ import annotations

from dataclasses import dataclass

from devstack.keys import Keys
from devstack.realtime.capture import Capture
from devstack.realtime.database import Session
from devstack.realtime.feed import Feed
from devstack.realtime.hub import Hub
from devstack.realtime.tokens import Identity, verify


@dataclass(frozen=True, slots=True)
class Stack:
    """One per gateway. Times in seconds; `caller` is the session of the login role `authenticator`."""

    keys: Keys
    hub: Hub
    caller: Session
    capture: Capture
    feed: Feed
    handshake_delay: float
    join_error_delay: float
    idle_timeout: float
    resubscribe_delay: tuple[float, float]

    def verify(self, token: str) -> Identity:
        """Who a token speaks for; raises TokenError."""
        return verify(token, self.keys.jwt_secret)
