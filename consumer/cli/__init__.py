"""The command `consumer`. Thin commands over the same functions that the service uses; data on stdout, words on stderr.

Exit codes: consumer/sysexits.py.
"""

from __future__ import annotations

import click

from consumer.cli.evaluate import evaluate
from consumer.cli.fleet import pause, resume, workers
from consumer.cli.local import demo, dev
from consumer.cli.once import poll, process
from consumer.cli.operate import audit, reconcile, run
from consumer.cli.people import cancel, retry, status, submit
from consumer.cli.show import replay, show
from consumer.cli.watch import watch
from consumer.cli.workflows import validate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="workflow-consumer")
def main() -> None:
    """Insert a row, get a valid workflow: the worker and its tools.

    Settings come from the environment or a .env file: SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY, OLLAMA_LOCAL_URL, …
    """


for command in (
    run, dev, demo,
    submit, status, watch, show, cancel, retry, process, poll,
    reconcile, audit, replay, workers, pause, resume,
    validate, evaluate,
):  # fmt: skip
    main.add_command(command)
