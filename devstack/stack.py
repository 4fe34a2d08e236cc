"""The embedded default as one thing: PostgreSQL, the gateway, the model server, our migrations, keys that stay.

Called by `consumer dev`, `consumer demo`, the tests and the benchmarks.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from devstack.errors import DevStackError
from devstack.gateway import Gateway
from devstack.keys import Keys
from devstack.model import ModelServer
from devstack.postgres import Postgres
from devstack.realtime import RealtimeApi

ROOT = Path(__file__).parents[1]
# In a wheel they lie inside this package (pyproject.toml, force-include).
MIGRATIONS = next(filter(Path.is_dir, (ROOT / "sql_migrations", Path(__file__).parent / "sql_migrations")))
# The Supabase CLI's own table; the versions are those of the links in supabase/migrations/.
_TRACKING = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
  version text primary key, statements text[], name text
);
"""


def default_home() -> Path:
    """The data folder: `.dev` in the project; for root, whose folders PostgreSQL's user cannot enter, in /var/tmp."""
    if os.geteuid() != 0:
        return ROOT / ".dev" if (ROOT / "pyproject.toml").exists() else Path.home() / ".cache" / "workflow-consumer-dev"
    return Path("/var/tmp") / f"workflow-consumer-dev-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]}"


class DevStack:
    """A whole Supabase project and a model server on loopback. `home` None: temporary, removed at the end.

    `ollama_url` names a model server that is already there; without it the embedded one is started (unless
    `with_model` is False). `realtime` holds options of `RealtimeApi`.
    """

    def __init__(
        self, home: Path | None = None, *, port: int = 0, ollama_url: str | None = None, with_model: bool = True,
        realtime: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._temporary = home is None
        self.home = home or Path(tempfile.mkdtemp(prefix="workflow-dev-", dir="/var/tmp"))
        self._port = port
        self._lock: IO[str] | None = None
        self._realtime_options = dict(realtime or {})
        self._ollama_url = ollama_url
        self.model = ModelServer() if with_model and ollama_url is None else None

    @property
    def url(self) -> str:
        """The project's URL (SUPABASE_URL)."""
        return self.gateway.url

    @property
    def ollama_url(self) -> str:
        """The model server's URL (OLLAMA_LOCAL_URL)."""
        return self._ollama_url or (self.model.url if self.model else "")

    @property
    def env(self) -> dict[str, str]:
        """What `consumer run` needs to work against this stack."""
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_SERVICE_ROLE_KEY": self.keys.secret,
            "SUPABASE_ANON_KEY": self.keys.publishable,
            "OLLAMA_LOCAL_URL": self.ollama_url,
            "DATABASE_URL": self.postgres.url(),
        }

    async def start(self) -> Self:
        """Start everything; the second time on the same home takes about a second.

        Raises:
            DevStackError: the folder is in use or not writable, a port is taken, the disk is full.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.home / "lock")
            self.keys = _stored_keys(self.home / "keys.json")
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise DevStackError(
                f"cannot use the data folder {self.home}: {reason}. Choose another with --home."
            ) from error
        try:
            await self._start_servers()
        except BaseException:
            await self.stop()
            raise
        return self

    async def _start_servers(self) -> None:
        self.postgres = Postgres(self.home / "pgdata")
        # Not in a thread: the kernel ends the server with the thread that started it (devstack/postgres.py).
        self.postgres.start()
        apply_migrations(self.postgres)
        self.realtime = RealtimeApi(self.postgres.url, self.keys, **self._realtime_options)
        self.gateway = Gateway(self.postgres.url, self.keys, port=self._port, realtime=self.realtime)
        await self.gateway.start()
        if self.model is not None:
            await self.model.start()

    async def stop(self) -> None:
        """Stop everything that was started, in the reverse order."""
        if self.model is not None:
            await self.model.stop()
        if hasattr(self, "gateway"):
            await self.gateway.stop()
        if hasattr(self, "postgres"):
            await asyncio.to_thread(self.postgres.stop)
        if self._lock is not None:
            self._lock.close()
        if self._temporary:
            shutil.rmtree(self.home, ignore_errors=True)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    def user(self, email: str = "demo@example.com") -> tuple[str, str]:
        """Sign a user up, or in again: (user id, access token valid for an hour)."""
        quoted = email.replace("'", "''")
        user_id = self.postgres.psql(
            f"insert into auth.users (email) values ('{quoted}') "  # noqa: S608  # quoted above; psql binds no values
            "on conflict (email) do update set email = excluded.email returning id",
            user="supabase_admin",
        )
        return user_id, self.keys.user_token(user_id, email=email)


def apply_migrations(server: Postgres) -> list[str]:
    """Apply the migrations that are not yet recorded, as the Supabase CLI records them; returns their names.

    Raises:
        DevStackError: one that is recorded was another text then: the data are of another version of this program.
    """
    server.psql(_TRACKING)
    records = server.psql(
        "select version || ' ' || coalesce(statements[1], '') from supabase_migrations.schema_migrations"
    )
    known = {version: digest for version, _, digest in (record.partition(" ") for record in records.splitlines())}
    scripts = sorted(MIGRATIONS.glob("*.sql"))
    for script in scripts:
        if known.get(_version(script), _digest(script)) != _digest(script):
            raise DevStackError(
                f"the data folder {server.data.parent} was made with another version of {script.name}. "
                f"It holds development data only: rm -r {server.data.parent}, or choose another with --home."
            )
    new = [script for script in scripts if _version(script) not in known]
    for script in new:
        values = f"('{_version(script)}', array['{_digest(script)}'], '{script.stem.partition('_')[2]}')"
        record = f"insert into supabase_migrations.schema_migrations (version, statements, name) values {values};"  # noqa: S608
        server.psql(f"begin;\n{script.read_text()}\n{record}\ncommit;")
    return [script.name for script in new]


def _digest(script: Path) -> str:
    return f"sha256:{hashlib.sha256(script.read_bytes()).hexdigest()}"


def _version(script: Path) -> str:
    return f"20260101{int(script.name.partition('_')[0]):06}"


def _locked(path: Path) -> IO[str]:
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise DevStackError(
            f"another dev stack uses the data folder {path.parent}. Stop it, or choose another with --home."
        ) from error
    return lock


def _stored_keys(path: Path) -> Keys:
    """The keys of this data folder: made once, so that a `.env` written from them stays true."""
    if not path.exists():
        draft = path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(Keys.fresh())))
        draft.replace(path)
    try:
        return Keys(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise DevStackError(f"{path} is damaged. Remove it; the next start makes new keys.") from error
