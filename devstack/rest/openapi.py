"""The root document: which tables and functions there are, as a short OpenAPI 2.0 description. Called by `api`."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from devstack.rest.cache import SchemaCache


def describe(cache: SchemaCache) -> Response:
    """Paths of the exposed schema; enough for a client that checks whether the API is up."""
    paths: dict[str, Any] = {f"/{name}": {"get": {}, "post": {}, "patch": {}, "delete": {}} for name in cache.tables}
    paths |= {f"/rpc/{name}": {"post": {}} for name in cache.functions}
    info = {"title": "standard public schema", "version": "14.17"}
    document = {"swagger": "2.0", "info": info, "basePath": "/", "paths": dict(sorted(paths.items()))}
    return Response(json.dumps(document), 200, {"Content-Type": "application/openapi+json; charset=utf-8"})
