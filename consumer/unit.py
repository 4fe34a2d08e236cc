"""The text of the systemd unit, for one worker or as a template for several. Called by the command `unit`.

`deploy/*.service` hold what it says for the paths of `deploy/install`; a test keeps them equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

ENV_FILE = Path("/etc/workflow-consumer/env")
KEY_FILE = Path("/etc/workflow-consumer/SUPABASE_SERVICE_ROLE_KEY")
# What ProtectHome=yes hides: nothing in there could be started.
HOMES = ("/home", "/root", "/run/user")


@dataclass(frozen=True, slots=True)
class Unit:
    """What differs from one installation to the next. `needed`: the folders that the program must be able to read."""

    program: Path
    needed: tuple[Path, ...] = ()
    env_file: Path = ENV_FILE
    key_file: Path = KEY_FILE
    user: str | None = None
    template: bool = False

    def text(self) -> str:
        """The unit file. The template's instance is `%i`: it names the worker, and `<env file>.%i` is its own."""
        return Template(files("consumer").joinpath("workflow-consumer.service.in").read_text("utf-8")).substitute(
            title=self._title,
            description="Workflow consumer" + (" %i" if self.template else ""),
            program=self.program,
            environment="\n".join(self._environment()),
            key_file=self.key_file,
            user=f"User={self.user}" if self.user else "DynamicUser=yes",
            protect_home="read-only" if self._at_home else "yes",
        )

    @property
    def _title(self) -> str:
        if not self.template:
            return "systemd unit for one worker: workflow-consumer.service"
        return "systemd template for several workers: workflow-consumer@.service, started as workflow-consumer@1"

    def _environment(self) -> list[str]:
        if not self.template:
            return [f"EnvironmentFile={self.env_file}"]
        return [
            "# WORKER_ID is to be set in the worker's own file only, HTTP_LISTEN too, with a port of its own.",
            "Environment=WORKER_ID=%l-%i",
            f"EnvironmentFile={self.env_file}",
            f"EnvironmentFile=-{self.env_file}.%i",
        ]

    @property
    def _at_home(self) -> bool:
        return any(path.is_relative_to(home) for path in (self.program, *self.needed) for home in HOMES)
