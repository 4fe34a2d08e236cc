"""What the validator's rules look at: a workflow of sound shape, the catalogue, and what the user gave."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.catalog import Catalog, NodeType

Json = Mapping[str, Any]


# Only what cannot be a real credential, since a real one may hold any word.
_PLACEHOLDER = re.compile(r"(?i)\byour[-_ ]|x{6,}|<[^<>]*>|\bchange[-_ ]?me\b|\bplaceholder\b")


def is_placeholder(value: object) -> bool:
    """Whether a credential's value is plainly a stand-in, such as `YOUR_API_KEY`."""
    return _PLACEHOLDER.search(str(value)) is not None


@dataclass(frozen=True, slots=True)
class Known:
    """What the user gave: `values` of the job's config (and of the workflow to edit), and the `prompt`."""

    values: frozenset[str] = frozenset()
    prompt: str = ""

    def secret(self, value: object) -> bool:
        """Whether a credential has this value from the user. Only config counts, and no placeholder does."""
        return str(value) in self.values and not is_placeholder(value)

    def account(self, value: object) -> bool:
        """Whether the user named this account, sheet or host, in the config or in the prompt."""
        return str(value) in self.values or str(value).casefold() in self.prompt.casefold()


@dataclass(frozen=True, slots=True)
class Subject:
    """A workflow whose shape is sound. `required`: its `requiredCredentials`; `listed`: their (node, field).

    `triggers` and `unknown`: the ids of the triggers, and those whose type nobody can say (it is unknown, or two nodes
    share the id). A rule that hangs on such a type is not broken: another violation already says what is wrong.
    """

    nodes: Sequence[Json]
    edges: Sequence[Json]
    catalog: Catalog
    required: Sequence[Json]
    listed: frozenset[tuple[str, str]]
    known: Known | None
    triggers: frozenset[str]
    unknown: frozenset[str]

    @classmethod
    def of(cls, workflow: Json, catalog: Catalog, known: Known | None) -> Subject:
        """The subject of a workflow that has passed the shape check."""
        listed = frozenset((entry["node"], entry["field"]) for entry in workflow["requiredCredentials"])
        types: dict[str, str] = {}
        nodes, required = workflow["nodes"], workflow["requiredCredentials"]
        unknown = frozenset(
            node["id"]
            for node in nodes
            if types.setdefault(node["id"], node["type"]) != node["type"] or node["type"] not in catalog
        )
        triggers = frozenset(name for name, kind in types.items() if name not in unknown and catalog[kind].trigger)
        return cls(nodes, workflow["edges"], catalog, required, listed, known, triggers, unknown)

    @property
    def starts(self) -> frozenset[str]:
        """The ids of what may start the workflow: triggers, and nodes of an unknown type that nothing leads to."""
        return self.triggers | (self.unknown - {edge["target"] for edge in self.edges})

    def type_of(self, node: Json) -> NodeType | None:
        """The catalogue's entry for the node's type."""
        return self.catalog.get(node["type"])


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
