"""Every damaged answer of the corpus is read as labelled: exactly that object, or refused for exactly that reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from consumer.errors import OutputNotJson
from handlers.reading import read_object
from handlers.refusal import Refusal
from schemas.clean import storable

FOLDER = Path(__file__).parents[1] / "corpus" / "damaged"
REASONS = {reason.name: reason.value for reason in Refusal} | {"TOO_LONG": "more than 400000 are refused"}


def cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{file.stem}/{case['name']}")
        for file in sorted(FOLDER.glob("*.jsonl"))
        for case in map(json.loads, file.read_text(encoding="utf-8").splitlines())
    ]


def written_out(text: str | list[Any]) -> str:
    """The text of a case; a list has pieces, of which `[piece, times]` is repeated."""
    parts = [text] if isinstance(text, str) else text
    return "".join(part if isinstance(part, str) else part[0] * part[1] for part in parts)


def expected_object(case: dict[str, Any]) -> Any:
    """A list in place of the object is its JSON text, written out as above."""
    wanted = case["object"]
    return json.loads(written_out(wanted)) if isinstance(wanted, list) else wanted


@pytest.mark.parametrize("case", [case for case in cases() if "object" in case.values[0]])
def test_what_can_be_read_in_one_way_is_read_exactly(case: dict[str, Any]) -> None:
    value = read_object(written_out(case["raw"]))
    # As text, so that 1, 1.0 and true differ; order is kept too.
    assert json.dumps(value) == json.dumps(expected_object(case))
    assert storable(value)


@pytest.mark.parametrize("case", [case for case in cases() if "refused" in case.values[0]])
def test_what_cannot_is_refused_for_its_reason(case: dict[str, Any]) -> None:
    with pytest.raises(OutputNotJson) as caught:
        read_object(written_out(case["raw"]))
    assert str(caught.value).endswith(REASONS[case["refused"]])


def test_the_corpus_is_large_and_every_reason_occurs() -> None:
    every = [case.values[0] for case in cases()]
    assert len(every) >= 150
    assert len({case["name"] for case in every}) == len(every)
    assert Counter("object" in case for case in every).most_common()[-1][1] >= 75
    assert {case["refused"] for case in every if "refused" in case} == set(REASONS)
