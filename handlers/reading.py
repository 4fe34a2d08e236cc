"""Turns a complete answer into a JSON object that is safe to keep. Used by every model step."""

from __future__ import annotations

import json
from typing import NoReturn

from consumer.errors import OutputNotJson
from consumer.job import JsonObject
from schemas.clean import clean

# A thousand times a usual answer; beyond it nothing good can follow.
MAX_ANSWER = 400_000


def read_object(text: str) -> JsonObject:
    """The JSON object in the answer, cleaned. Text around it (fences, a greeting) is passed over.

    Raises:
        OutputNotJson: there is no JSON object, it is not closed, or it holds NaN or Infinity.
    """
    if len(text) > MAX_ANSWER:
        raise OutputNotJson(f"the answer has {len(text)} characters; more than {MAX_ANSWER} are refused")
    start, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[start : end + 1], parse_constant=_refuse, strict=False)
    except (ValueError, RecursionError) as error:
        raise OutputNotJson(f"the answer of {len(text)} characters is not a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise OutputNotJson("the answer is JSON, but not an object")
    cleaned: JsonObject = clean(value)
    return cleaned


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
