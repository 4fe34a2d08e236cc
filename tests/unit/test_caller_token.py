"""Callers' tokens: what is accepted, each way to be refused, and how seldom the project's keys are fetched."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from loguru import logger
from pydantic import SecretStr

from consumer.caller_token import CallerTokens, Freshness, KeysUnavailable, PublishedKeys, TokenRefused

SECRET = "not-a-secret-not-a-secret-not-a-secret"
USER = "11111111-2222-3333-4444-555555555555"
ELLIPTIC, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65_537, 2048)
PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def published(**keys: Any) -> dict[str, Any]:
    """A key set, as GoTrue shows it; the algorithm goes with the kind of key."""
    found = []
    for key_id, key in keys.items():
        rsa_key = isinstance(key, rsa.RSAPrivateKey)
        jwk = RSAAlgorithm.to_jwk(key.public_key()) if rsa_key else ECAlgorithm.to_jwk(key.public_key())
        found.append({**json.loads(jwk), "kid": key_id, "use": "sig", "alg": "RS256" if rsa_key else "ES256"})
    return {"keys": found}


class Project:
    """Answers as the project does, and counts."""

    def __init__(self, **keys: Any) -> None:
        self.keys = published(**keys)
        self.fetches: list[str] = []
        self.answer: Callable[[], httpx.Response] = lambda: httpx.Response(200, json=self.keys)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.fetches.append(request.url.path)
        return self.answer()

    def tokens(self, secret: str | None = SECRET, freshness: Freshness | None = None) -> CallerTokens:
        keys = PublishedKeys("http://project.example", freshness, httpx.MockTransport(self))
        return CallerTokens(SecretStr(secret) if secret else None, keys)


def signed(key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **claims: Any) -> str:
    payload = {"sub": USER, "aud": "authenticated", "role": "authenticated", "exp": time.time() + 86_400, **claims}
    headers = {"kid": kid} if kid else {}
    return jwt.encode({k: v for k, v in payload.items() if v is not None}, key, algorithm, headers)


def unsigned(token: str, **header: Any) -> str:
    """The same claims under another header, without a signature."""
    head = jwt.utils.base64url_encode(json.dumps({"typ": "JWT", **header}).encode()).decode()
    return f"{head}.{token.split('.')[1]}."


async def refused(tokens: CallerTokens, token: str) -> str:
    with pytest.raises(TokenRefused) as info:
        await tokens.caller(f"Bearer {token}")
    assert token not in str(info.value)
    return str(info.value)


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(SECRET, "HS256", None), (ELLIPTIC, "ES256", "e1"), (RSA, "RS256", "r1")],
    ids=["HS256", "ES256", "RS256"],
)  # fmt: skip
async def test_a_users_token_is_accepted(key: Any, algorithm: str, kid: str | None) -> None:
    token = signed(key, algorithm, kid)
    caller = await Project(e1=ELLIPTIC, r1=RSA).tokens().caller(f"bearer {token}")
    assert (caller.user_id, caller.token.get_secret_value()) == (USER, token)
    assert token not in repr(caller)


async def test_a_user_is_known_by_the_id_that_the_database_writes() -> None:
    shouted = USER.replace("1111", "aBcD")
    assert (await Project().tokens().caller(f"Bearer {signed(sub=shouted)}")).user_id == shouted.lower()


WRONG: list[tuple[str, str, str]] = [
    ("rubbish", "rubbish", "not valid"),
    ("half_a_token", signed()[:-20], "not valid"),
    ("too_long", "x" * 9000, "too long"),
    ("another_secret", signed("another-secret-another-secret-another-s"), "not valid"),
    ("expired", signed(exp=time.time() - 3600), "has expired"),
    ("no_expiry", signed(exp=None), "not valid"),
    ("not_yet_valid", signed(nbf=time.time() + 3600), "not valid"),
    ("no_user", signed(sub=None), "not valid"),
    ("a_subject_that_is_no_user", signed(sub="nobody"), "no user id"),
    ("an_empty_subject", signed(sub=""), "no user id"),
    ("wrong_audience", signed(aud="other"), "audience"),
    ("no_audience", signed(aud=None), "not valid"),
    ("the_services_role", signed(role="service_role"), "role"),
    ("nobodys_role", signed(role="anon"), "role"),
    ("no_role", signed(role=None), "role"),
    ("alg_none", unsigned(signed(), alg="none"), "not accepted"),
    ("alg_none_in_capitals", unsigned(signed(), alg="NONE"), "not accepted"),
    ("no_alg", unsigned(signed()), "not"),
    ("another_hmac", signed(algorithm="HS512"), "not accepted"),
    ("no_key_id", signed(ELLIPTIC, "ES256"), "does not publish"),
    ("another_key", signed(OTHER, "ES256", "e1"), "not valid"),
    ("an_unknown_key_id", signed(OTHER, "ES256", "e9"), "does not publish"),
    ("anothers_key_id", signed(ELLIPTIC, "ES256", "r1"), "does not publish"),
]


@pytest.mark.parametrize(("token", "why"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
async def test_what_is_no_users_token_is_refused_with_the_reason(token: str, why: str) -> None:
    assert why in await refused(Project(e1=ELLIPTIC, r1=RSA).tokens(), token)


async def test_a_public_key_cannot_be_used_as_a_secret() -> None:
    """Algorithm confusion: HS256 over the text of the published key."""
    claims = signed().split(".")[1]
    head = jwt.utils.base64url_encode(b'{"alg":"HS256","kid":"r1"}').decode()
    body = f"{head}.{claims}".encode()
    for text in (PEM, json.dumps(published(r1=RSA)["keys"][0]).encode()):
        mac = jwt.get_algorithm_by_name("HS256").sign(body, text)
        token = f"{body.decode()}.{jwt.utils.base64url_encode(mac).decode()}"
        assert "not valid" in await refused(Project(r1=RSA).tokens(), token)
        assert "SUPABASE_JWT_SECRET" in await refused(Project(r1=RSA).tokens(secret=None), token)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", f"Basic {signed()}", signed()])
async def test_another_header_is_told_which_one_to_send(header: str) -> None:
    with pytest.raises(TokenRefused, match="Authorization: Bearer"):
        await Project().tokens().caller(header)


async def test_keys_are_fetched_once_also_for_many_at_once_and_never_for_the_secret() -> None:
    project = Project(e1=ELLIPTIC)
    tokens = project.tokens()
    await tokens.caller(f"Bearer {signed()}")
    assert project.fetches == []
    await asyncio.gather(*(tokens.caller(f"Bearer {signed(ELLIPTIC, 'ES256', 'e1')}") for _ in range(20)))
    assert project.fetches == ["/auth/v1/.well-known/jwks.json"]


async def test_unknown_key_ids_do_not_make_it_fetch_again_and_again() -> None:
    project = Project(e1=ELLIPTIC)
    tokens = project.tokens()
    for number in range(20):
        await refused(tokens, signed(OTHER, "ES256", f"unknown-{number}"))
    assert len(project.fetches) == 1


async def test_a_new_key_is_found_and_a_revoked_one_forgotten() -> None:
    project = Project(e1=ELLIPTIC)
    tokens = project.tokens(freshness=Freshness(keep=0, pause=0))
    old, new = signed(ELLIPTIC, "ES256", "e1"), signed(OTHER, "ES256", "e2")
    await tokens.caller(f"Bearer {old}")
    project.keys = published(e2=OTHER)
    await tokens.caller(f"Bearer {new}")
    assert "does not publish" in await refused(tokens, old)


AWAY: list[tuple[str, Callable[[], httpx.Response]]] = [
    ("an_error", lambda: httpx.Response(503)),
    ("a_page", lambda: httpx.Response(200, text="<html>")),
    ("no_key_set", lambda: httpx.Response(200, json=["keys"])),
    ("too_much", lambda: httpx.Response(200, content=b" " * 70_000)),
    ("a_redirect", lambda: httpx.Response(302, headers={"Location": "http://evil.example"})),
]


@pytest.mark.parametrize("answer", [answer for _, answer in AWAY], ids=[name for name, _ in AWAY])
async def test_while_the_keys_are_away_known_ones_serve_and_nobody_is_called_unknown(
    answer: Callable[[], httpx.Response],
) -> None:
    project = Project(e1=ELLIPTIC)
    tokens = project.tokens(freshness=Freshness(keep=0, pause=0))
    await tokens.caller(f"Bearer {signed(ELLIPTIC, 'ES256', 'e1')}")
    project.answer = answer
    await tokens.caller(f"Bearer {signed(ELLIPTIC, 'ES256', 'e1')}")
    with pytest.raises(KeysUnavailable):
        await tokens.caller(f"Bearer {signed(OTHER, 'ES256', 'e2')}")
    project.answer = lambda: httpx.Response(200, json=published(e2=OTHER))
    await tokens.caller(f"Bearer {signed(OTHER, 'ES256', 'e2')}")


async def test_a_failed_fetch_is_not_repeated_at_once() -> None:
    project = Project()
    project.answer = lambda: httpx.Response(500)
    tokens = project.tokens()
    for _ in range(5):
        with pytest.raises(KeysUnavailable):
            await tokens.caller(f"Bearer {signed(ELLIPTIC, 'ES256', 'e1')}")
    assert len(project.fetches) == 1


async def test_a_project_without_published_keys_knows_nobody_by_them() -> None:
    project = Project()
    project.answer = lambda: httpx.Response(404)
    assert "does not publish" in await refused(project.tokens(), signed(ELLIPTIC, "ES256", "e1"))


async def test_keys_that_cannot_be_used_are_passed_over() -> None:
    project = Project(e1=ELLIPTIC)
    secret = {"kty": "oct", "kid": "s1", "alg": "HS256", "k": "c2VjcmV0"}
    project.keys["keys"] = [secret, {"kty": "new"}, None, "x", {}, *project.keys["keys"]]
    tokens = project.tokens(secret=None)
    await tokens.caller(f"Bearer {signed(ELLIPTIC, 'ES256', 'e1')}")
    assert "SUPABASE_JWT_SECRET" in await refused(tokens, signed("secret" * 8, "HS256", "s1"))


async def test_no_token_is_logged() -> None:
    said: list[str] = []
    sink = logger.add(lambda line: said.append(str(line)), level="TRACE")
    project = Project()
    project.answer = lambda: httpx.Response(500)
    token = signed(ELLIPTIC, "ES256", "e1")
    with pytest.raises(KeysUnavailable):
        await project.tokens().caller(f"Bearer {token}")
    logger.remove(sink)
    assert said
    assert all(part not in line for line in said for part in token.split("."))
