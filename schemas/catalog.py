"""The node catalogue: what types exist and what each needs. The data is `catalog.json`; ask here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from consumer.errors import ConfigurationError
from schemas.documents import checker
from schemas.formats import Format

FieldType = Literal["string", "number", "boolean", "array", "object"]

# Names that older prompts and editors use (contract §5), with the config they imply.
STALE: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "webhook_trigger_response": ("webhook", {}),
    "http_trigger": ("webhook", {}),
    "email_resend": ("google_gmail", {"operation": "send"}),
    "log": ("log_output", {}),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One config field of a node type.

    `credential`: a secret, from the job's config only. `account`: names something of the user's, from config or prompt.
    `open`: other values than `options` are allowed. `when`: (field, values) that make this field required.
    `format`: how a value must be written. `fixed`: no template can stand for it, since nothing runs before a trigger.
    """

    name: str
    type: FieldType
    required: bool = False
    credential: bool = False
    account: bool = False
    options: tuple[str, ...] = ()
    open: bool = False
    default: str | float | bool | None = None
    when: tuple[str, tuple[str, ...]] | None = None
    blank: bool = False
    format: Format | None = None
    fixed: bool = False

    @property
    def from_user(self) -> bool:
        """Whether only the user can know it: it may stay empty when listed in `requiredCredentials`."""
        return self.credential or self.account

    def needed(self, config: Mapping[str, object]) -> bool:
        """Whether a node with this config must fill the field."""
        if self.when is None:
            return self.required
        name, values = self.when
        return config.get(name) in values


@dataclass(frozen=True, slots=True)
class NodeType:
    """One node type: `name` is what a workflow's `type` says. `names` name it beyond doubt, `words` hint at it."""

    name: str
    category: str
    purpose: str
    trigger: bool
    names: tuple[str, ...]
    words: tuple[str, ...]
    fields: tuple[Field, ...]

    @property
    def label(self) -> str:
        """A label for people: `slack_message` → `Slack message`."""
        return self.name.replace("_", " ").capitalize()

    def field(self, name: str) -> Field | None:
        """The field of that name."""
        return next((field for field in self.fields if field.name == name), None)


class Catalog:
    """All node types by name; a read-only mapping in the order of the file."""

    def __init__(self, types: Mapping[str, NodeType]) -> None:
        self._types = dict(types)

    @classmethod
    def load(cls, path: Path | None = None) -> Catalog:
        """The catalogue that ships with this package; the types of the file `path` are added, or take others' place.

        Raises:
            ConfigurationError: the file cannot be read or is not a catalogue; names the place.
        """
        if path is None:
            return _shipped()
        return cls({node.name: node for node in _shipped()} | _types(_read(path), str(path)))

    def __getitem__(self, name: str) -> NodeType:
        return self._types[name]

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def __iter__(self) -> Iterator[NodeType]:
        return iter(self._types.values())

    def __len__(self) -> int:
        return len(self._types)

    def get(self, name: object) -> NodeType | None:
        """The type of that name, if there is one; any value may be asked for."""
        return self._types.get(name) if isinstance(name, str) else None

    @property
    def triggers(self) -> tuple[str, ...]:
        """The names of all trigger types."""
        return tuple(node.name for node in self if node.trigger)


_CORRECT = "Correct it by schemas/catalog.schema.json."


@cache
def _shipped() -> Catalog:
    text = files(__package__).joinpath("catalog.json").read_text("utf-8")
    return Catalog(_types(json.loads(text), "catalog.json"))


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"is no JSON text in UTF-8 ({error})"
        raise ConfigurationError(f"WORKFLOW_CATALOG: {path}: {reason}. Give a readable JSON file.") from error


def _types(document: Any, source: str) -> dict[str, NodeType]:
    error = next(iter(checker("catalog").iter_errors(document)), None)
    if error is not None:
        raise ConfigurationError(f"WORKFLOW_CATALOG: {source}: {error.json_path}: {error.message[:200]}. {_CORRECT}")
    types: dict[str, NodeType] = {}
    for category in document["categories"]:
        for raw in category["types"]:
            if raw["type"] in types:
                raise ConfigurationError(f"WORKFLOW_CATALOG: {source}: type {raw['type']} is listed twice. Keep one.")
            types[raw["type"]] = _node_type(category, raw)
    return types


def _node_type(category: Mapping[str, Any], raw: Mapping[str, Any]) -> NodeType:
    return NodeType(
        name=raw["type"],
        category=category["name"],
        purpose=raw["purpose"],
        trigger=category["trigger"],
        names=tuple(raw.get("names", ())),
        words=tuple(raw.get("words", ())),
        fields=tuple(_field(field, fixed=category["trigger"]) for field in raw["fields"]),
    )


def _field(raw: Mapping[str, Any], fixed: bool) -> Field:
    when = next(((name, tuple(values)) for name, values in raw.get("when", {}).items()), None)
    return Field(**{**raw, "options": tuple(raw.get("options", ())), "when": when, "fixed": fixed})
