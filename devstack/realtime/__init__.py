"""A stand-in for Supabase Realtime v2.129.8 in front of the embedded PostgreSQL; mounted at /realtime/v1.

Real parts: WAL decoding, policies, grants and filters (all PostgreSQL's). Not there: presence beyond an empty
`presence_state`, replay on private channels, `send_binary`, longpoll, rate limits, several tenants, the minute tick
that notices a changed publication, and the idle clock does not see WebSocket pings. Wire rules: traces/realtime.md.
"""

from devstack.realtime.api import RealtimeApi

__all__ = ["RealtimeApi"]
