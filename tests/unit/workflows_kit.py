"""Valid workflows of many kinds, drawn by hypothesis: what the validator's property tests start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

Flow = dict[str, Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]

TRIGGERS = ("webhook", "schedule", "interval", "manual_trigger", "chat_trigger", "form")
BRANCHING = ("if_else", "switch")
MODEL_TEXT = st.sampled_from(["Hello", "{{input.name}} is here", "{{ input.items[0].id }}", "ünï 日本 🎉"])


class Builder:
    """Grows one workflow; `ends` are the nodes that a step may follow, with the variables stored before it."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.nodes: list[Flow] = []
        self.edges: list[Flow] = []
        self.required: list[Flow] = []
        self.ends: dict[str, frozenset[str]] = {}

    def node(self, kind: str, config: Flow) -> str:
        """Adds a node and returns its id."""
        name = f"{kind}_{len(self.nodes)}"
        spot = {"x": 250 + 300 * len(self.nodes), "y": 100}
        label = {"label": kind} if self.draw(st.booleans()) else {}
        self.nodes.append({"id": name, "type": kind, **label, "position": spot, "config": config})
        return name

    def edge(self, source: str, target: str, handle: str | None = None) -> None:
        """Adds an edge."""
        way = {} if handle is None else {"sourceHandle": handle}
        self.edges.append({"id": f"e{len(self.edges)}", "source": source, "target": target, **way})

    def trigger(self, kind: str) -> None:
        """Adds a trigger."""
        self.ends[self.node(kind, trigger_config(self.draw, kind))] = frozenset()

    def step(self, kind: str) -> None:
        """Adds a step behind one end, or a merge behind two."""
        before = self.draw(st.sampled_from(sorted(self.ends)))
        known = self.ends[before]
        name = self.node(kind, step_config(self.draw, kind, known))
        self.edge(before, name)
        others = sorted(set(self.ends) - {before})
        if kind == "merge" and others:
            other = self.draw(st.sampled_from(others))
            self.edge(other, name)
            known |= self.ends[other]
        config = self.nodes[-1]["config"]
        self.ask_user(name, config)
        if kind in BRANCHING:
            ways = ["true", "false"] if kind == "if_else" else config.get("cases", ["a", "b", "c"])
            for way in ways:
                self.edge(name, leaf := self.node("noop", {}), str(way["value"] if isinstance(way, dict) else way))
                self.ends[leaf] = known
        else:
            self.ends[name] = known | ({config["name"]} if kind == "set_variable" else frozenset())

    def ask_user(self, name: str, config: Flow) -> None:
        """Lists the fields that only the user can fill."""
        for field in ("webhookUrl", "apiKey", "spreadsheetId"):
            if config.get(field, "given") == "":
                self.required.append({"node": name, "field": field})


def trigger_config(draw: Draw, kind: str) -> Flow:
    form_field = st.builds(
        lambda number, kind: {
            "id": f"f{number}", "label": "A", "name": f"n{number}", "type": kind, "required": True,
            **({"options": ["a", "b"]} if kind in ("select", "radio") else {}),
        },
        st.integers(0, 99),
        st.sampled_from(["text", "email", "select", "radio", "checkbox"]),
    )  # fmt: skip
    match kind:
        case "webhook":
            return {"method": draw(st.sampled_from(["GET", "POST", "PUT"]))}
        case "schedule":
            zone = draw(st.sampled_from(["Asia/Kolkata", "UTC", "America/Argentina/Buenos_Aires"]))
            return {"time": draw(st.sampled_from(["09:00", "00:00", "23:59"])), "timezone": zone}
        case "interval":
            return {"interval": draw(st.sampled_from(["30s", "5m", "1h"]))}
        case "form":
            fields = draw(st.lists(form_field, min_size=1, max_size=3, unique_by=lambda field: field["name"]))
            texts = {"formTitle": "A", "formDescription": "B", "submitButtonText": "C", "successMessage": "D"}
            return {**texts, "fields": fields, "redirectUrl": ""}
        case _:
            return {}


def step_config(draw: Draw, kind: str, known: frozenset[str]) -> Flow:
    stored = [f"{{{{variables.{name}}}}}!" for name in sorted(known)]
    text = draw(MODEL_TEXT | st.sampled_from(stored)) if stored else draw(MODEL_TEXT)
    choices = STEP_CONFIGS[kind](text, draw(st.sampled_from(["", "{{input.key}}", "sk-live-9f3c"])))
    return dict(draw(st.sampled_from(choices)))


# The configs that a step of each type may have, with a text of the model's and a value of the user's.
STEP_CONFIGS: Mapping[str, Callable[[str, str], list[Flow]]] = {
    "log_output": lambda text, given: [{"message": text}, {"message": text, "level": "debug"}],
    "http_request": lambda text, given: [{"url": "https://example.com", "method": "PATCH", "headers": {"a": text}}],
    "slack_message": lambda text, given: [{"webhookUrl": given, "message": text}],
    "google_gmail": lambda text, given: [
        {"operation": "send", "to": "a@b.c", "subject": text, "body": text},
        {"operation": "get", "messageId": "7"},
        {"operation": "list"},
    ],
    "google_sheets": lambda text, given: [{"operation": "append", "spreadsheetId": given}],
    "aggregate": lambda text, given: [{"operation": name, "field": text} for name in ("sum", "count", "{{input.op}}")],
    "loop": lambda text, given: [{"array": "{{input.items}}"}, {"array": [1, 2]}],
    "merge": lambda text, given: [{}, {"mode": "append"}],
    "set_variable": lambda text, given: [{"name": name, "value": text} for name in ("limit", "who", "a-b")],
    "javascript": lambda text, given: [{"code": "return {{a: 1}}"}],
    "stripe": lambda text, given: [
        {"operation": "create_charge", "apiKey": given, "amount": amount} for amount in (1999, "{{input.sum}}")
    ],
    "human_approval": lambda text, given: [
        {"approvers": ["a@b.c"], "approvalType": "any", "timeout": "24h", "defaultAction": "reject"}
    ],
    "if_else": lambda text, given: [{"condition": f"{text} == 1"}],
    "switch": lambda text, given: [
        {"expression": text},
        {"expression": text, "cases": ["a", "b"]},
        {"expression": text, "cases": [{"value": "x"}, {"value": 2}]},
    ],
}
STEPS = tuple(STEP_CONFIGS)


@st.composite
def workflows(draw: Draw, must_have: str | None = None) -> Flow:
    """A valid workflow: triggers, a chain of two steps, and up to eight more; with a step of the type `must_have`."""
    builder = Builder(draw)
    for kind in draw(st.lists(st.sampled_from(TRIGGERS), min_size=1, max_size=2)):
        builder.trigger(kind)
    first, second = builder.node("noop", {}), builder.node("noop", {})
    builder.edge(builder.nodes[0]["id"], first)
    builder.edge(first, second)
    builder.ends |= {first: frozenset(), second: frozenset()}
    steps = draw(st.lists(st.sampled_from(STEPS), max_size=8))
    for kind in [*steps, must_have] if must_have else steps:
        builder.step(kind)
    return {
        "name": "Flow",
        "summary": "",
        **draw(st.sampled_from([{}, {"viewport": {"x": 0, "y": 0.5, "zoom": 1}}, {"explanation": "Nothing."}])),
        "nodes": builder.nodes,
        "edges": builder.edges,
        "requiredCredentials": builder.required,
    }
