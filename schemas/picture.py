"""Draws a workflow as SVG and as a Mermaid flowchart. Pure: the same workflow gives the same text.

Called by `consumer show`. Wants a workflow of sound shape (workflow.schema.json), which also bounds the picture's size.
Labels are hostile text: cleaned and cut here, escaped by the XML writer or as Mermaid's number entities.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from unicodedata import east_asian_width
from xml.etree.ElementTree import Element, SubElement, tostring

from schemas.catalog import Catalog
from schemas.clean import one_line

Json = Mapping[str, Any]
Point = tuple[float, float]

# Pixels. Contract §5 lays nodes out 300 apart and rows 150 apart: these boxes leave room for arrows.
WIDTH, HEIGHT, MARGIN = 220, 64, 40
# Pixels between the outermost nodes; positions that lie further apart are drawn to scale.
MAX_EXTENT = 40_000.0
# No position of a real canvas is further out; the difference of two such numbers is exact.
_FARTHEST = 1e9
LABEL_CELLS, TYPE_CELLS, BRANCH_CELLS = 25, 30, 14

# Mid-tones: a contrast of 3:1 and more on white and on the dark ground below.
COLOURS = {
    "triggers": "#d97706",
    "logic": "#8b5cf6",
    "data": "#0891b2",
    "google": "#dc4c3e",
    "ai": "#c026d3",
    "http_api": "#2f7fd8",
    "output": "#16934a",
    "database": "#4f74d9",
    "storage": "#64809c",
    "utility": "#7d8590",
    "crm": "#db4b8a",
    "devops": "#5e7f2e",
    "social_media": "#0e8fb5",
    "productivity": "#a16a1f",
    "authentication": "#b8860b",
    "payment": "#0f9488",
    "ecommerce": "#e0602b",
    "analytics": "#7a6ff0",
}
_GREY = "#7d8590"
_STYLE = """
svg { --ground: #ffffff; --box: #f6f8fa; --ink: #1f2328; --faint: #59636e; --line: #818b98; }
@media (prefers-color-scheme: dark) {
  svg { --ground: #0d1117; --box: #161b22; --ink: #e6edf3; --faint: #9198a1; --line: #768390; }
}
text { font-family: system-ui, sans-serif; fill: var(--ink); }
.ground { fill: var(--ground); }
.box { fill: var(--box); stroke-width: 1.5; }
.label { font-size: 14px; font-weight: 600; }
.type { font-size: 12px; fill: var(--faint); }
.edge { fill: none; stroke: var(--line); stroke-width: 1.5; }
.tip { fill: var(--line); }
.branch { font-size: 12px; text-anchor: middle; paint-order: stroke; stroke: var(--ground); stroke-width: 4; }
"""
# XML 1.0 has no form for these two, escaped or not; `one_line` removes the rest of what it lacks.
_NOT_XML = re.compile("[\ufffe\uffff]")
# What needs no escape in a quoted Mermaid text.
_PLAIN = re.compile(r"[^\w ,.:!?'-]")


def svg(workflow: Json, catalog: Catalog) -> str:
    """One self-contained SVG document: boxes at the stored positions, arrows, and the branches' names on them."""
    places = _places(workflow["nodes"])
    width = max((x for x, _ in places.values()), default=0) + WIDTH + MARGIN
    height = max((y for _, y in places.values()), default=0) + HEIGHT + MARGIN
    size = {"width": _number(width), "height": _number(height), "viewBox": f"0 0 {_number(width)} {_number(height)}"}
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **size})
    _text(root, "title", one_line(str(workflow["name"]), 200))
    _text(root, "desc", one_line(str(workflow["summary"]), 2000))
    SubElement(root, "style").text = _STYLE
    arrow = {"id": "tip", "viewBox": "0 0 8 8", "refX": "7", "refY": "4", "markerWidth": "8", "markerHeight": "8"}
    tip = SubElement(SubElement(root, "defs"), "marker", {**arrow, "orient": "auto"})
    SubElement(tip, "path", {"d": "M0 0 8 4 0 8Z", "class": "tip"})
    SubElement(root, "rect", {"class": "ground", "width": "100%", "height": "100%"})
    _draw_edges(root, workflow["edges"], places)
    for node in workflow["nodes"]:
        _draw_node(root, node, places[node["id"]], catalog)
    return tostring(root, encoding="unicode") + "\n"


def mermaid(workflow: Json, catalog: Catalog) -> str:
    """A Mermaid flowchart from left to right; nodes are named n0, n1, … in the workflow's order."""
    names = {node["id"]: f"n{index}" for index, node in enumerate(workflow["nodes"])}
    used = sorted({category(node, catalog) for node in workflow["nodes"]} & COLOURS.keys())
    lines = [f"  classDef {name} stroke:{COLOURS[name]},stroke-width:2px" for name in used]
    for node in workflow["nodes"]:
        kind = category(node, catalog)
        opening, closing = ("([", "])") if kind == "triggers" else ("[", "]")
        said = f"{quoted(title(node, catalog), 60)}<br/>{quoted(node['type'], 40)}"
        drawn = f":::{kind}" if kind in COLOURS else ""
        lines.append(f'  {names[node["id"]]}{opening}"{said}"{closing}{drawn}')
    for edge in _drawable(workflow["edges"], names):
        branch = f'|"{quoted(edge["sourceHandle"], 24)}"|' if edge.get("sourceHandle") else ""
        lines.append(f"  {names[edge['source']]} -->{branch} {names[edge['target']]}")
    return "\n".join(["flowchart LR", *lines]) + "\n"


def title(node: Json, catalog: Catalog) -> str:
    """What a node is called: its label, else its type's."""
    kind = catalog.get(node["type"])
    return str(node.get("label") or (kind.label if kind else node["type"]))


def category(node: Json, catalog: Catalog) -> str:
    """The category of a node's type; empty when the catalogue does not know it."""
    kind = catalog.get(node["type"])
    return kind.category if kind else ""


def quoted(text: str, limit: int) -> str:
    """The text for between the quotes of a Mermaid label: all that could end it or mean something is a number."""
    return _PLAIN.sub(lambda found: f"#{ord(found[0])};", one_line(text, limit))


def _places(nodes: Iterable[Json]) -> dict[str, Point]:
    """The upper left corners of the boxes: the stored positions, moved to the margin and shrunk to `MAX_EXTENT`."""
    spots = {node["id"]: (_inner(node["position"]["x"]), _inner(node["position"]["y"])) for node in nodes}
    left, top = (min((spot[axis] for spot in spots.values()), default=0.0) for axis in (0, 1))
    extent = max((max(x - left, y - top) for x, y in spots.values()), default=0.0)
    scale = min(1.0, MAX_EXTENT / extent) if extent else 1.0
    return {name: (MARGIN + (x - left) * scale, MARGIN + (y - top) * scale) for name, (x, y) in spots.items()}


def _inner(value: float) -> float:
    return float(max(-_FARTHEST, min(_FARTHEST, value)))


def _draw_node(root: Element, node: Json, at: Point, catalog: Catalog) -> None:
    x, y = at
    colour = COLOURS.get(category(node, catalog), _GREY)
    group = SubElement(root, "g", {"class": "node", "transform": f"translate({_number(x)} {_number(y)})"})
    _text(group, "title", f"{one_line(title(node, catalog), 200)} ({one_line(node['type'], 100)})")
    size = {"width": str(WIDTH), "height": str(HEIGHT), "rx": "8"}
    SubElement(group, "rect", {"class": "box", "stroke": colour, **size})
    SubElement(group, "rect", {"fill": colour, "width": "8", "height": str(HEIGHT), "rx": "4"})
    _text(group, "text", _fitting(title(node, catalog), LABEL_CELLS), {"class": "label", "x": "20", "y": "28"})
    _text(group, "text", _fitting(node["type"], TYPE_CELLS), {"class": "type", "x": "20", "y": "48"})


def _draw_edges(root: Element, edges: Iterable[Json], places: Mapping[str, Point]) -> None:
    """Branches that lead from one node to the same next one are named one below the other."""
    named: Counter[tuple[str, str]] = Counter()
    for edge in _drawable(edges, places):
        (x1, y1), (x2, y2) = places[edge["source"]], places[edge["target"]]
        x1, y1, y2 = x1 + WIDTH, y1 + HEIGHT / 2, y2 + HEIGHT / 2
        bend = max(40.0, abs(x2 - x1) / 2)
        curve = [*(x1, y1), *(x1 + bend, y1), *(x2 - bend, y2), *(x2, y2)]
        a, b, c, d, e, f, g, h = map(_number, curve)
        SubElement(root, "path", {"class": "edge", "d": f"M{a} {b}C{c} {d} {e} {f} {g} {h}", "marker-end": "url(#tip)"})
        if edge.get("sourceHandle"):
            way = (edge["source"], edge["target"])
            middle = {"x": _number((x1 + x2) / 2), "y": _number((y1 + y2) / 2 + 4 + 15 * named[way])}
            named[way] += 1
            _text(root, "text", _fitting(edge["sourceHandle"], BRANCH_CELLS), {"class": "branch", **middle})


def _drawable(edges: Iterable[Json], known: Mapping[str, object]) -> list[Json]:
    """The edges both of whose ends exist."""
    return [edge for edge in edges if edge["source"] in known and edge["target"] in known]


def _text(parent: Element, tag: str, text: str, attributes: Mapping[str, str] | None = None) -> None:
    SubElement(parent, tag, dict(attributes or {})).text = _NOT_XML.sub("", text)


def _fitting(text: str, cells: int) -> str:
    """The text on one line, cut where it would leave the box; a wide character takes two cells."""
    line, used = one_line(text, 4 * cells), 0
    for index, char in enumerate(line):
        used += 2 if east_asian_width(char) in "WF" else 1
        if used > cells:
            return line[: max(index - 1, 0)] + "…"
    return line


def _number(value: float) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{round(value, 1):g}" if abs(value) < 1e5 else f"{value:.0f}"
