"""The editor form (React Flow) of a stored workflow, derived on request (contract §5). Called by the CLI and HTTP."""

from __future__ import annotations

from consumer.job import JsonObject
from schemas.catalog import Catalog

_ICONS = {
    "triggers": "Zap",
    "logic": "GitBranch",
    "data": "Table",
    "google": "Mail",
    "ai": "Sparkles",
    "http_api": "Globe",
    "output": "Send",
    "database": "Database",
    "storage": "HardDrive",
    "utility": "Wrench",
    "crm": "Users",
    "devops": "Server",
    "social_media": "Share2",
    "productivity": "CheckSquare",
    "authentication": "Key",
    "payment": "CreditCard",
    "ecommerce": "ShoppingCart",
    "analytics": "BarChart",
}


def editor_form(workflow: JsonObject, catalog: Catalog | None = None) -> JsonObject:
    """The valid workflow as the editor loads it: nodes `custom` (or `form`) with `data`, and a viewport."""
    known = catalog or Catalog.load()
    nodes = [_node(node, known) for node in workflow["nodes"]]
    return {**workflow, "nodes": nodes, "viewport": workflow.get("viewport", {"x": 0, "y": 0, "zoom": 1})}


def _node(node: JsonObject, catalog: Catalog) -> JsonObject:
    kind = catalog.get(node["type"])
    data = {
        "type": node["type"],
        "label": node.get("label") or (kind.label if kind else node["type"]),
        "category": kind.category if kind else "",
        "icon": _ICONS.get(kind.category if kind else "", "Box"),
        "config": node["config"],
    }
    shape = "form" if node["type"] == "form" else "custom"
    return {"id": node["id"], "type": shape, "position": node["position"], "data": data}
