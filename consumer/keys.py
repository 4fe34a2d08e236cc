"""What an API key of a Supabase project says about itself. Called by the settings.

Only the project can tell for sure.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any


def unfit(key: str) -> str | None:
    """Why this key cannot be a worker's key; None when it may be one."""
    if not key:
        return "is empty"
    if not re.fullmatch(r"[!-~]+", key):
        return "holds characters that no key has: copy it whole"
    if key.startswith("sb_publishable_"):
        return "is the publishable key, which may not claim jobs"
    if key.startswith("sb_secret_"):
        return None
    role = claims_of(key).get("role")
    if role is None:
        return "is neither an sb_secret_… key nor a JWT with a role"
    return None if role == "service_role" else f"is the key of role {str(role)[:40]!r}, which may not claim jobs"


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a JWT, unverified; none when it is no JWT."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}
