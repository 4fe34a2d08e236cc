"""Lines, objects and names off Ollama's wire."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import ModelUnavailable
from consumer.ollama_wire import MAX_ERROR_CHARS, LineSplitter, canonical, clip, entries, error_text, keep_alive, parse
from tests.ollama_replay import RECORDED

LINES = st.lists(st.text().map(lambda text: text.replace("\n", "")), max_size=8)


@given(LINES, st.lists(st.integers(1, 5), max_size=40))
def test_lines_are_the_same_however_the_bytes_are_cut(lines: list[str], sizes: list[int]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    splitter, found, at = LineSplitter(), list[bytes](), 0
    for size in sizes:
        found += splitter.feed(data[at : at + size])
        at += size
    found += splitter.feed(data[at:])
    assert [line.decode() for line in found] == lines
    assert splitter.end() == []


def test_only_a_newline_ends_a_line() -> None:
    data = "a\u0085b\u2028c\rd\x0be\x1cf\n".encode()
    assert LineSplitter().feed(data) == [data[:-1]]


def test_a_reply_without_a_newline_is_a_line_at_the_end() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b'{"version"') == []
    assert splitter.feed(b':"0"}') == []
    assert splitter.end() == [b'{"version":"0"}']
    assert splitter.end() == []


def test_a_line_without_end_is_refused_instead_of_kept() -> None:
    splitter = LineSplitter(limit=100)
    splitter.feed(b"x" * 60)
    with pytest.raises(ModelUnavailable, match="more than 100 bytes"):
        splitter.feed(b"x" * 60)


@pytest.mark.parametrize(
    "line", [b"", b"<html>", b"[1]", b"null", b'{"a":', b'{"a":"\xff"}', b"[" * 100_000, b'"secret"']
)
def test_what_is_no_json_object_is_no_ollama_and_is_not_quoted(line: bytes) -> None:
    with pytest.raises(ModelUnavailable, match="no Ollama") as raised:
        parse(line)
    assert "secret" not in str(raised.value)


@given(st.binary())
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    with suppress(ModelUnavailable):
        assert isinstance(parse(data), dict)
    assert len(error_text(data)) <= MAX_ERROR_CHARS


def test_an_error_inside_an_error_string_is_parsed_too() -> None:
    inner = {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}}
    assert error_text({"error": json.dumps(inner)}) == "too long"
    assert error_text(json.dumps({"error": json.dumps(inner)}).encode()) == "too long"
    assert error_text({"error": {"message": "model 'x' not found"}}) == "model 'x' not found"
    assert error_text({"error": "{broken"}) == "broken"
    assert error_text({"error": 7}) == ""


def test_an_error_of_a_proxy_is_its_text() -> None:
    assert error_text(b"404 page not found") == "404 page not found"
    assert error_text(b"") == ""
    assert error_text(b"<html>" + b"\xff" * 100_000)[:6] == "<html>"


def test_a_text_for_the_log_is_one_short_printable_line() -> None:
    assert clip("a\x1b[31m\n b\ud800\x00") == "a?[31m b??"
    assert len(clip("x" * 10_000)) == MAX_ERROR_CHARS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mistral", "mistral:latest"),
        ("Mistral:7B", "mistral:7b"),
        ("registry.ollama.ai/library/mistral:7b", "mistral:7b"),
        ("library/mistral", "mistral:latest"),
        ("hf.co/user/model", "hf.co/user/model:latest"),
        ("localhost:5000/team/model", "localhost:5000/team/model:latest"),
    ],
)
def test_a_model_has_one_name(name: str, expected: str) -> None:
    assert canonical(name) == expected == canonical(expected)


def test_lists_survive_entries_that_are_none() -> None:
    assert entries({"models": None}) == []
    assert entries({"models": [7, {"name": "a", "digest": "d"}]}) == [("a:latest", {"name": "a", "digest": "d"})]
    tags = parse(RECORDED["0.24/tags"].payload)
    assert [name for name, _ in entries(tags)] == ["native:latest", "qwen2.5:7b", "mistral:7b"]


@pytest.mark.parametrize(
    ("given_value", "sent"), [("-1", -1), ("0", 0), ("300", 300), ("10m", "10m"), (-1, -1), ("-", "-")]
)
def test_keep_alive_numbers_are_sent_as_numbers(given_value: str | int, sent: str | int) -> None:
    assert keep_alive(given_value) == sent
