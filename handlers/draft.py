"""A workflow in the making: what the repairs work on, and what they did. Used within one run of the validate step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from consumer.job import JsonObject
from schemas.catalog import Catalog
from schemas.clean import one_line
from schemas.subject import pointer


@dataclass(slots=True)
class Node:
    """One node; `position` stays None until it is laid out."""

    id: str
    type: str
    label: str = ""
    config: JsonObject = field(default_factory=dict)
    position: JsonObject | None = None


@dataclass(slots=True)
class Edge:
    """One edge; `id` stays empty until it is numbered."""

    source: str
    target: str
    handle: str | None = None
    id: str = ""


@dataclass(slots=True)
class Draft:
    """Nodes, edges and texts, and the repairs made so far: `{code, pointer, message}` of the violations they mended."""

    catalog: Catalog
    name: str = ""
    summary: str = ""
    explanation: str | None = None
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    repairs: list[JsonObject] = field(default_factory=list)

    def mended(self, code: str, message: str, *where: str | int) -> None:
        """Record one repair; `where` are the pointer's parts."""
        self.repairs.append({"code": code, "pointer": pointer(*where), "message": message})

    def is_trigger(self, node: Node) -> bool:
        """Whether the node starts the workflow."""
        kind = self.catalog.get(node.type)
        return kind is not None and kind.trigger

    @property
    def ids(self) -> list[str]:
        """The ids in order."""
        return [node.id for node in self.nodes]

    def separate_ids(self) -> None:
        """Give every node but the first of an id a new one."""
        names, seen = Names(self.ids), set[str]()
        for index, node in enumerate(self.nodes):
            if node.id in seen:
                # Edges name the first of the two; which they meant cannot be known.
                fresh = names.fresh(node.type)
                text = f"A second {one_line(node.id)} is {fresh} now."
                self.mended("DUPLICATE_NODE_ID", text, "nodes", index, "id")
                node.id = fresh
            seen.add(node.id)


class Names:
    """Hands out ids `<type>_<n>` that nobody has yet."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def fresh(self, stem: str) -> str:
        """The next free id of that stem."""
        number = self._next.get(stem, 1)
        while f"{stem}_{number}" in self._taken:
            number += 1
        self._next[stem] = number + 1
        self._taken.add(f"{stem}_{number}")
        return f"{stem}_{number}"
