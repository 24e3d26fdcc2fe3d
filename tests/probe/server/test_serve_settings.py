"""What the server refuses to start with, and what it says then."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from nnlint.cli import main
from nnlint.errors import UsageError
from nnlint.probe_service.server.settings import (
    Settings,
    Tls,
    check,
    default_store,
    parse_listen,
    read_tokens,
)

TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - for a test


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return Tls(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")


@pytest.mark.parametrize(
    ("text", "target", "loopback"),
    [
        ("127.0.0.1:7478", "127.0.0.1:7478", True),
        ("127.8.9.10:0", "127.8.9.10:0", True),
        ("[::1]:80", "[::1]:80", True),
        ("localhost:1", "localhost:1", True),
        ("unix:/run/x.sock", "unix:/run/x.sock", True),
        ("unix:///run/x.sock", "unix:/run/x.sock", True),
        ("0.0.0.0:7478", "0.0.0.0:7478", False),
        ("[::]:7478", "[::]:7478", False),
        ("10.1.2.3:7478", "10.1.2.3:7478", False),
        ("[::ffff:10.1.2.3]:7478", "[::ffff:10.1.2.3]:7478", False),
    ],
)
def test_addresses_are_read(text: str, target: str, loopback: bool) -> None:
    listen = parse_listen(text)
    assert listen.target == target
    assert listen.loopback is loopback


@pytest.mark.parametrize(
    "text", ["", "7478", ":7478", "host", "host:", "host:x", "host:70000", "host:-1", "unix:"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_listen(text)


def test_a_long_socket_path_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="longer than 100 bytes"):
        parse_listen("unix:/" + "x" * 120)


@pytest.mark.parametrize("address", ["0.0.0.0:7478", "[::]:7478", "192.0.2.1:7478"])
def test_the_network_needs_tls_and_a_token(address: str, tls: Tls) -> None:
    encrypted = Tls(tls.certificate, tls.key)
    with pytest.raises(UsageError, match=r"needs TLS .* and a token") as raised:
        check(Settings(listen=address))
    assert "ssh -L" in raised.value.hint
    with pytest.raises(UsageError, match="needs TLS"):
        check(Settings(listen=address, tokens=(TOKEN,)))
    with pytest.raises(UsageError, match="needs a token"):
        check(Settings(listen=address, tls=encrypted))
    check(Settings(listen=address, tls=encrypted, tokens=(TOKEN,)))
    check(Settings(listen=address, tls=tls))  # certificates say who calls


def test_the_refusal_reaches_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--listen", "0.0.0.0:7478"]) == 2
    said = capsys.readouterr().err
    assert "can be reached from the network" in said
    assert "hint: " in said


def test_metrics_stay_on_this_machine() -> None:
    with pytest.raises(UsageError, match="--metrics"):
        check(Settings(metrics="0.0.0.0:9090"))


def test_the_private_key_belongs_to_the_certificate(tls: Tls, tmp_path: Path) -> None:
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(UsageError, match="no certificate with its private key"):
        check(Settings(tls=Tls(tls.certificate, tmp_path / "other.pem")))
    with pytest.raises(UsageError, match="cannot be read"):
        check(Settings(tls=Tls(tls.certificate, tmp_path / "absent.pem")))
    (tmp_path / "text").write_text("no certificate")
    with pytest.raises(UsageError, match="no certificate in PEM format"):
        check(Settings(tls=Tls(tls.certificate, tls.key, tmp_path / "text")))


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 15, "spätestens-16-Zeichen", "two words in one token"]
)
def test_a_weak_token_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match="at least 16"):
        check(Settings(tokens=(token,)))


def test_a_token_file_holds_one_token_a_line(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# for the laptops\n{TOKEN}\n\n  {TOKEN[::-1]}  \n")
    assert read_tokens(path, "ignored") == (TOKEN, TOKEN[::-1])
    assert read_tokens(None, TOKEN) == (TOKEN,)
    assert read_tokens(None, "") == read_tokens(None, None) == ()
    path.write_text("# none\n")
    with pytest.raises(UsageError, match="holds no token"):
        read_tokens(path, None)


def test_tokens_are_not_shown() -> None:
    assert TOKEN not in repr(Settings(tokens=(TOKEN,)))


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:0", "auto:1", ""])
def test_an_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(UsageError, match="unknown device"):
        check(Settings(devices=(device,)))


@pytest.mark.parametrize(
    "options",
    [
        ["--tls-cert", __file__],
        ["--client-ca", __file__],
        ["--store-size", "many"],
        ["--store-size", "0"],
        ["--device", "tpu"],
        ["--queue", "0"],
    ],
)
def test_contradictory_options_exit_with_2(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *options]) == 2
    assert capsys.readouterr().err.startswith("nnlint: error: ")


def test_blobs_go_to_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setattr("sys.platform", "linux")
    assert default_store() == Path("/somewhere/nnlint/probe-store")
