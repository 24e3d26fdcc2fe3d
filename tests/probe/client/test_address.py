from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nnlint.errors import UsageError
from nnlint.probe_service.client.address import is_loopback, parse_address


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("localhost", "localhost:7478"),
        ("localhost:80", "localhost:80"),
        ("127.0.0.1", "127.0.0.1:7478"),
        ("127.3.2.1:9", "127.3.2.1:9"),
        ("::1", "[::1]:7478"),
        ("[::1]", "[::1]:7478"),
        ("[::1]:81", "[::1]:81"),
        ("LocalHost.:81", "LocalHost.:81"),
        ("unix:/run/nnlint.sock", "unix:/run/nnlint.sock"),
        ("unix:///run/nnlint.sock", "unix:/run/nnlint.sock"),
    ],
)
def test_this_machine_is_spoken_to_in_plain_text(text: str, shown: str) -> None:
    address = parse_address(text)
    assert str(address) == shown
    assert address.tls is None
    assert address.local


def test_a_relative_socket_is_the_current_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_address("unix:s.sock").path == f"{tmp_path}/s.sock"


@pytest.mark.parametrize(
    "host",
    ["gpu-box", "10.0.0.1", "0.0.0.0", "[2001:db8::1]", "localhost.evil.org", "127.0.0.1.evil.org"],  # noqa: S104 - no binding
)
def test_another_machine_demands_tls(host: str) -> None:
    with pytest.raises(UsageError, match="would not be encrypted") as caught:
        parse_address(f"{host}:99")
    assert f"ssh -NL 99:localhost:99 {host.strip('[]')}" in caught.value.hint
    assert "--tls-ca" in caught.value.hint
    address = parse_address(f"{host}:99", tls=True)
    assert address.tls is not None
    assert address.tls.authorities is None
    assert not address.local


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":7478",
            "host:",
            "host:port",
            "host:0",
            "host:65536",
            "host:7478:1",
            "[::1",
            "[host]:1",
        ),
        *("[::1]x", "[::1]:", "http://host", "host/path", "unix:", "a b:1", "unix:/" + "x" * 120),
    ],
)
def test_a_malformed_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text, tls=True)


def test_the_token_comes_from_the_file_or_else_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parse_address("localhost").token == ""
    monkeypatch.setenv("NNLINT_TOKEN", "from-environment\n")
    assert parse_address("localhost").token == "from-environment"  # noqa: S105 - a test's
    file = tmp_path / "token"
    file.write_text("from-file\r\n")
    address = parse_address("localhost", token_file=str(file))
    assert address.token == "from-file"  # noqa: S105 - a test's
    assert "from-file" not in repr(address)


@pytest.mark.parametrize("text", ["", " \n", "two words", "tök", "a\x00b", "x" * 5000])
def test_a_file_without_a_token_is_a_usage_error(text: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        parse_address("localhost", token_file=str(file))
    assert "two" not in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"token_file": "missing"}, "--token-file: missing cannot be read: No such file"),
        ({"tls_ca": "missing"}, "--tls-ca: missing cannot be read: No such file"),
        ({"tls_ca": "empty"}, "--tls-ca: empty holds no certificate in PEM form"),
        ({"tls_cert": "empty"}, "--tls-cert goes with --tls-key"),
        ({"tls_key": "empty"}, "--tls-key goes with --tls-cert"),
    ],
)
def test_a_wrong_file_is_named_with_its_option(
    options: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").touch()
    with pytest.raises(UsageError) as caught:
        parse_address("localhost", **options)
    assert str(caught.value).startswith(said)


def test_a_socket_takes_no_tls() -> None:
    with pytest.raises(UsageError, match="is not encrypted"):
        parse_address("unix:/run/s", tls=True)


def test_no_name_is_looked_up_to_tell_this_machine() -> None:
    assert is_loopback("LOCALHOST")
    assert not is_loopback("localhost.localdomain")
