"""A bundle while it is checked: its files, whom to trust about them, what steps have read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.domain.entry import Entry
from broker.domain.errors import EvidenceInvalid
from broker.domain.signed_content import Kind
from broker.domain.terms import Terms
from broker.domain.trust import Trust
from broker.domain.word import file_hash
from credentials.errors import CredentialError
from credentials.jcs import canonical
from credentials.json_reader import read_json_object
from credentials.model import VerifiedCredential, VerifiedPresentation

SCHEMA = "urn:consent-broker:evidence:1"
REISSUED_SCHEMA = "urn:consent-broker:evidence:2"
"""A consent whose credentials were issued again: `issued_at` in the manifest says when."""
MANIFEST_TYPE = "consent-evidence+jwt"
LARGEST_JSON = 1_048_576
ISSUED = "issued"
"""Of a part: the grant's entry, or that of the newest issue, names it."""
CUSTOMER_CREDENTIAL = "customer_credential"
"""Of a part: the log names the presentation of it, which the broker took only from its own rows."""
KINDS: tuple[Kind, ...] = ("grant", "guardian", "withdrawal")
COPIES = ("officer", "partner", "customer")

MANIFEST, TERMS, NOTICE, ORIGIN = "manifest.jws", "terms.json", "notice.json", "origin.json"
CONSENT, RECEIPT = "credential/consent.txt", "credential/receipt.txt"
CHECKPOINT, TIMES = "log/checkpoint.txt", "log/time/"
_ALONE = frozenset({"README.txt", MANIFEST, TERMS, NOTICE, ORIGIN, CONSENT, RECEIPT, CHECKPOINT})
_SIGNED = re.compile(
    r"(?:grant|guardian|withdrawal)/(?:details\.json|presentation\.txt|request-object-[0-9]{2}\.jwt)"
)
_LOGGED = re.compile(r"log/(?:[0-9]{12}\.(?:json|tlog-proof)|time/[0-9]{12}\.(?:tsr|checkpoint))")


@dataclass(frozen=True)
class LoggedAct:
    """An entry of the bundle and its place in the log."""

    index: int
    entry: Entry


@dataclass(frozen=True)
class SignedPart:
    """A part that one of the issuer's keys has signed: by which certificate, dated when.

    `act` is the kind of log entry that names the part's hash, None where none does.
    """

    name: str
    leaf: bytes
    dated: int
    act: str | None


class OpenedBundle:
    """The files of a bundle and what has been verified of them so far."""

    def __init__(self, files: dict[str, bytes], trust: Trust | None) -> None:
        """Raises `EvidenceInvalid` when there is a file that no bundle of this schema has."""
        for name in files:
            if name not in _ALONE and not _SIGNED.fullmatch(name) and not _LOGGED.fullmatch(name):
                raise EvidenceInvalid(f"{name} is not a file that this version knows")
        self.files = files
        self.trust = trust if trust is not None else Trust.parse(self.file(ORIGIN))
        self.manifest: Mapping[str, Any] = {}
        self.issuer = ""
        self.terms: Terms
        self.details: dict[Kind, Mapping[str, Any]] = {}
        self.signed: dict[Kind, VerifiedPresentation] = {}
        self.issued: dict[str, VerifiedCredential] = {}
        self.acts: list[LoggedAct] = []
        self.signed_parts: list[SignedPart] = []

    @property
    def whole(self) -> bool:
        """Whether this copy has to hold what the customer signed, not only the hashes of it."""
        return self.manifest.get("copy") != "partner"

    @property
    def issued_at(self) -> int:
        """When the credentials in the bundle were issued, as its manifest says."""
        again = self.manifest.get("schema") == REISSUED_SCHEMA
        return integer(self.manifest, "issued_at" if again else "granted_at")

    def file(self, name: str) -> bytes:
        """A file that must be there."""
        if name not in self.files:
            raise EvidenceInvalid(f"{name} is missing")
        return self.files[name]

    def text(self, name: str) -> str:
        """A file of UTF-8 text."""
        try:
            return self.file(name).decode()
        except UnicodeDecodeError:
            raise EvidenceInvalid(f"{name} is not text") from None

    def json(self, name: str) -> dict[str, Any]:
        """A file that is a JSON object in canonical form (so that all readers read the same)."""
        data = self.file(name)
        value = read_json_object(data, max_bytes=LARGEST_JSON)
        require_canonical(value, data, name)
        return value

    def names(self, prefix: str, suffix: str) -> list[str]:
        """The names of a folder's files, sorted."""
        return sorted(
            name for name in self.files if name.startswith(prefix) and name.endswith(suffix)
        )

    def grant_hashes(self) -> dict[str, Any]:
        """The same of everything that was signed to grant it: by a minor's guardian too."""
        hashes = self.evidence_hashes("grant")
        if "guardian" in self.details:
            hashes["guardian"] = self.evidence_hashes("guardian")
        return hashes

    def evidence_hashes(self, kind: Kind) -> dict[str, Any]:
        """What credential and log have to say of the files of one signature.

        A request that asked for more than this partner's consents is hashed after its `blinding`.
        """
        blinding = str(self.details[kind].get("blinding", "")).encode()
        return {
            "presentation": file_hash(self.file(f"{kind}/presentation.txt")),
            "request_objects": [
                file_hash(blinding + self.files[name])
                for name in self.names(f"{kind}/request-object-", ".jwt")
            ],
            "terms": self.terms.hash(),
        }


def require_canonical(value: object, data: bytes, name: str) -> None:
    """Raise `EvidenceInvalid` when `data` is not the canonical JSON of `value`."""
    try:
        same = canonical(value) == data
    except CredentialError:
        same = False
    if not same:
        raise EvidenceInvalid(f"{name} is not in canonical form")


def integer(source: Mapping[str, Any], name: str) -> int:
    """A time or number of an object; raises `EvidenceInvalid`."""
    value = source.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise EvidenceInvalid(f"{name} must be a time in Unix seconds")
    return value


def text(source: Mapping[str, Any], name: str) -> str:
    """A text of an object that is not empty; raises `EvidenceInvalid`."""
    value = source.get(name)
    if not isinstance(value, str) or not value:
        raise EvidenceInvalid(f"{name} must be a text")
    return value


def texts(value: Any, name: str) -> list[str]:  # noqa: ANN401 (untrusted JSON)
    """A list of texts; raises `EvidenceInvalid`."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise EvidenceInvalid(f"{name} must be a list of texts")
    return value
