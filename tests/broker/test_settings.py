"""What a deployment chooses, and what it gets when it chooses nothing."""

from pathlib import Path

import pytest

from broker.settings import SettingsError, read_settings


def test_behind_tls_nothing_of_development_is_on_by_itself() -> None:
    assert read_settings({}).development
    assert not read_settings({"PUBLIC_URL": "https://consent.example"}).development
    for url, usual in (("https://consent.example", False), ("http://127.0.0.1:8000", True)):
        assert read_settings({"PUBLIC_URL": url}).demonstration is usual
    told = {"PUBLIC_URL": "https://consent.example", "BROKER_DEMONSTRATION": "on"}
    assert read_settings(told).demonstration
    with pytest.raises(SettingsError, match="BROKER_DEMONSTRATION must be on or off"):
        read_settings({"BROKER_DEMONSTRATION": "yes"})
    asked = {"PUBLIC_URL": "https://consent.example", "BROKER_PROFILE": "development"}
    assert read_settings(asked).development


def test_the_address_follows_host_and_port() -> None:
    settings = read_settings({"HOST": "127.0.0.1", "PORT": "8123"})
    assert settings.public_url == "http://127.0.0.1:8123"
    assert settings.sqlalchemy_url == "sqlite:///var/broker.db"


def test_postgresql_is_spoken_by_one_driver() -> None:
    settings = read_settings({"DATABASE_URL": "postgres://db/consents"})
    assert settings.sqlalchemy_url == "postgresql+psycopg://db/consents"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("PUBLIC_URL", "consent.example"),
        ("PUBLIC_URL", "ftp://consent.example"),
        ("PUBLIC_URL", "https://consent.example/?a=b"),
        ("BROKER_MASTER_KEY", "short"),
        ("BROKER_MASTER_KEY", "=" * 43),
        ("BROKER_MAX_BODY_BYTES", "-1"),
    ],
)
def test_a_malformed_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings({name: value})


def test_secrets_come_from_files_as_containers_mount_them(tmp_path: Path) -> None:
    url, key = tmp_path / "url", tmp_path / "key"
    url.write_text("postgresql://broker@db/broker\n")
    key.write_text("A" * 43 + "\n")
    settings = read_settings({"DATABASE_URL_FILE": str(url), "BROKER_MASTER_KEY_FILE": str(key)})
    assert settings.sqlalchemy_url == "postgresql+psycopg://broker@db/broker"
    assert settings.master_key == bytes(32)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff"])
def test_a_secret_that_cannot_be_read_is_not_taken_for_none(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "url"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match="DATABASE_URL_FILE"):
        read_settings({"DATABASE_URL_FILE": str(path)})


def test_a_secret_is_given_once(tmp_path: Path) -> None:
    given = {"DATABASE_URL": "postgresql://db/x", "DATABASE_URL_FILE": str(tmp_path)}
    with pytest.raises(SettingsError, match="not both"):
        read_settings(given)
