"""Who asks: the bearer token of a request, checked as PostgREST 14 does. Called by `api`.

HS256 with one secret, no audience, 30 s leeway (traces/postgrest.md §3, group jwt).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, NoReturn

import jwt

from devstack.rest.errors import RestError

LEEWAY = 30.0
ANON = "anon"


@dataclass(frozen=True, slots=True)
class Caller:
    """The database role of a request, and the claims its transaction can read."""

    role: str
    claims: dict[str, Any]


def authenticate(authorization: str | None, secret: str) -> Caller:
    """The caller named by an Authorization header; anything but a bearer token is the anonymous one.

    Raises:
        RestError: 401 PGRST301 for a token that is not ours, 401 PGRST303 for claims that do not hold now.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return Caller(ANON, {"role": ANON})
    claims = _claims(token.strip(), secret)
    _check_times(claims, time.time())
    role = claims.get("role", ANON)
    role = role if isinstance(role, str) else json.dumps(role)
    return Caller(role, {**claims, "role": role})


def _claims(token: str, secret: str) -> dict[str, Any]:
    if not token:
        _refuse("Empty JWT is sent in Authorization header")
    if (parts := token.count(".") + 1) != 3:
        _refuse(f"Expected 3 parts in JWT; got {parts}")
    try:
        _check_algorithm(jwt.get_unverified_header(token).get("alg"))
        payload = jwt.api_jws.decode_complete(token, secret, algorithms=["HS256"])["payload"]
    except jwt.InvalidSignatureError:
        _refuse("No suitable key or wrong key type", "None of the keys was able to decode the JWT")
    except jwt.PyJWTError:
        _refuse("JWT cryptographic operation failed")
    return _object(payload)


def _check_algorithm(name: object) -> None:
    if name == "none":
        _refuse("Wrong or unsupported encoding algorithm", "JWT is unsecured but expected 'alg' was not 'none'")
    if name != "HS256":
        _refuse("No suitable key or wrong key type", "No suitable key was found to decode the JWT")


def _object(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except ValueError:
        claims = None
    if not isinstance(claims, dict):
        _refuse("Parsing claims failed", code="PGRST303")
    return claims


def _check_times(claims: dict[str, Any], now: float) -> None:
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name, now)
        if isinstance(value, bool) or not isinstance(value, int | float):
            _refuse(f"The JWT '{name}' claim must be a number", code="PGRST303")
    if claims.get("exp", now) < now - LEEWAY:
        _refuse("JWT expired", code="PGRST303")
    if claims.get("nbf", now) > now + LEEWAY:
        _refuse("JWT not yet valid", code="PGRST303")
    if claims.get("iat", now) > now + LEEWAY:
        _refuse("JWT issued at future", code="PGRST303")


def _refuse(message: str, details: str | None = None, *, code: str = "PGRST301") -> NoReturn:
    challenge = f'Bearer error="invalid_token", error_description="{message}"'
    raise RestError(401, code, message, details, headers={"WWW-Authenticate": challenge})
