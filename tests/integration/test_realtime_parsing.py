"""The stand-in's small parsers and casts, without a database."""

from __future__ import annotations

import json
import time

import jwt
import pytest

from devstack.keys import Keys
from devstack.realtime.bindings import BindingError, Filter, binding_id, parse
from devstack.realtime.pgoutput import Decoder
from devstack.realtime.protocol import Push, UserMessage, decode, encode
from devstack.realtime.tokens import TokenError, verify
from devstack.realtime.values import cast

ON_JOBS = {"schema": "public", "table": "jobs"}


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        ("numeric", "12345678901234567890.123456789", "12345678901234567890.123456789"),
        ("numeric", "1.10", "1.10"),
        ("numeric", "NaN", "null"),
        ("int8", "9223372036854775807", "9223372036854775807"),
        ("float8", "1e+21", "1000000000000000000000"),
        ("float8", "1e-07", "0.0000001"),
        ("float8", "-0", "0"),
        ("float8", "-Infinity", "null"),
        ("bool", "f", "false"),
        ("bytea", "\\xdeadbeef00", '"deadbeef00"'),
        ("bytea", "\\x", '""'),
        ("uuid", "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", '"aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"'),
        ("jsonb", '{"a": [1, 2.50]}', '{"a": [1, 2.50]}'),
        ("timestamptz", "2026-01-02 01:04:05.6789+00", '"2026-01-02T01:04:05.6789+00:00"'),
        ("timestamptz", "0044-03-15 00:00:00+00 BC", '"0044-03-15T00:00:00+00:00 BC"'),
        ("timestamptz", "-infinity", '"-infinity"'),
        ("timestamp", "2026-01-02 03:04:05", '"2026-01-02T03:04:05"'),
        ("date", "2026-01-02", '"2026-01-02"'),
        ("text", 'a "b"\n☃', '"a \\"b\\"\\n☃"'),
        ("_text", '{a,"b c",NULL,"NULL","q\\"\\\\,"}', '["a", "b c", null, "NULL", "q\\"\\\\,"]'),
        ("_int4", "[0:1]={7,8}", "[7, 8]"),
        ("_text", "{{1,2},{3,4}}", '[["1", "2"], ["3", "4"]]'),
        ("_text", '{""}', '[""]'),
        ("_bool", "{}", "[]"),
    ],
)
def test_values_keep_every_digit_and_the_types_of_jsonb(kind: str, text: str, wanted: str) -> None:
    assert cast(kind, text) == wanted


def test_a_filter_is_split_at_commas_outside_parentheses_and_quotes() -> None:
    binding = parse({**ON_JOBS, "event": "update", "filter": 'status=in.(a,"b,c"), name=eq."x,y", n=not.gt.5'})
    assert binding.event == "UPDATE"
    assert binding.filters == (
        Filter("status", "in", '{a,"b,c"}', negated=False),
        Filter("name", "eq", "x,y", negated=False),
        Filter("n", "gt", "5", negated=True),
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"filter": "a=zz.1"}, 'Error parsing `filter` params: ["zz", "1"]'),
        ({"filter": "undefined"}, 'Error parsing `filter` params: ["undefined"]'),
        ({"filter": "a=eq"}, 'Error parsing `filter` params: ["eq"]'),
        ({"filter": "a=eq.1,"}, "filter must not contain empty segments (check for extra commas)"),
        ({"filter": "a=in.1"}, "`in` filter value must be wrapped by parentheses"),
        ({"filter": 5}, '%{"filter" => 5, "schema" => "public", "table" => "jobs"}'),
        ({"select": "id"}, "Error parsing `select` params: expected a list of column name strings"),
        ({"table": "*", "select": ["id"]}, "Column selection is not supported for wildcard subscriptions."),
        ({"table": None, "user_token": "secret"}, "to subscribe to: <redacted>"),
    ],
)
def test_a_binding_that_cannot_be_parsed_says_what_the_real_server_says(
    params: dict[str, object], message: str
) -> None:
    with pytest.raises(BindingError) as refused:
        parse({**ON_JOBS, **params})
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_binding_id_depends_on_the_binding_and_not_on_the_order_of_its_keys() -> None:
    assert binding_id({"schema": "a", "table": "b"}) == binding_id({"table": "b", "schema": "a"})
    assert binding_id(ON_JOBS) != binding_id({**ON_JOBS, "event": "*"})
    assert 0 <= binding_id(ON_JOBS) < 2**27


@pytest.mark.parametrize("raw", ["", "5", "ping", "{", "[]", "{}", b"\x03\x01\x01",
                                 '{"topic":5,"event":"x","payload":{},"ref":"1"}',
                                 '{"topic":"a","event":"x","payload":"\\ud800","ref":"1"}'])  # fmt: skip
def test_what_is_not_a_frame_is_ignored(raw: str | bytes) -> None:
    assert decode(1, raw) is None
    assert decode(2, raw) is None


@pytest.mark.parametrize("raw", [b"\x03\x01", b"\x03\x00\x00\xff\x00\x00\x01abc", b"\x03\x00\x00\x01\x00\x00\x01t{",
                                 b"\x03\x00\x00\x01\x00\x00\x01\xff{}"])  # fmt: skip
def test_a_broken_binary_frame_is_ignored(raw: bytes) -> None:
    assert decode(2, raw) is None


def test_a_binary_push_becomes_a_broadcast_that_both_versions_can_hear() -> None:
    push = decode(2, bytes([3, 1, 2, 1, 1, 2, 1]) + b"1" + b"22" + b"t" + b"e" + b"{}" + b'{"k":1}')
    assert push == Push("t", "broadcast", UserMessage("e", b'{"k":1}'), "22", "1")
    assert push.payload.as_bytes("t") == bytes([4, 1, 1, 0, 1]) + b"te" + b'{"k":1}'
    assert json.loads(push.payload.as_json()) == {"event": "e", "payload": {"k": 1}, "type": "broadcast"}
    assert UserMessage("e", b"\x00", encoding=0).as_json() is None


def test_version_1_never_carries_a_join_ref() -> None:
    assert encode(1, "t", "e", "{}", ref="1", join_ref="1") == '{"ref":"1","event":"e","payload":{},"topic":"t"}'
    assert encode(2, "t", "e", "{}", ref=4, join_ref=None) == '[null,4,"t","e",{}]'


def test_pgoutput_leaves_unchanged_toast_out_and_keeps_only_the_key_of_an_old_row() -> None:
    decoder = Decoder()
    relation = b"R" + bytes([0, 0, 0, 9]) + b"public\0jobs\0d" + bytes([0, 2])
    assert decoder.feed(relation + b"\1id\0" + bytes(8) + b"\0big\0" + bytes(8)) is None
    assert decoder.feed(b"B" + bytes(8) + (1_500_000).to_bytes(8, "big") + bytes(4)) is None

    def text(value: bytes) -> bytes:
        return b"t" + len(value).to_bytes(4, "big") + value

    old, new = b"K\0\2" + text(b"a") + b"n", b"N\0\2" + text(b"b") + b"u"
    change = decoder.feed(b"U" + bytes([0, 0, 0, 9]) + old + new)
    assert change is not None
    assert (change.kind, change.old, change.new) == ("UPDATE", {"id": "a"}, {"id": "b"})
    assert change.committed.isoformat() == "2000-01-01T00:00:01.500000+00:00"
    assert decoder.feed(b"T" + bytes(9)) is None


def test_a_token_is_refused_in_three_wordings() -> None:
    keys = Keys.fresh()
    late = keys.user_token("u", expires_in=-60)
    with pytest.raises(TokenError) as refused:
        verify(late, keys.jwt_secret)
    assert refused.value.handshake == "Token has expired"
    assert refused.value.join == "InvalidJWTToken: Token has expired 60 seconds ago"
    assert refused.value.live == "Token has expired 60 seconds ago"


def test_an_unsigned_token_is_not_a_token() -> None:
    forged = jwt.encode({"role": "service_role", "exp": time.time() + 60}, "", algorithm="none")
    with pytest.raises(TokenError):
        verify(forged, Keys.fresh().jwt_secret)
