"""The operations guide names what exists: headings, error codes, exit codes, alerts, files, settings and links."""

from __future__ import annotations

import re

import pytest

from consumer import sysexits
from consumer.errors import ErrorCode
from consumer.settings import Settings
from tests.conftest import ROOT

PATH = ROOT / "docs" / "operations.md"
GUIDE = PATH.read_text()
SYMPTOMS = ["Worker not processing jobs", "Jobs stuck in pending", "Ollama timeouts"]
# Variables in capitals that are not ours.
OTHERS = {"OLLAMA_MAX_QUEUE", "ENV_FILE", "JOB_ID", "NAME"}


def anchors() -> set[str]:
    """As the forge makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", GUIDE, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_user_finds_the_heading_of_the_symptom() -> None:
    assert [line[3:] for line in GUIDE.splitlines() if line[3:] in SYMPTOMS and line.startswith("## ")] == SYMPTOMS


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_error_code_has_a_row_that_says_what_to_do(code: ErrorCode) -> None:
    (row,) = [line for line in GUIDE.splitlines() if line.startswith(f"| `{code}` |")]
    assert len([cell for cell in row.strip("|").split("|") if cell.strip()]) == 4


def test_every_exit_code_has_a_row() -> None:
    rows = set(re.findall(r"^\| (\d+)(?: [^|]*)? \| ", GUIDE, re.MULTILINE))
    assert {str(value) for name, value in vars(sysexits).items() if name.startswith("EX_")} <= rows


def test_every_alert_is_in_it_and_none_that_is_not() -> None:
    rules = "".join(file.read_text() for file in (ROOT / "deploy").glob("prometheus/alerts.yml"))
    alerts = set(re.findall(r"^ *- alert: (\w+)", rules, re.MULTILINE))
    assert not rules or alerts == set(re.findall(r"`(Workflow\w+)`", GUIDE))


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", GUIDE):
        file, _, anchor = target.partition("#")
        assert anchor in anchors() if not file else (PATH.parent / file).exists(), target


def test_every_setting_that_it_names_exists() -> None:
    named = set(re.findall(r"\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b", GUIDE))
    settings = {name.upper() for name in Settings.model_fields}
    assert named - settings - set(ErrorCode) - OTHERS == set()
