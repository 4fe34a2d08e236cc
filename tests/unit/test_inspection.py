"""What is said of each fact that the database tells of itself: the part, the way out, and whether work stands still."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.inspection import defects
from consumer.replies import Inspection

TABLE = "public.workflow_generation_jobs"
WELL: dict[str, Any] = {
    "now": 0.0, "server": "17.0", "version": 24, "missing": [], "published": True, "unpublished": [], "logical": True,
    "without_identity": [], "rights_missing": [], "rights_excess": [], "open_tables": [], "foreign_policies": [],
    "bypasses_rls": True, "invalid_indexes": [], "broadcasts": True, "read_only": False, "bytes": 1,
}  # fmt: skip
# Fact: the part, whether jobs wait, and words.
FACTS: list[tuple[dict[str, Any], str, bool, list[str]]] = [
    ({"missing": ["13: a", "13: b", "14: c", "14: d"]}, "schema", True, ["13: a, 13: b, 14: c and 1 more", "db push"]),
    ({"logical": False}, "publication", True, ["wal_level", "restart"]),
    ({"published": False}, "publication", True, ["no supabase_realtime", "create publication supabase_realtime"]),
    ({"unpublished": [TABLE]}, "publication", True, [f"lacks {TABLE}", f"add table {TABLE}"]),
    ({"without_identity": [TABLE]}, "publication", True, [f"alter table {TABLE} replica identity default"]),
    ({"rights_missing": ["service_role EXECUTE on f"]}, "grants", True, ["missing: service_role EXECUTE on f"]),
    ({"rights_excess": ["anon EXECUTE on f"]}, "grants", False, ["anon EXECUTE on f", "Revoke"]),
    ({"bypasses_rls": False}, "rls", True, ["alter role service_role bypassrls"]),
    ({"open_tables": [TABLE]}, "rls", False, [f"alter table {TABLE} enable row level security"]),
    ({"foreign_policies": ["everybody"]}, "rls", False, ["not ours: everybody"]),
    ({"read_only": True}, "storage", True, ["read only", "add space"]),
    ({"invalid_indexes": ["public.half"]}, "storage", False, ["reindex index public.half"]),
]


def test_of_what_is_well_nothing_is_said() -> None:
    assert defects(Inspection(**WELL)) == []


@pytest.mark.parametrize(("fact", "part", "stops_work", "words"), FACTS, ids=[next(iter(fact[0])) for fact in FACTS])
def test_each_fact_is_one_defect_with_its_way_out(
    fact: dict[str, Any], part: str, stops_work: bool, words: list[str]
) -> None:
    (defect,) = defects(Inspection(**WELL | fact))
    assert (defect.part, defect.stops_work) == (part, stops_work)
    assert [word for word in words if word not in str(defect)] == [], str(defect)


def test_a_publication_that_is_gone_is_made_before_tables_are_added() -> None:
    (defect,) = defects(Inspection(**WELL | {"published": False, "unpublished": [TABLE]}))
    assert defect.advice.startswith("Run: create publication")
