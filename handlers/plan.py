"""What a job's workflow will consist of, as far as code knows before the model is asked. Pure; used by every step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consumer.job import Job, JsonObject
from handlers.facts import Facts, read_facts
from handlers.search import find
from schemas.catalog import Catalog

MAX_NAMED = 6
MAX_OFFERED = 8
# Offered when the words name and hint at nothing.
GENERAL = ("http_request", "text_formatter", "log_output")
FREE_STEPS = 2
_PARALLEL = re.compile(r"(?i)\b(?:merge|combine|join|parallel|simultaneously|at the same time|both)\b")


@dataclass(frozen=True, slots=True)
class Plan:
    """The trigger's type and stated config, the step types that must be there (in order), and those on offer."""

    trigger: str
    trigger_config: JsonObject
    named: tuple[str, ...]
    offered: tuple[str, ...]
    otherwise: frozenset[str]
    parallel: bool
    facts: Facts

    @property
    def steps(self) -> int:
        """How many steps the workflow may have: one beyond the named ones when the words hint at more."""
        return len(self.named) + (len(self.offered) > len(self.named)) if self.named else FREE_STEPS


def plan(job: Job, analysis: Mapping[str, Any], catalog: Catalog) -> Plan:
    """The plan of a job, from its prompt first and the analysis second."""
    facts = read_facts(job.prompt)
    found = find(job.prompt, _words(analysis), catalog)
    named = tuple(name for name in found.named if name != "form")[:MAX_NAMED]
    hinted = (*found.named[MAX_NAMED:], *found.hinted)[: MAX_OFFERED - len(named)]
    offered = (*named, *hinted) or GENERAL
    return Plan(
        trigger=facts.trigger or _trigger(analysis, catalog),
        trigger_config=facts.trigger_config,
        named=named,
        offered=offered,
        otherwise=found.otherwise,
        parallel=_PARALLEL.search(job.prompt) is not None,
        facts=facts,
    )


def _words(analysis: Mapping[str, Any]) -> str:
    wanted = analysis.get("requiredNodes")
    return " ".join(str(word) for word in wanted).replace("_", " ") if isinstance(wanted, list) else ""


def _trigger(analysis: Mapping[str, Any], catalog: Catalog) -> str:
    wanted = catalog.get(analysis.get("triggerType"))
    return wanted.name if wanted is not None and wanted.trigger else "manual_trigger"
