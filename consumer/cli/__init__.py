"""The command `consumer`. Thin commands over the same functions that the service uses; data on stdout, words on stderr.

Exit codes follow sysexits: 78 configuration, 69 unavailable, 66 no input, 65 bad data,
73 a file that cannot be written, 75 try again, 64 usage (click: 2).
"""

from __future__ import annotations

import click

from consumer.cli.doctor import doctor, health
from consumer.cli.evaluate import evaluate
from consumer.cli.fleet import pause, resume, workers
from consumer.cli.local import demo, dev
from consumer.cli.once import poll, process
from consumer.cli.operate import audit, reconcile, run
from consumer.cli.people import cancel, retry, status, submit
from consumer.cli.show import replay, show
from consumer.cli.workflows import validate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="workflow-consumer")
def main() -> None:
    """Insert a row, get a valid workflow: the worker and its tools.

    Settings come from the environment or a .env file: SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY, OLLAMA_LOCAL_URL, …
    """


for command in (
    run, dev, demo, submit, status, show, cancel, retry, process, poll, replay, reconcile, audit, workers, pause,
    resume, validate, evaluate, doctor, health,
):  # fmt: skip
    main.add_command(command)
