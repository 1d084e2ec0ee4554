"""What a member's or coordinator's file says wrong is named before anything starts."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from dev.federation.plot import svg
from federation.flower.events import Events
from federation.flower.settings import (
    COORDINATOR,
    MEMBER,
    CoordinatorHome,
    MemberHome,
    SettingsWrong,
    read_key,
)


def written(place: Path, text: str) -> Path:
    file = place / "settings.toml"
    file.write_text(text)
    return file


def test_the_examples_can_be_read_and_paths_are_the_files(tmp_path: Path) -> None:
    member = MemberHome.read(written(tmp_path, MEMBER))
    assert member.rows == tmp_path / "rows"
    assert member.receipt_key == tmp_path / "state" / "receipt.jwk"
    coordinator = CoordinatorHome.read(written(tmp_path, COORDINATOR))
    assert (coordinator.port, coordinator.self_signed) == (9092, "link.example")
    assert coordinator.certificate is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("patience = 120", "patience = true"), "patience is a number"),
        (("patience = 120", "patience = 0"), "patience is a number"),
        (("grace = 60", "grace = 0"), "grace is a number"),
        (("port = 9092", "port = 90920"), "port is a number"),
        (("# [begins]", '[begins]\n"fc-1" = 1 #'), "begins"),
        (("grace = 60", 'grace = 60\nbegins = "fc-1"'), "begins"),
        (("# [begins]", f'[begins]\n"fc-1" = "{"A" * 42}" #'), "MODEL.*'fc-1' names is not"),
        (("# [begins]", f'[begins]\n"{"A" * 43}" = "{"A" * 43}" #'), "an? campaign's id"),
        (('host = "0.0.0.0"', 'hosts = "0.0.0.0"'), "there is no hosts"),
        (("coordinator =", "# coordinator ="), "coordinator is missing"),
        (('self_signed = "link.example"', ""), "members come in by TLS"),
        (('# certificate = "chain.pem"', 'certificate = "chain.pem"'), "members come in by TLS"),
        (('broker = "https', "broker = https"), "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    assert change[0] in COORDINATOR
    file = written(tmp_path, COORDINATOR.replace(*change))
    with pytest.raises(SettingsWrong, match=said) as refused:
        CoordinatorHome.read(file)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("fc-new", "A" * 43),
        ("A" * 42, "E" * 43),
        ("A" * 42 + "N", "E" * 43),
        ("A" * 43, "E" * 44),
        ("A" * 43, "fc-old"),
        ("A" * 43, "A" * 43),
    ],
)
def test_a_campaign_that_is_misspelt_follows_nothing_unseen(
    tmp_path: Path, new: str, old: str
) -> None:
    """Passed over, the campaign would begin with a budget of its own."""
    file = written(tmp_path, f'{MEMBER}[follows]\n"{new}" = "{old}"\n')
    with pytest.raises(SettingsWrong, match=r"\[follows\] is lines .*campaign show.*43 letters"):
        MemberHome.read(file)
    good = written(tmp_path, f'{MEMBER}[follows]\n"{"A" * 43}" = "{"E" * 43}"\n')
    assert MemberHome.read(good).follows == {"A" * 43: "E" * 43}


def test_what_a_file_names_is_looked_at_too(tmp_path: Path) -> None:
    home = MemberHome.read(written(tmp_path, MEMBER))
    with pytest.raises(SettingsWrong, match=r"cannot read .*client\.jwk"):
        read_key(home.client_key)
    home.client_key.write_text('{"private_jwk": {"kty": "EC"}}')
    home.client_key.chmod(0o640)
    with pytest.raises(SettingsWrong, match="chmod 600"):
        read_key(home.client_key)
    home.client_key.chmod(0o600)
    with pytest.raises(SettingsWrong, match="holds no private JWK"):
        read_key(home.client_key)
    home.board.write_text(json.dumps({"keys": [], "threshold": 2}))
    with pytest.raises(SettingsWrong, match="board"):
        home.decides()
    home.trust.write_text("[]")
    with pytest.raises(SettingsWrong, match=r"trust\.json"):
        home.issuer()


def test_what_others_say_moves_no_terminal() -> None:
    shown = StringIO()
    Events(as_json=False, output=shown).tell(
        "broken", stage="\x1b[2Jpilot", number=1, why="\x9b31m\u202eno\nline"
    )
    line = shown.getvalue().removesuffix("\n")
    assert line.isprintable()
    assert "pilot" in line
    raw = StringIO()
    Events(as_json=True, output=raw).tell("broken", stage="\x9b2J\u202e\ud800\x7f", number=1)
    assert raw.getvalue().isascii()
    assert raw.getvalue().removesuffix("\n").isprintable()
    assert json.loads(raw.getvalue())["stage"] == "\x9b2J\u202e\ud800\x7f"


def test_a_plot_is_one_picture_of_every_round() -> None:
    marked = {"promoted_after": 1, "withdrawn_after": 2}
    drawn = ET.fromstring(svg([0.7, 0.8, 0.85], 0.86, [0.6, 0.7], **marked))  # noqa: S314 (our own)
    circles = drawn.findall("{http://www.w3.org/2000/svg}circle")
    heights = [float(one.attrib["cy"]) for one in circles]
    assert heights == sorted(heights, reverse=True)
    assert len(heights) == 3


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_business_lines_are_the_rows_that_consents_are(tmp_path: Path, end: str) -> None:
    """A character that Python takes for a line's end shifts no row to another's line."""
    home = replace(MemberHome.read(written(tmp_path, MEMBER)), lines=tmp_path / "lines.txt")
    rows = ["retail", "", "cards", ""]
    for last in ("", end):
        text = (end.join(rows) + last).encode()
        for file in (home.consents, home.lines):
            assert file is not None
            file.write_bytes(text)
        # An empty last line is a row where another end follows it.
        assert home.business_lines() == home.credentials() == rows[: 4 if last else 3]
    for odd in ("\x0c", "\x0b", "\x85", "\u2028", "\r"):
        assert home.lines is not None
        home.lines.write_bytes(f"retail{odd}cards\n".encode())
        with pytest.raises(SettingsWrong, match="line 1: a business line"):
            home.business_lines()
