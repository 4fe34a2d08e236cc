"""The REST half of the embedded stack: answers as PostgREST 14.17 does, in front of the real PostgreSQL.

Called by `devstack.gateway`. In scope: functions, and reads and writes of single tables; what the recordings in
tests/recordings/postgrest show of these is replayed by the tests.

Differences that are meant:
- 40001 and 40P01 come out as 500, as in PostgREST 16.2; 14.17 retries them for ever.
- After an outage it recovers on the next request, and the schema cache is kept meanwhile (16.2, too).
- A pool connection that died while idle is replaced, at worst after one 503 PGRST001; the real server says 57P01.
- The reason phrase is always the standard one: a `PTnnn` message never reaches the status line. Statuses outside
  200..599 that SQL code asks for become 500.
- Parse errors (PGRST100) name the same parameter and text, not always the same column and expectation.
- count=planned and count=estimated count exactly. Preferences timezone= and tx= are unknown here.
- Related tables are not joined (PGRST200 with a hint), PUT and EXPLAIN are not there, CSV goes out but not in, single
  unnamed bytea parameters are not called, nulls=stripped is not offered; the OpenAPI root only lists paths.
- JSON nested deeper than Python recurses (about 1,000 levels) is refused as 54001; the real limit is PostgreSQL's.
"""

from devstack.rest.api import RestApi

__all__ = ["RestApi"]
