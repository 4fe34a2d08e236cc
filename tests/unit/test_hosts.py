"""Hosts and ports as people write them, and which of them are this machine."""

from __future__ import annotations

import pytest

from consumer.hosts import Place, is_local, is_loopback, parse_place


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8001", "127.0.0.1", 8001),
        ("localhost", "localhost", None),
        (":9000", "here", 9000),
        ("", "here", None),
        ("[::1]:8001", "::1", 8001),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("[::]", "::", None),
        ("worker_1.example.com:0", "worker_1.example.com", 0),
    ],
)
def test_a_place_is_a_host_a_port_or_both(text: str, host: str, port: int | None) -> None:
    place = parse_place(text, "here")
    assert (place.host, place.port) == (host, port)
    assert parse_place(str(place)) == place


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("8001", "no usable host"),
        ("-x:1", "no usable host"),
        ("a b:1", "no usable host"),
        ("http://127.0.0.1:1", "not HOST:PORT"),
        ("::1", "not HOST:PORT"),
        ("[::1", "not HOST:PORT"),
        ("[::1]8001", "not HOST:PORT"),
        ("127.0.0.1:x", "not HOST:PORT"),
        ("127.0.0.1:٣", "not HOST:PORT"),
        ("127.0.0.1:", "not HOST:PORT"),
        ("[127.0.0.1]:1", "no IPv6 address"),
        ("127.0.0.1:65536", "over 65535"),
    ],
)
def test_what_is_no_place_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_place(text, "here")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST", "a.localhost"])
def test_only_this_machine_reaches_a_loopback_host(host: str) -> None:
    assert is_loopback(host)
    assert is_local(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_all_interfaces_are_this_machine_but_no_loopback(host: str) -> None:
    assert is_local(host)
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "::ffff:127.0.0.1", "127.0.0.1.example", "localhost.example", "2130706433"]
)
def test_other_hosts_are_neither(host: str) -> None:
    assert not is_local(host)


def test_a_place_without_a_port_is_written_without_one() -> None:
    assert (str(Place("::1")), str(Place("::1", 0))) == ("[::1]", "[::1]:0")
