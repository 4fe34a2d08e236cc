"""The catalogue holds what contract §6 lists, and a user's own catalogue is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from consumer.errors import ConfigurationError
from consumer.job import Job
from consumer.ports import CodeStep
from handlers.registry import handler_for
from schemas.catalog import STALE, Catalog
from schemas.rules_nodes import well_typed
from schemas.validator import validate_workflow

CATALOG = Catalog.load()

# contract §6
COUNTS = {
    "triggers": 8,
    "logic": 19,
    "data": 16,
    "google": 8,
    "ai": 39,
    "http_api": 3,
    "output": 14,
    "database": 11,
    "storage": 14,
    "utility": 8,
    "crm": 12,
    "devops": 13,
    "social_media": 6,
    "productivity": 12,
    "authentication": 6,
    "payment": 10,
    "ecommerce": 4,
    "analytics": 10,
}


def required(name: str) -> list[str]:
    return [field.name for field in CATALOG[name].fields if field.required]


def test_all_types_of_the_contract_are_there() -> None:
    counts: dict[str, int] = {}
    for node in CATALOG:
        counts[node.category] = counts.get(node.category, 0) + 1
    assert counts == COUNTS
    assert len(CATALOG) == 213


def test_exactly_the_types_of_the_category_triggers_are_triggers() -> None:
    assert set(CATALOG.triggers) == {node.name for node in CATALOG if node.category == "triggers"}
    assert len(CATALOG.triggers) == 8


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("schedule", ["time", "timezone"]),
        ("aws_s3", ["accessKeyId", "secretAccessKey", "region", "bucket", "operation"]),
        ("jira", ["apiToken", "email", "domain", "operation"]),
        ("human_approval", ["approvers", "approvalType", "timeout", "defaultAction"]),
        ("merge", []),
        ("form", ["formTitle", "formDescription", "fields", "submitButtonText", "successMessage", "redirectUrl"]),
    ],
)
def test_required_fields_are_those_of_the_contract(name: str, fields: list[str]) -> None:
    assert required(name) == fields


@pytest.mark.parametrize(
    ("name", "operation", "fields"),
    [
        ("google_gmail", "send", {"to", "subject", "body"}),
        ("google_gmail", "get", {"messageId"}),
        ("google_calendar", "update", {"summary", "startTime", "endTime", "eventId"}),
        ("database_write", "upsert", {"matchColumn"}),
        ("redis", "set", {"value"}),
        ("minio", "put", {"key", "content"}),
        ("supabase", "query", {"query"}),
    ],
)
def test_what_an_operation_needs_beside(name: str, operation: str, fields: set[str]) -> None:
    config = {"operation": operation}
    assert {field.name for field in CATALOG[name].fields if field.when and field.needed(config)} == fields


def test_secrets_are_credentials_and_google_nodes_need_none() -> None:
    for name in ("apiKey", "webhookUrl", "accessToken", "clientSecret", "password", "botToken", "secretKey"):
        owners = [field for node in CATALOG for field in node.fields if field.name == name]
        assert owners and all(field.credential for field in owners), name
    for node in CATALOG:
        if node.category == "google":
            assert not any(field.credential for field in node.fields), node.name


def test_defaults_fit_their_fields() -> None:
    for node in CATALOG:
        for field in node.fields:
            if field.default is not None:
                assert well_typed(field, field.default), (node.name, field.name)
                assert not field.options or field.default in field.options


def test_every_type_has_a_purpose_and_unique_fields() -> None:
    for node in CATALOG:
        names = [field.name for field in node.fields]
        assert node.purpose and len(set(names)) == len(names), node.name


def test_stale_names_lead_to_types_that_exist() -> None:
    assert all(name in CATALOG for name, _ in STALE.values())
    assert not any(name in CATALOG for name in STALE)


def own_file(folder: Path, *types: Mapping[str, object]) -> Path:
    path = folder / "own.json"
    path.write_text(json.dumps({"version": 1, "categories": [{"name": "own", "trigger": False, "types": types}]}))
    return path


def test_types_of_the_users_own_are_added_and_replace_ours(tmp_path: Path) -> None:
    host: dict[str, object] = {"name": "host", "type": "string", "required": True}
    ping: dict[str, object] = {"type": "ping", "purpose": "Pings a host", "fields": [host]}
    own = Catalog.load(own_file(tmp_path, ping, {**ping, "type": "log_output"}))
    assert (own["ping"].label, own["ping"].category) == ("Ping", "own")
    assert own["log_output"].purpose == "Pings a host"
    assert own["slack_message"] == CATALOG["slack_message"]
    assert len(own) == len(CATALOG) + 1
    assert own.get(["ping"]) is None


def test_a_job_is_planned_and_judged_by_the_users_own_types(tmp_path: Path) -> None:
    named = {"type": "pager", "purpose": "Pages somebody", "names": ["our pager"], "fields": []}
    catalog = Catalog.load(own_file(tmp_path, named))
    prompt = "When a webhook arrives, call our pager"
    job = Job.model_validate({"id": "j", "attempt": 1, "prompt": prompt, "created_at": "2026-01-01T00:00:00Z"})
    (_, build, check) = handler_for("create", catalog).steps
    assert isinstance(check, CodeStep) and not isinstance(build, CodeStep)
    assert '"pager"' in json.dumps(build.request(job, {}, 0).schema)
    start, page = {"type": "webhook", "label": "Call"}, {"type": "pager", "label": "Page", "after": "trigger"}
    answer = {"name": "Pages", "trigger": start, "nodes": {"n1": page}}
    workflow = check.run(job, {"analyze": {}, "generate": answer})["workflow"]
    assert [node["type"] for node in workflow["nodes"]] == ["webhook", "pager"]
    assert "UNKNOWN_NODE_TYPE" in {violation.code for violation in validate_workflow(workflow, CATALOG)}


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": 1, "categories": [{"name": "A"}]}'])
def test_a_broken_catalogue_is_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"own\.json"):
        Catalog.load(path)


def test_a_type_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    types = [{"type": "a", "purpose": "x", "fields": []}] * 2
    path.write_text(json.dumps({"version": 1, "categories": [{"name": "c", "trigger": False, "types": types}]}))
    with pytest.raises(ConfigurationError, match="listed twice"):
        Catalog.load(path)


def test_a_missing_catalogue_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.json"):
        Catalog.load(tmp_path / "none.json")
