"""The doctor's looks at the project: its key, its database, the schema in it, the clocks. Called by `doctor`.

One answer of `inspect_workflow_schema` serves them all.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from statistics import median
from urllib.parse import urlsplit

from consumer.checkup import Finding, failed, ok, warning
from consumer.errors import StoreError
from consumer.inspection import APPLY, Defect, clock_defect, clock_off, defects
from consumer.keys import claims_of
from consumer.preflight import explained
from consumer.replies import Inspection
from consumer.settings import Settings
from consumer.store import Store
from consumer.sysexits import EX_CONFIG, EX_UNAVAILABLE

HOSTED = (".supabase.co", ".supabase.in")
ROUNDS = 5
_WRITABLE = "storage"


class DatabaseChecks:
    """Looks at the database of these settings through `store`; `reach` comes first."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._refusal: StoreError | None = None
        self._inspection: Inspection | None = None
        self._off = 0.0

    async def key(self) -> Finding:
        """What the key says about itself: the settings have checked its role."""
        key = self._settings.supabase_service_role_key.get_secret_value()
        claims = claims_of(key)
        if not claims:
            return ok("is a secret key (sb_secret_…)")
        host = urlsplit(self._settings.supabase_url).hostname or ""
        ref, ours = str(claims.get("ref", "")), host.partition(".")[0]
        if ref and host.endswith(HOSTED) and ref != ours:
            advice = "Copy the URL and the secret key of one project"
            return failed(f"is that of project {ref[:40]!r}, the URL that of {ours!r}", advice, EX_CONFIG)
        expires = claims.get("exp")
        if isinstance(expires, int | float) and expires < time.time():
            return failed("has expired", "Copy the project's secret key (sb_secret_…)", EX_CONFIG)
        return ok("is the service_role key")

    async def reach(self) -> Finding:
        """Whether the project answers this key, and how soon."""
        url = self._settings.supabase_url
        try:
            times = [await self._round() for _ in range(ROUNDS)]
        except StoreError as error:
            if error.code not in ("PGRST202", "42501"):
                raise explained(error, url) from error
            self._refusal = error
            return ok(f"{url} answers")
        return ok(f"{url} answers, round trip {median(times[1:]) * 1000:.0f} ms")

    async def schema(self) -> Finding:
        """Whether all that the migrations make is there."""
        if self._refusal is not None:
            raise explained(self._refusal, self._settings.supabase_url)
        found = self._found
        parts = [defect for defect in defects(found) if defect.part == "schema"]
        if parts:
            version = "nothing" if found.version is None else f"migration {found.version}"
            return failed(f"{parts[0].found}; complete up to {version}", APPLY, EX_CONFIG)
        return ok(f"complete up to migration {found.version}, PostgreSQL {found.server.split()[0]}")

    def part(self, name: str, well: str) -> Callable[[], Awaitable[Finding]]:
        """A look at one part of the schema: its worst defect, or that it is well."""

        async def look() -> Finding:
            found = [defect for defect in defects(self._found) if defect.part == name]
            worst = sorted(found, key=lambda defect: not defect.stops_work)
            return _from_defect(worst[0]) if worst else ok(well)

        return look

    async def storage(self) -> Finding:
        """Whether the database can be written, and how large it is."""
        size = f"writable, {self._found.bytes / 1e6:.0f} MB"
        return await self.part(_WRITABLE, size)()

    async def broadcast(self) -> Finding:
        """Whether the faster of the two doorbells is there."""
        if self._found.broadcasts:
            return ok("realtime.send is there: the faster doorbell rings")
        return warning("realtime.send is not there", "Jobs start up to a second later; upgrade the project's Realtime")

    async def clock(self) -> Finding:
        """This host's clock against the database's."""
        defect = clock_defect(self._off)
        if defect is not None:
            return _from_defect(defect)
        return ok("this host and the database agree")

    @property
    def _found(self) -> Inspection:
        assert self._inspection is not None, "reach() and schema() come first"
        return self._inspection

    async def _round(self) -> float:
        asked, began = time.time(), time.perf_counter()
        self._inspection = await self._store.inspect()
        self._off = clock_off(asked, time.time(), self._inspection.now)
        return time.perf_counter() - began


def _from_defect(defect: Defect) -> Finding:
    if not defect.stops_work:
        return warning(defect.found, defect.advice)
    return failed(defect.found, defect.advice, EX_UNAVAILABLE if defect.part == _WRITABLE else EX_CONFIG)
