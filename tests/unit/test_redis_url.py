"""REDIS_URL is checked before anything is asked of it, and what is wrong is said without repeating any of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from pydantic import SecretStr

from consumer.errors import ConfigurationError
from consumer.extras import redis_bell
from consumer.redis_client import RedisAway, RedisClient
from consumer.settings import Settings, load_settings
from devstack.keys import Keys

SECRET = "hunter2-hunter2"


def settings(url: str) -> Settings:
    key = Keys.fresh().secret
    return load_settings(supabase_url="http://127.0.0.1:9", supabase_service_role_key=key, redis_url=url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("127.0.0.1:6379", "is not a redis:// or rediss:// URL with a host"),
        (f"http://:{SECRET}@localhost", "is not a redis:// or rediss:// URL with a host"),
        ("unix:///run/redis.sock", "is not a redis:// or rediss:// URL with a host"),
        ("redis://", "is not a redis:// or rediss:// URL with a host"),
        (f"redis://:{SECRET}@localhost:99999", "is not a URL"),
        (f"redis://:{SECRET}#1@localhost", "is not a URL"),
        (f"redis://:{SECRET} 1@localhost", "holds characters that no URL has"),
        (f"redis://:{SECRET}@localhost/jobs", "something other than a database's number"),
        (f"redis://:{SECRET}@localhost/0?socket_timeout=99", "has options other than"),
        (f"redis://:{SECRET}@localhost/0?ssl_cert_reqs=none", "has options other than"),
        (f"rediss://:{SECRET}@localhost/0?ssl_cert_reqs=maybe", "has an ssl_cert_reqs other than"),
    ],
)
def test_a_url_that_cannot_be_used_is_one_line_that_names_the_variable(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(url)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("REDIS_URL: ")
    assert reason in line
    assert "rediss:// for TLS" in line
    assert SECRET not in line


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost", "redis://:pass%2Fword@127.0.0.1:6379/0", "redis://user:word@[::1]:6379/15",
        "rediss://default:word@redis.example:6380", "rediss://redis.example?ssl_cert_reqs=none&ssl_ca_certs=/etc/ca.pem",
    ],
)  # fmt: skip
def test_usable_urls_are_kept_secret(url: str) -> None:
    found = settings(url)
    assert found.redis_url == SecretStr(url)
    assert url not in repr(found)
    assert redis_bell(found) is not None


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("consumer.redis_bell", "consumer.redis_client"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigurationError) as caught:
        redis_bell(settings("redis://localhost"))
    (line,) = str(caught.value).splitlines()
    assert line.startswith("REDIS_URL: ")
    assert line.endswith('Run: pip install "workflow-consumer[redis]"')


def test_without_redis_url_the_package_is_not_loaded() -> None:
    code = "import sys, consumer.app, consumer.cli; print({'redis', 'consumer.redis_bell'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    "answer",
    [
        f"-ERR unknown command 'AUTH', with args beginning with: '{SECRET[:8]}' \r\n",
        f"-ERR what is AUTH {SECRET}?\r\n",
        "-OOM\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "$-7\r\n",
        "\r\n",
        "",
    ],
    ids=["repeats a part", "repeats it", "error", "a web server", "nonsense", "nothing", "closes"],
)
async def test_whatever_answers_is_away_in_one_line_without_the_password(answer: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = RedisClient(SecretStr(f"redis://:{SECRET}@127.0.0.1:{port}"), project="any")
    with pytest.raises(RedisAway) as caught:
        await client.connect()
    await client.aclose()
    server.close()
    (line,) = str(caught.value).splitlines()
    assert SECRET[:8] not in line
