"""What a member and a coordinator say of themselves, once: a TOML file each.

Paths in a file are relative to it. What is missing, misspelt or cannot be read is refused with the
file, the name and the cure, before anything starts.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from credentials.errors import CredentialError
from credentials.keys import SoftwareKey
from federation.board import Board
from federation.consents import ConsentIssuer
from federation.errors import BoardInvalid, FederationError, Malformed
from federation.rollout import BUSINESS_LINE

LARGEST_NUMBER: Final = 65_535
OTHERS: Final = 0o077
HASH: Final = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
"""A SHA-256 hash, base64url without padding: what a campaign and a model are known by."""
ID: Final = re.compile(r"fc-[A-Za-z0-9_-]{1,64}")
FOLLOWS: Final = (
    'lines "NEW HASH" = "OLD HASH" of two campaigns (federation campaign show tells a hash)'
)
BEGINS: Final = 'lines "fc-..." = "MODEL", a campaign\'s id and the hash of a model'
_USUAL: Final = ("state", "host", "port", "control_port", "patience", "grace", "attempts")

MEMBER: Final = """\
# A member of a consortium: consent-broker federation member up member.toml
# 联邦成员的配置。Paths are relative to this file.
broker = "https://broker.example"        # its address, the tenant's where there are several
member = "p-..."                         # your client id there
client_key = "client.jwk"                # its private key, as the broker's operator gave it to you
trust = "trust.json"                     # whose consents count: the operator's trust export
board = "board.json"                     # who decides: {"keys": [JWK, ...], "threshold": 2}
trusted_entities = "board.yaml"          # whose applications run here: name, OpenSSH Ed25519 key
bundles = "bundles"                      # folder of the applications (.fab) that the board signed
superlink = "link.example:9092"          # where the coordinator is
root_certificates = "members.pem"        # what its TLS is checked against
rows = "rows"                            # your data, as the application reads it
consents = "consents.txt"                # the consent credential of each row, one a line
# lines = "lines.txt"                    # and its business line, for pilots that are of one
state = "state"                          # keys and what is kept between rounds: never lose it
port = 9094                              # of this machine alone
# peers = "peers.json"                   # for secure aggregation: {member: public receipt key, JWK}
# [follows]                              # what a campaign spent goes on where it is done anew:
# "NEW HASH" = "OLD HASH"                # federation campaign show tells both
"""

COORDINATOR: Final = """\
# A coordinator of training: consent-broker federation up coordinator.toml
# 联邦训练协调方的配置。Paths are relative to this file.
broker = "https://broker.example"        # its address, the tenant's where there are several
coordinator = "co-..."                   # your client id there
client_key = "coordinator.jwk"           # its private key: federation coordinator add
bundles = "bundles"                      # folder of the applications (.fab) that the board signed
state = "state"                          # models, runs, the SuperLink's keys
host = "0.0.0.0"                         # where members come in
port = 9092
control_port = 9093                      # of this machine alone
self_signed = "link.example"             # makes state/link/members.pem for members to trust;
# certificate = "chain.pem"              # or, instead of it, a certificate of your own
# key = "key.pem"
patience = 120                           # seconds that a round waits for members
grace = 60                               # that a run waits for those beside the fewest it takes
attempts = 8                             # runs in a row without an accepted round: then it pauses
# [begins]                               # a campaign that does rounds anew, and its first model:
# "fc-..." = "MODEL"                     # one that is kept here; federation task list tells it
"""


class SettingsWrong(FederationError):
    """A settings file, or one that it names, cannot be used; the message says why and the cure."""

    code = "settings_wrong"


@dataclass(frozen=True)
class MemberHome:
    """A member, as its file says; see `MEMBER` for what each is."""

    file: Path
    broker: str
    member: str
    client_key: Path
    trust: Path
    board: Path
    trusted_entities: Path
    bundles: Path
    superlink: str
    root_certificates: Path
    rows: Path
    consents: Path
    state: Path
    port: int
    peers: Path | None = None
    lines: Path | None = None
    follows: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a file. Raises `SettingsWrong`."""
        given = _Given.read(file, MEMBER, ("peers", "lines", "follows"))
        paths = {
            name: given.path(name)
            for name in (
                *("client_key", "trust", "board", "trusted_entities", "bundles"),
                *("root_certificates", "rows", "consents", "state"),
            )
        }
        return cls(
            file=file.resolve(),
            broker=given.text("broker").rstrip("/"),
            member=given.text("member"),
            superlink=given.text("superlink"),
            port=given.number("port"),
            peers=given.path("peers") if "peers" in given.values else None,
            lines=given.path("lines") if "lines" in given.values else None,
            follows=given.hashes("follows", HASH, FOLLOWS),
            **paths,
        )

    @property
    def receipt_key(self) -> Path:
        """Its private key for receipts, JWK."""
        return self.state / "receipt.jwk"

    @property
    def receipt_public_key(self) -> Path:
        """The public one: what the operator registers."""
        return self.state / "receipt.pub.jwk"

    @property
    def events(self) -> Path:
        """What its applications did: a JSON object a line."""
        return self.state / "events.jsonl"

    def before(self, campaign: str) -> Path:
        """What is kept between rounds of a campaign, by its hash."""
        return self.state / "before" / f"{campaign}.json"

    def signer(self) -> SoftwareKey:
        """Its key for receipts. Raises `SettingsWrong`."""
        return read_key(self.receipt_key)

    def decides(self) -> Board:
        """The board that it trusts. Raises `SettingsWrong`."""
        told = read_json(self.board)
        try:
            return Board.of(told["keys"], told["threshold"])
        except (KeyError, TypeError, BoardInvalid) as error:
            raise SettingsWrong(
                f'{self.board}: {error}; it is {{"keys": [JWK, ...], "threshold": number}}'
            ) from None

    def issuer(self) -> ConsentIssuer:
        """Whose consents count. Raises `SettingsWrong`."""
        try:
            return ConsentIssuer.of_trust(read_json(self.trust), self.broker)
        except Malformed as error:
            raise SettingsWrong(
                f"{self.trust}: {error}; it is what `consent-broker trust export` writes"
            ) from None

    def credentials(self) -> list[str]:
        """The consent credential of each row. Raises `SettingsWrong`."""
        return _lines(self.consents)

    def business_lines(self) -> list[str] | None:
        """The business line of each row, "" for none; None where no file is named.

        One that is misspelt would leave out its row unseen. Raises `SettingsWrong`.
        """
        if self.lines is None:
            return None
        found = _lines(self.lines)
        for number, line in enumerate(found, start=1):
            if line and not BUSINESS_LINE.fullmatch(line):
                raise SettingsWrong(
                    f"{self.lines}, line {number}: a business line is 1 to 32 small letters, "
                    "digits and -, or nothing for a row of none"
                )
        return found


@dataclass(frozen=True)
class CoordinatorHome:
    """A coordinator, as its file says; see `COORDINATOR` for what each is."""

    file: Path
    broker: str
    coordinator: str
    client_key: Path
    bundles: Path
    state: Path
    host: str
    port: int
    control_port: int
    self_signed: str
    certificate: Path | None
    key: Path | None
    patience: int
    grace: int
    attempts: int
    begins: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a file. Raises `SettingsWrong`."""
        tls = ("certificate", "key")
        given = _Given.read(file, COORDINATOR, ("self_signed", "begins", *tls))
        numbers = ("port", "control_port", "patience", "grace", "attempts")
        more: dict[str, Any] = {name: given.number(name) for name in numbers}
        more |= {name: given.path(name) for name in ("client_key", "bundles", "state")}
        own = [given.path(name) if name in given.values else None for name in tls]
        self_signed = given.text("self_signed") if "self_signed" in given.values else ""
        if bool(self_signed) == (None not in own) or (None in own) != (own == [None, None]):
            raise SettingsWrong(
                f"{file}: members come in by TLS: give self_signed (a host name or address), or "
                "certificate and key, and not both"
            )
        return cls(
            file=file.resolve(),
            broker=given.text("broker").rstrip("/"),
            coordinator=given.text("coordinator"),
            host=given.text("host"),
            self_signed=self_signed,
            certificate=own[0],
            key=own[1],
            begins=given.hashes("begins", ID, BEGINS),
            **more,
        )

    @property
    def link(self) -> Path:
        """The SuperLink's directory (`places`)."""
        return self.state / "link"

    @property
    def models(self) -> Path:
        """Where the models of rounds are kept (`models.Checkpoints`)."""
        return self.state / "models"

    def campaign(self, campaign: str) -> Path:
        """The directory of a campaign, by the broker's id of it."""
        return self.state / "campaigns" / campaign


@dataclass(frozen=True)
class _Given:
    file: Path
    values: Mapping[str, Any]

    @classmethod
    def read(cls, file: Path, example: str, optional: tuple[str, ...] = ()) -> Self:
        expected = tomllib.loads(example)
        known = {*expected, *optional}
        try:
            told = tomllib.loads(_read(file).decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsWrong(f"{file} is not TOML: {error}") from None
        strange = sorted(set(told) - known)
        if strange:
            raise SettingsWrong(f"{file}: there is no {strange[0]}; there are {sorted(known)}")
        # What the example says of ports and times is usual; names of one's own must be said.
        usual: dict[str, Any] = {name: expected[name] for name in _USUAL if name in expected}
        missing = sorted(set(expected) - set(optional) - set(usual) - set(told))
        if missing:
            raise SettingsWrong(f"{file}: {missing[0]} is missing; --example shows a whole file")
        return cls(file, {**usual, **told})

    def text(self, name: str) -> str:
        value = self.values[name]
        if not isinstance(value, str) or not value:
            raise SettingsWrong(f"{self.file}: {name} is text, in quotation marks")
        return value

    def number(self, name: str) -> int:
        value = self.values[name]
        if type(value) is not int or not 0 < value <= LARGEST_NUMBER:
            raise SettingsWrong(f"{self.file}: {name} is a number from 1 to {LARGEST_NUMBER}")
        return value

    def hashes(self, name: str, of: re.Pattern[str], what: str) -> dict[str, str]:
        """A table of hashes by what `of` matches; nothing where it is not given.

        One that is misspelt would name nothing, and be passed over.
        """
        table = self.values.get(name, {})
        said = f"{self.file}: [{name}] is {what}, 43 letters, digits, - and _"
        if not isinstance(table, dict):
            raise SettingsWrong(said)
        for key, value in table.items():
            if not of.fullmatch(key):
                raise SettingsWrong(f"{said}, and {key!r} is not")
            if not isinstance(value, str) or not HASH.fullmatch(value) or key == value:
                raise SettingsWrong(f"{said}, and what {key!r} names is not")
        return table

    def path(self, name: str) -> Path:
        return (self.file.resolve().parent / self.text(name)).resolve()


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object of a file. Raises `SettingsWrong`."""
    try:
        told = json.loads(_read(file))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise SettingsWrong(f"{file} holds no JSON object")
    return told


def read_key(file: Path) -> SoftwareKey:
    """A private JWK, by itself or as the broker's commands print it. Raises `SettingsWrong`.

    One that others on the machine may read is refused.
    """
    told = read_json(file)
    if file.stat().st_mode & OTHERS:
        raise SettingsWrong(f"others may read the private key {file}: chmod 600 {file}")
    try:
        return SoftwareKey.from_private_jwk(told.get("private_jwk", told))
    except CredentialError as error:
        raise SettingsWrong(f"{file} holds no private JWK: {error}") from None


def _lines(file: Path) -> list[str]:
    """One for each row, ended by a line feed alone: two such files are read row by row."""
    rows = _read(file).split(b"\n")
    if not rows[-1]:
        rows.pop()
    return [row.rstrip(b"\r").decode("utf-8", "replace") for row in rows]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SettingsWrong(f"cannot read {file}: {error.strerror}") from None
