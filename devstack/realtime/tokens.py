"""Who a connection or a channel speaks for: verified JWTs, and the three wordings of a refusal.

Used by the handshake, by joins, by `access_token` pushes and by the HTTP broadcast (traces/realtime.md §1).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import jwt

_MALFORMED = "The token provided is not a valid JWT"
_UNSIGNED = "Failed to validate JWT signature"
_INCOMPLETE = "Fields `role` and `exp` are required in JWT"
_NO_CHECKS = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}


class TokenError(Exception):
    """A token that is refused, with the words for each place where it can be refused."""

    def __init__(self, handshake: str, join: str, live: str) -> None:
        super().__init__(handshake)
        self.handshake, self.join, self.live = handshake, join, live


@dataclass(frozen=True, slots=True)
class Identity:
    """A database role with its claims (JSON text, as RLS policies see them); `expires` in seconds since 1970."""

    role: str
    claims: str
    expires: float


def verify(token: str, secret: str) -> Identity:
    """The identity that a token proves.

    Raises:
        TokenError: malformed, wrongly signed, incomplete or expired.
    """
    claims = _decoded(token, secret)
    role, expires = claims.get("role"), claims.get("exp")
    if not isinstance(role, str) or expires is None:
        raise TokenError(_INCOMPLETE, f"InvalidJWTToken: {_INCOMPLETE}", _INCOMPLETE)
    if not isinstance(expires, int | float):
        raise TokenError(_MALFORMED, "Unknown Error on Channel", _MALFORMED)
    late = time.time() - expires
    if late >= 0:
        message = expired(late)
        raise TokenError("Token has expired", f"InvalidJWTToken: {message}", message)
    return Identity(role, json.dumps(claims, ensure_ascii=False), float(expires))


def expired(seconds: float) -> str:
    """The message of a token that ran out so many seconds ago."""
    return f"Token has expired {int(seconds)} seconds ago"


def _decoded(token: str, secret: str) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(token, secret, algorithms=["HS256"], options=_NO_CHECKS)  # type: ignore[arg-type]
    except jwt.InvalidSignatureError as error:
        raise TokenError(_UNSIGNED, f"JwtSignatureError: {_UNSIGNED}", ":signature_error") from error
    except jwt.InvalidTokenError as error:
        raise TokenError(_MALFORMED, f"MalformedJWT: {_MALFORMED}", _MALFORMED) from error
    return claims
