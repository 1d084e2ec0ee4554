"""The register of transfers as a regulator gets it: a file, and the broker's word on it beside it.

The word (`domain.word`, of type `TYPE`) says besides what the file is:

    sha256          of the file's bytes, base64url
    year, form      what it tells, as `json`, `csv`, `html` or `svg`
    checkpoint      the log's newest signed checkpoint then (absent from an empty log)

The log has an entry `transfer.exported` with the same hash.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.domain.checkpoint import Checkpoint, open_checkpoint_of
from broker.domain.cross_border import Count, Mechanism
from broker.domain.errors import EvidenceInvalid, LogError
from broker.domain.spreadsheet import plain
from broker.domain.trust import Trust
from broker.domain.word import Word, file_hash, give_word, read_word
from credentials.jcs import canonical
from credentials.jws import Signer

SCHEMA: Final = "urn:consent-broker:cross-border:1"
TYPE: Final = "cross-border-register+jwt"
COLUMNS: Final = (
    "record",
    "exporter",
    "partner",
    "destination",
    "kind",
    "law",
    "ground",
    "article",
    "purpose",
    "filing_number",
    "valid_from",
    "valid_until",
    "ended_at",
    "year",
    "month",
    "category",
    "first_counted",
    "so_far",
)


@dataclass(frozen=True)
class Register:
    """What a tenant tells of its transfers in a year: all mechanisms, and the counts by handler."""

    tenant: str
    name_zh: str
    name_en: str
    year: int
    made_at: int
    mechanisms: tuple[Mechanism, ...]
    counts: tuple[Count, ...]
    partners: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """As the API tells it."""
        return {
            "schema": SCHEMA,
            "tenant": self.tenant,
            "name": {"zh": self.name_zh, "en": self.name_en},
            "year": self.year,
            "made_at": self.made_at,
            "partners": dict(self.partners),
            "mechanisms": [one.to_json() for one in self.mechanisms],
            "counts": [one.to_json() for one in self.counts],
        }

    def as_json(self) -> bytes:
        """The file `json`: canonical (RFC 8785), so that the same register is the same bytes."""
        return canonical(self.to_json())

    def as_csv(self) -> bytes:
        """The file `csv` (RFC 4180, UTF-8 with its mark): mechanisms, then counts by month."""
        out = io.StringIO()
        written = csv.DictWriter(out, COLUMNS, restval="", extrasaction="ignore")
        written.writeheader()
        for one in self.mechanisms:
            written.writerow(_row({"record": "mechanism", **one.to_json()}))
        for count in self.counts:
            for category, months in sorted(count.months.items()):
                so_far = 0
                for month, number in enumerate(months, start=1):
                    so_far += number
                    line = {
                        "record": "count",
                        "exporter": count.exporter,
                        "year": count.year,
                        "month": month,
                        "category": category,
                        "first_counted": number,
                        "so_far": so_far,
                    }
                    written.writerow(_row(line))
        return ("\ufeff" + out.getvalue()).encode()


@dataclass(frozen=True)
class Vouched:
    """What a broker's word on a file said, verified."""

    issuer: str
    made_at: int
    year: int
    form: str
    checkpoint: Checkpoint | None


def vouch(
    content: bytes,
    *,
    signer: Signer,
    x5c: Sequence[str],
    issuer: str,
    year: int,
    form: str,
    now: int,
    checkpoint: str | None,
) -> str:
    """The broker's word on a file, as a compact JWS."""
    said: dict[str, Any] = {"sha256": file_hash(content), "year": year, "form": form}
    if checkpoint is not None:
        said["checkpoint"] = checkpoint
    return give_word(TYPE, Word(issuer, now, said), signer=signer, x5c=x5c)


def verify_register(content: bytes, token: str, trust: Trust) -> Vouched:
    """Verify a broker's word on a file.

    1. The word verifies (`domain.word`).
    2. The file is the one that it is about.
    3. The checkpoint is signed by a trusted log.

    Raises `EvidenceInvalid`, which says what fails.
    """
    # 1.
    word = read_word(token, TYPE, trust)
    year, form = word.said.get("year"), word.said.get("form")
    if type(year) is not int or not isinstance(form, str):
        raise EvidenceInvalid("the signature is not over a register of transfers")
    # 2.
    if file_hash(content) != word.said.get("sha256"):
        raise EvidenceInvalid("the file is not the one that was signed")
    # 3.
    return Vouched(word.issuer, word.made_at, year, form, _checkpoint(word.said, trust))


def _checkpoint(claims: Mapping[str, Any], trust: Trust) -> Checkpoint | None:
    note = claims.get("checkpoint")
    if note is None:
        return None
    if not isinstance(note, str):
        raise EvidenceInvalid("the checkpoint is not text")
    try:
        return open_checkpoint_of(note, trust.verifiers())
    except LogError as error:
        raise EvidenceInvalid(f"the checkpoint does not hold: {error}") from None


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of which a spreadsheet takes no text for a formula."""
    return {name: plain(value) for name, value in line.items() if value is not None}
