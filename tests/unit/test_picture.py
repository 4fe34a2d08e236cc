"""The picture of a workflow: SVG that any XML reader takes and a Mermaid flowchart, whatever the labels say."""

from __future__ import annotations

import re
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalog import Catalog
from schemas.picture import COLOURS, HEIGHT, MARGIN, MAX_EXTENT, WIDTH, mermaid, svg
from tests.unit.handlers_kit import CATALOG, answer, job, log, slack, step_of, workflow_of
from tests.unit.workflows_kit import workflows

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    "</text><script>alert(1)</script>",
    '"]\n  n0 --> n9; click n0 href "javascript:alert(1)"',
    "`**bold**` #quot; %%{init: {}}%% end",
    "]]> <!-- & &amp; &#0; \x00\x1b[2J\u202e\ufffe\ud800",
    "𝕳 日本語 " * 40,
]
Flow = dict[str, Any]


@pytest.fixture
def flow() -> Flow:
    """A webhook, an if_else with both branches, and what follows them."""
    steps = (step_of("if_else", "trigger", condition="x"), slack("n1.true"), log("n1.false"), log("n2"))
    return workflow_of(job(), answer(*steps))


def parsed(flow: Flow) -> Element:
    return fromstring(svg(flow, CATALOG))


def texts(root: Element, css: str) -> list[str | None]:
    return [item.text for item in root.iter(f"{SVG}text") if item.get("class") == css]


def drawn(root: Element, css: str) -> list[Element]:
    return [item for item in root.iter() if item.get("class") == css]


def test_a_picture_shows_every_label_type_and_branch_once(flow: Flow) -> None:
    root = parsed(flow)
    assert texts(root, "label") == [node["label"] for node in flow["nodes"]]
    assert texts(root, "type") == [node["type"] for node in flow["nodes"]]
    assert len(drawn(root, "edge")) == len(flow["edges"])
    assert sorted(filter(None, texts(root, "branch"))) == ["false", "true"]


def test_boxes_stand_at_the_stored_positions(flow: Flow) -> None:
    left = min(node["position"]["x"] for node in flow["nodes"])
    top = min(node["position"]["y"] for node in flow["nodes"])
    wanted = [
        f"translate({node['position']['x'] - left + MARGIN} {node['position']['y'] - top + MARGIN})"
        for node in flow["nodes"]
    ]
    assert [group.get("transform") for group in drawn(parsed(flow), "node")] == wanted


def test_an_arrow_goes_from_the_right_of_a_box_to_the_left_of_the_next() -> None:
    nodes = [
        {"id": name, "type": "noop", "config": {}, "position": {"x": x, "y": 0}} for name, x in (("a", 0), ("b", 300))
    ]
    edges = [{"id": "e", "source": "a", "target": "b"}]
    (arrow,) = drawn(parsed({"name": "n", "summary": "", "nodes": nodes, "edges": edges}), "edge")
    numbers = re.findall(r"[\d.]+", arrow.get("d", ""))
    middle = str(MARGIN + HEIGHT // 2)
    assert (numbers[:2], numbers[-2:]) == ([str(MARGIN + WIDTH), middle], [str(MARGIN + 300), middle])


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_labels_are_text_in_the_picture(flow: Flow, label: str) -> None:
    plain = {item.tag for item in parsed(flow).iter()}
    flow["name"] = flow["summary"] = label
    flow["nodes"][2]["label"] = flow["nodes"][2]["type"] = flow["edges"][1]["sourceHandle"] = label
    root = parsed(flow)
    assert {item.tag for item in root.iter()} == plain
    assert len(drawn(root, "node")) == len(flow["nodes"])
    assert not re.search("[\x00-\x08\x1b\u202e\ufffe\ud800]", svg(flow, CATALOG))
    assert max(len(text or "") for text in texts(root, "label")) <= 25


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_labels_add_no_line_and_no_syntax_to_the_flowchart(flow: Flow, label: str) -> None:
    usual = mermaid(flow, CATALOG).splitlines()
    kind = flow["nodes"][2]["type"]
    flow["nodes"][2]["label"] = flow["edges"][1]["sourceHandle"] = label
    lines = mermaid(flow, CATALOG).splitlines()
    assert len(lines) == len(usual)
    (node,) = [line for line in lines if line.startswith("  n2[")]
    assert re.fullmatch(rf'  n2\["[^"\[\]()<>`{{}}|%\\]*<br/>{kind}"\]:::output', node)
    for line in lines:
        assert line.count('"') in (0, 2)


def test_a_flowchart_has_every_node_and_edge_once(flow: Flow) -> None:
    text = mermaid(flow, CATALOG)
    assert text.splitlines()[0] == "flowchart LR"
    assert '  n0(["Start<br/>webhook"]):::triggers\n' in text
    assert '  n1 -->|"true"| n2\n' in text and '  n1 -->|"false"| n3\n' in text
    assert text.count(" -->") == len(flow["edges"])
    assert len(re.findall(r"^  n\d+[\[(]", text, re.MULTILINE)) == len(flow["nodes"])


@given(workflows())
@settings(max_examples=50, deadline=None)
def test_any_valid_workflow_is_drawn_whole_and_always_the_same(flow: Flow) -> None:
    root = parsed(flow)
    assert len(drawn(root, "node")) == len(flow["nodes"])
    assert len(drawn(root, "edge")) == len(flow["edges"])
    assert svg(flow, CATALOG) == svg(flow, Catalog.load())
    assert mermaid(flow, CATALOG).count(" -->") == len(flow["edges"])


@given(st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2), min_size=1, max_size=5))
def test_no_position_makes_the_picture_boundless(spots: list[tuple[float, float]]) -> None:
    nodes = [
        {"id": str(index), "type": "noop", "config": {}, "position": {"x": x, "y": y}}
        for index, (x, y) in enumerate(spots)
    ]
    root = parsed({"name": "n", "summary": "", "nodes": nodes, "edges": []})
    for side in ("width", "height"):
        assert 0 < float(root.get(side, "")) <= MAX_EXTENT + WIDTH + 2 * MARGIN + 1


def test_the_largest_workflow_makes_a_picture_of_a_few_megabytes() -> None:
    at = {"x": 0, "y": 0}
    nodes = [{"id": str(n), "type": "x" * 100, "label": "&" * 200, "config": {}, "position": at} for n in range(2000)]
    edges = [{"id": str(n), "source": "0", "target": "1", "sourceHandle": "&" * 200} for n in range(8000)]
    assert len(svg({"name": "n" * 200, "summary": "", "nodes": nodes, "edges": edges}, CATALOG)) < 8_000_000


def test_nothing_outside_the_document_is_asked_for(flow: Flow) -> None:
    text = svg(flow, CATALOG)
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert re.findall(r"url\(([^)]*)\)", text) == ["#tip"] * len(flow["edges"])
    assert not re.search(r"@import|href|src=|<script|<image|<foreignObject", text)


def test_branches_to_the_same_node_are_named_one_below_the_other() -> None:
    nodes = [
        {"id": name, "type": "noop", "config": {}, "position": {"x": x, "y": 0}} for name, x in (("a", 0), ("b", 300))
    ]
    edges = [{"id": way, "source": "a", "target": "b", "sourceHandle": way} for way in ("true", "false")]
    names = drawn(parsed({"name": "n", "summary": "", "nodes": nodes, "edges": edges}), "branch")
    assert [name.text for name in names] == ["true", "false"]
    assert names[0].get("y") != names[1].get("y")


def test_every_category_has_a_colour_that_is_seen_on_light_and_on_dark() -> None:
    assert {kind.category for kind in CATALOG} == set(COLOURS)
    for colour in COLOURS.values():
        for ground in ("#ffffff", "#0d1117"):
            assert contrast(colour, ground) >= 3, (colour, ground)


def test_words_are_readable_on_their_ground_in_both_themes(flow: Flow) -> None:
    themes = re.findall(r"svg \{ (--[^}]*)\}", svg(flow, CATALOG))
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#\w+)", theme))
        assert min(contrast(colours[ink], colours["box"]) for ink in ("ink", "faint")) >= 4.5
        assert contrast(colours["line"], colours["ground"]) >= 3


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2, from 1 to 21."""
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
