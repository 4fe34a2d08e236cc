"""sd_notify: real datagrams to a real socket; silence outside systemd; a broken socket never stops the worker."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

import pytest

from consumer.systemd import extension, notify, status


def listening(address: str) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.bind(address)
    channel.settimeout(10)
    return channel


def test_a_notification_reaches_the_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with listening(str(tmp_path / "notify")) as channel:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1\nSTATUS=bereit für Aufträge")
        assert channel.recv(4096).decode() == "READY=1\nSTATUS=bereit für Aufträge"


def test_an_abstract_socket_works_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"workflow-test-{secrets.token_hex(8)}"
    with listening("\0" + name) as channel:
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify("STOPPING=1")
        assert channel.recv(4096) == b"STOPPING=1"


def test_text_that_is_none_does_not_stop_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with listening(str(tmp_path / "notify")) as channel:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify(status("a model\nsaid \udce9"), extension(1.5))
        assert channel.recv(4096) == b"STATUS=a model said ?\nEXTEND_TIMEOUT_USEC=1500000"


def test_a_systemd_that_reads_nothing_does_not_stop_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with listening(str(tmp_path / "notify")) as channel:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        for _ in range(2000):  # far more than a socket's queue holds
            notify("WATCHDOG=1")
        assert channel.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", [None, ""])
def test_outside_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


@pytest.mark.parametrize("address", ["/nonexistent/notify", "vsock:2:1234", "/" + "x" * 200])
def test_a_socket_that_cannot_be_reached_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
