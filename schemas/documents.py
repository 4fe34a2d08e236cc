"""Loads the JSON documents of this package, once each. Used by the validator, the catalogue and the handlers."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from jsonschema import Draft202012Validator

Name = Literal["analysis", "catalog", "job_input", "workflow"]


@cache
def schema(name: Name) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of that name; shared, so never change it."""
    document: dict[str, Any] = json.loads(files(__package__).joinpath(f"{name}.schema.json").read_text("utf-8"))
    return document


@cache
def checker(name: Name) -> Draft202012Validator:
    """A compiled checker for the schema of that name."""
    return Draft202012Validator(schema(name))
