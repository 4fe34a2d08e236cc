"""/metrics of a worker that has worked, as Prometheus, the dashboard and the alert rules see it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import hold, release, streaming
from tests.acceptance.test_http import listening
from tests.debian import program
from tests.engine import ANALYZE, GENERATE, ScriptedModel
from tests.stacks import ThreadedStack, threaded_stack
from tests.waiting import eventually

JOBS = "public.workflow_generation_jobs"
DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD, ALERTS = DEPLOY / "grafana/workflow-consumer.json", DEPLOY / "prometheus/alerts.yml"
MISSPELT = json.dumps(
    {
        "name": "x",
        "trigger": {"type": "webhook", "label": "Start", "config": {"method": "POST"}},
        "nodes": {"n1": {"type": "log_outputt", "label": "Log", "after": "trigger", "config": {"message": "m"}}},
    }
)
# What Prometheus adds itself.
TARGET = {"job", "instance"}
# The headings of docs/operations.md that every user starts from.
HEADINGS = {"worker-not-processing-jobs", "jobs-stuck-in-pending", "ollama-timeouts"}


@dataclass
class Scrape:
    """One answer of /metrics."""

    text: str

    def __post_init__(self) -> None:
        self.families = list(text_string_to_metric_families(self.text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def of(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name, without the prefix, that have these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == f"workflow_consumer_{name}" and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str) -> list[set[str]]:
        """The label names of each sample of a metric."""
        return [set(sample.labels) for sample in self.samples if sample.name == name]


def insert(stack: ThreadedStack, prompt: str, **columns: str) -> str:
    names, values = ", ".join(["prompt", *columns]), ", ".join([f"'{prompt}'", *columns.values()])
    return stack.psql(f"insert into {JOBS} ({names}) values ({values}) returning id").splitlines()[0]


def ended(stack: ThreadedStack, job_id: str, status: str = "completed") -> None:
    query = f"select status from {JOBS} where id = '{job_id}'"
    eventually(f"{job_id} is {status}", lambda: stack.psql(query) == status)


def leave_to_the_dead(stack: ThreadedStack) -> str:
    """A job whose worker has died, so that its lease ran out."""
    job_id = insert(stack, "left behind")
    stack.psql(
        "begin; set local role service_role; select public.claim_workflow_jobs('dead', 1, 20, 'key'); commit; "
        f"update {JOBS} set lease_expires_at = now()",
        user="supabase_admin",
    )
    return job_id


@pytest.fixture(scope="module")
def scrape(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scrape]:
    """Of a worker that has met all that the figures tell of: eight jobs, one at a time."""
    model = ScriptedModel()
    # enough tokens to say something about speed
    counts = {"eval_count": 64, "eval_duration": 10**9, "total_duration": 2 * 10**9}
    model.final = {ANALYZE: counts, GENERATE: counts}
    with threaded_stack(instant=True, model=model) as stack:
        rescued = leave_to_the_dead(stack)
        more = {"HEARTBEAT_SECONDS": "1", "RETRY_DELAY_BASE": "0.01"}
        with listening(stack, tmp_path_factory.mktemp("worker"), **more) as (worker, client):
            ended(stack, rescued)
            ended(stack, insert(stack, "plain"))
            model.texts[GENERATE] = [json.dumps({"name": "x"})]
            ended(stack, insert(stack, "without nodes"))
            model.texts[GENERATE] = [MISSPELT]
            ended(stack, insert(stack, "with a type misspelt"))
            model.texts[GENERATE] = ["no json"]
            ended(stack, insert(stack, "once no json"))
            ended(stack, insert(stack, "unreadable", execution_history="'[1]'"), "failed")
            insert(stack, "later", run_at="now() + interval '1 h'")
            take_one_away(stack)
            worker.wait_for("attempt ends unsettled")

            def told() -> bool:
                found = Scrape(client.get("/metrics").text)
                return found.of("lease_losses_total") == 1 == found.of("queue_delayed")

            eventually("the loss is counted and the queue told", told)
            yield Scrape(client.get("/metrics").text)
            stack.call(release(stack))


def take_one_away(stack: ThreadedStack) -> None:
    """Another attempt gets a job in the middle of its work."""
    stack.call(hold(stack))
    job_id = insert(stack, "taken away")
    stack.call(streaming(stack))
    stack.psql(f"update {JOBS} set attempt = attempt + 1 where id = '{job_id}'", user="supabase_admin")


def test_every_figure_of_a_job_is_counted(scrape: Scrape) -> None:
    of = scrape.of
    assert (of("claims_total"), of("rescues_total"), of("lease_losses_total")) == (8, 1, 1)
    assert of("jobs_settled_total", outcome="completed", code="") == 5
    assert of("jobs_settled_total", outcome="retry", code="OUTPUT_NOT_JSON") == 1
    assert of("jobs_settled_total", outcome="failed", code="INPUT_INVALID") == 1, "a row that cannot be read"
    assert of("model_call_failures_total", model=GENERATE, step="generate", code="OUTPUT_NOT_JSON", clock="") == 1
    assert of("violations_total", code="NO_NODES") == of("repairs_total", by="model", code="NO_NODES") == 1
    assert of("repairs_total", by="code", code="UNKNOWN_NODE_TYPE") == 1
    # seven attempts could be read; five came to their third phase, one only to the first
    assert of("pickup_seconds_count") == 7
    assert [of("phase_seconds_count", phase=name) for name in ("analyze", "workflow_generation", "validation")] == [
        7, 6, 5,
    ]  # fmt: skip
    assert of("attempt_seconds_count") == 6
    assert of("attempt_seconds_count", outcome="completed") == 5
    assert (of("jobs_in_work"), of("slots"), of("ready")) == (0, 1, 1)


def test_the_queue_is_told_with_the_age_of_what_is_known(scrape: Scrape) -> None:
    assert (scrape.of("queue_claimable"), scrape.of("queue_delayed"), scrape.of("queue_oldest_seconds")) == (0, 1, 0)
    assert scrape.labels("workflow_consumer_heartbeat_age_seconds") == [set()]
    assert (scrape.of("database_up"), scrape.of("heartbeat_failures_total")) == (1, 0)
    assert (scrape.of("realtime_ready"), scrape.of("realtime_sessions_total")) == (1, 1)
    assert scrape.of("model_server_state", state="working") == scrape.of("model_server_state") == 1


def test_no_label_is_an_id_and_everything_has_help_and_our_prefix(scrape: Scrape) -> None:
    names = {family.name for family in scrape.families}
    assert {name.split("_")[0] for name in names} == {"workflow", "process"}
    assert all(family.documentation for family in scrape.families)
    assert "job_1" not in scrape.text
    assert len(scrape.samples) < 600
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=scrape.text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def dashboard_queries() -> list[tuple[str, str]]:
    """Each query of the dashboard with its legend, the variables filled in as Grafana does."""
    panels = [panel for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"] if panel["type"] != "row"]
    found = [(target["expr"], target["legendFormat"]) for panel in panels for target in panel["targets"]]
    fill = {"$job": ".+", "$instance": ".+", "$__rate_interval": "5m"}
    return [(re.sub(r"\$\w+", lambda variable: fill[variable[0]], query), legend) for query, legend in found]


def alerts() -> list[dict[str, Any]]:
    """The alert rules."""
    return [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]


def used_labels(query: str, legend: str = "") -> Iterator[tuple[str, set[str]]]:
    """Each metric in a query, and the labels that it must have: its matchers, those grouped by, and the legend's."""
    grouped = {name for group in re.findall(r"by \(([^)]*)\)", query) for name in re.split(r", *", group)}
    shown = set(re.findall(r"\{\{ *(?:\$labels\.)?(\w+) *\}\}", legend))
    for name, matchers in re.findall(r"((?:workflow_consumer|process)_\w+)(?:\{([^}]*)\})?", query):
        yield name, (set(re.findall(r"(\w+)[=!]", matchers)) | grouped | shown) - TARGET


@pytest.mark.parametrize("where", ["dashboard", "alerts"])
def test_what_dashboard_and_alerts_show_is_exported_by_a_worker_that_has_worked(scrape: Scrape, where: str) -> None:
    queries = dashboard_queries() if where == "dashboard" else [(rule["expr"], "") for rule in alerts()]
    used = [each for query, legend in queries for each in used_labels(query, legend)]
    wrong = [(name, labels) for name, labels in used if not any(labels <= have for have in scrape.labels(name))]
    assert wrong == []
    assert len({name for name, _ in used}) > 10


def test_the_dashboard_leaves_no_figure_of_ours_out(scrape: Scrape) -> None:
    text = DASHBOARD.read_text("utf-8")
    ours = {family.name for family in scrape.families if family.name.startswith("workflow_consumer_")}
    hidden = {"slots", "draining", "realtime_sessions", "lane_turns", "both_models_fit"}
    assert {name.removeprefix("workflow_consumer_") for name in ours if name not in text} <= hidden


def test_every_query_of_the_dashboard_can_be_read_by_prometheus(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, (query, _) in enumerate(dashboard_queries())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert len(rules) > 40
    promtool("check", "rules", str(tmp_path / "rules.yml"))


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("check", "rules", str(ALERTS))
    promtool("test", "rules", str(ALERTS.with_name("alerts.test.yml")))


def test_every_alert_says_how_bad_it_is_since_when_and_what_to_do() -> None:
    for rule in alerts():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        (heading,) = re.findall(r"See docs/operations\.md#(\S+)$", rule["annotations"]["description"])
        assert heading in HEADINGS
    tested = ALERTS.with_name("alerts.test.yml").read_text("utf-8")
    assert [rule["alert"] for rule in alerts() if f'alertname="{rule["alert"]}", ' not in tested] == []


def test_the_dashboard_has_its_rows_in_the_order_of_a_search_and_nothing_overlaps() -> None:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["Is it working?", "Queue", "Jobs", "Models", "Database, Realtime, process"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    shown = [panel for panel in panels if panel["type"] != "row"]
    assert [panel["title"] for panel in shown if not panel["description"]] == []
    assert {panel["datasource"]["uid"] for panel in shown} == {"${datasource}"}


def promtool(*arguments: str) -> None:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
