"""The terms of a consent: what a customer signs, as one JSON object.

The wire form is the canonical JSON (RFC 8785) of `Terms.to_json()`. How it may evolve: a reader
refuses a `schema` that it does not know; a new field means a new schema number, because a
signature over terms that a verifier only half understands proves nothing.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from broker.domain.errors import InvalidTerms
from broker.domain.guardian import GuardianTerms
from broker.domain.json_values import (
    read_flag,
    read_integer,
    read_list,
    read_object,
    read_text,
    read_texts,
)
from credentials.errors import CredentialError
from credentials.jcs import b64url, canonical

SCHEMA = "urn:consent-broker:terms:1"
GUARDED_SCHEMA = "urn:consent-broker:terms:2"
"""Terms of a minor, which name the guardian's role; whoever knows no guardian refuses them."""
COVERING_SCHEMA = "urn:consent-broker:terms:3"
"""Terms that cover minor versions of the algorithm, of a minor too."""
Separate = Literal["sensitive", "cross_border", "publication", "public_place", "third_party"]
PUBLISH = "publish"
TRAIN = "train"
ACTIONS = frozenset({"read", "profile", TRAIN, "share", PUBLISH})
WIRE = re.compile(
    r"^(?P<purpose>[a-z][a-z0-9-]*:[A-Za-z0-9]+)#algo:(?P<algorithm>[a-z0-9][a-z0-9.-]*)@(?P<version>[0-9A-Za-z.]+)$"
)


@dataclass(frozen=True)
class Label:
    """A text for people, in Chinese and in English."""

    zh: str
    en: str

    def to_json(self) -> dict[str, str]:
        """The label as a JSON object."""
        return {"zh": self.zh, "en": self.en}

    @classmethod
    def from_json(cls, value: Any) -> Self:  # noqa: ANN401 (untrusted JSON)
        """Read a label; raises `InvalidTerms` when a language is missing."""
        texts = read_object(value, "a label")
        return cls(zh=read_text(texts, "zh"), en=read_text(texts, "en"))


@dataclass(frozen=True)
class Party:
    """Who: identifier, names, a way to reach them, ISO 3166-1 country."""

    id: str
    name: Label
    contact: str
    country: str

    def to_json(self) -> dict[str, Any]:
        """The party as a JSON object."""
        return {
            "id": self.id,
            "name": self.name.to_json(),
            "contact": self.contact,
            "country": self.country,
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:  # noqa: ANN401
        """Read a party; raises `InvalidTerms`."""
        party = read_object(value, "a party")
        return cls(
            read_text(party, "id"),
            Label.from_json(party.get("name")),
            read_text(party, "contact"),
            read_text(party, "country"),
        )


@dataclass(frozen=True)
class PurposeTerms:
    """What for: a purpose of the Data Privacy Vocabulary; does the service need it (PIPL 16)?"""

    id: str
    label: Label
    necessary_for_service: bool


@dataclass(frozen=True)
class AlgorithmTerms:
    """By which algorithm, in which version; a new version is a new question."""

    id: str
    version: str
    label: Label
    explanation: Label
    automated_decision: bool
    risk_tier: str


@dataclass(frozen=True)
class AttributeTerms:
    """Which attribute: canonical name, label, category, sensitive (PIPL 28), where stored."""

    id: str
    label: Label
    category: str
    sensitive: bool
    required: bool
    stored_in: str


@dataclass(frozen=True)
class Territories:
    """Where it may be stored, processed and accessed from: ISO 3166-1 codes (ISO/IEC TS 27560)."""

    storage: tuple[str, ...]
    processing: tuple[str, ...]
    access: tuple[str, ...]

    @property
    def every(self) -> frozenset[str]:
        """All territories that data may reach under these terms."""
        return frozenset((*self.storage, *self.processing, *self.access))


@dataclass(frozen=True)
class Notice:
    """The notice that the customer was shown: language, template version, hash of its text."""

    template: str
    version: int
    language: str
    hash: str


@dataclass(frozen=True)
class Terms:
    """The terms of one consent; see the module for its wire form."""

    consent_id: str
    controller: Party
    partner: Party
    purpose: PurposeTerms
    algorithm: AlgorithmTerms
    actions: tuple[str, ...]
    attributes: tuple[AttributeTerms, ...]
    separate: tuple[Separate, ...]
    territories: Territories
    retention_days: int
    valid_from: int
    valid_until: int
    max_uses: int | None
    refusal: Label
    notice: Notice
    withdrawal: str
    legal_basis: tuple[str, ...] = field(default=("PIPL-13(1)(1)", "GDPR-6(1)(a)"))
    guardian: GuardianTerms | None = None
    minor_versions: bool = False
    """Whether minor versions (`algorithm_versions`) are covered while risk and deciding stay."""

    @property
    def schema(self) -> str:
        """The lowest schema that says all that these terms do."""
        if self.minor_versions:
            return COVERING_SCHEMA
        return SCHEMA if self.guardian is None else GUARDED_SCHEMA

    @property
    def purpose_wire(self) -> str:
        """The purpose as partners name it: `dpv:ServicePersonalisation#algo:churn-v3@1`."""
        return f"{self.purpose.id}#algo:{self.algorithm.id}@{self.algorithm.version}"

    def to_json(self) -> dict[str, Any]:
        """The terms as the JSON object whose canonical form is signed."""
        return {
            "schema": self.schema,
            "consent_id": self.consent_id,
            "controller": self.controller.to_json(),
            "partner": self.partner.to_json(),
            "purpose": {
                "id": self.purpose.id,
                "label": self.purpose.label.to_json(),
                "necessary_for_service": self.purpose.necessary_for_service,
            },
            "algorithm": {
                "id": self.algorithm.id,
                "version": self.algorithm.version,
                "label": self.algorithm.label.to_json(),
                "explanation": self.algorithm.explanation.to_json(),
                "automated_decision": self.algorithm.automated_decision,
                "risk_tier": self.algorithm.risk_tier,
            },
            "actions": list(self.actions),
            "attributes": [
                {
                    "id": attribute.id,
                    "label": attribute.label.to_json(),
                    "category": attribute.category,
                    "sensitive": attribute.sensitive,
                    "required": attribute.required,
                    "stored_in": attribute.stored_in,
                }
                for attribute in self.attributes
            ],
            "separate": list(self.separate),
            "territories": {
                "storage": list(self.territories.storage),
                "processing": list(self.territories.processing),
                "access": list(self.territories.access),
            },
            "retention_days": self.retention_days,
            "valid_from": self.valid_from,
            "valid_until": self.valid_until,
            "max_uses": self.max_uses,
            "refusal": self.refusal.to_json(),
            "notice": {
                "template": self.notice.template,
                "version": self.notice.version,
                "language": self.notice.language,
                "hash": self.notice.hash,
            },
            "withdrawal": self.withdrawal,
            "legal_basis": list(self.legal_basis),
            **({} if self.guardian is None else {"guardian": self.guardian.to_json()}),
            **({"minor_versions": True} if self.minor_versions else {}),
        }

    def canonical(self) -> bytes:
        """The canonical JSON (RFC 8785) of the terms."""
        return canonical(self.to_json())

    def hash(self) -> str:
        """SHA-256 over the canonical JSON, base64url: how logs and credentials name the terms."""
        return b64url(hashlib.sha256(self.canonical()).digest())

    @classmethod
    def from_json(cls, value: Any) -> Self:  # noqa: ANN401
        """Read terms strictly: known schema, every field present, no unknown field.

        Raises `InvalidTerms`.
        """
        terms = read_object(value, "terms")
        schema = terms.get("schema")
        if schema not in (SCHEMA, GUARDED_SCHEMA, COVERING_SCHEMA):
            raise InvalidTerms("the schema of the terms is not known to this version")
        purpose, algorithm = (
            read_object(terms.get("purpose"), "purpose"),
            read_object(terms.get("algorithm"), "algorithm"),
        )
        territories, notice = (
            read_object(terms.get("territories"), "territories"),
            read_object(terms.get("notice"), "notice"),
        )
        read = cls(
            consent_id=read_text(terms, "consent_id"),
            controller=Party.from_json(terms.get("controller")),
            partner=Party.from_json(terms.get("partner")),
            purpose=PurposeTerms(
                read_text(purpose, "id"),
                Label.from_json(purpose.get("label")),
                read_flag(purpose, "necessary_for_service"),
            ),
            algorithm=AlgorithmTerms(
                read_text(algorithm, "id"),
                read_text(algorithm, "version"),
                Label.from_json(algorithm.get("label")),
                Label.from_json(algorithm.get("explanation")),
                read_flag(algorithm, "automated_decision"),
                read_text(algorithm, "risk_tier"),
            ),
            actions=read_texts(terms, "actions"),
            attributes=tuple(_attribute(item) for item in read_list(terms, "attributes")),
            separate=_separate(terms),
            territories=Territories(
                read_texts(territories, "storage"),
                read_texts(territories, "processing"),
                read_texts(territories, "access"),
            ),
            retention_days=read_integer(terms, "retention_days"),
            valid_from=read_integer(terms, "valid_from"),
            valid_until=read_integer(terms, "valid_until"),
            max_uses=None if terms.get("max_uses") is None else read_integer(terms, "max_uses"),
            refusal=Label.from_json(terms.get("refusal")),
            notice=Notice(
                read_text(notice, "template"),
                read_integer(notice, "version"),
                read_text(notice, "language"),
                read_text(notice, "hash"),
            ),
            withdrawal=read_text(terms, "withdrawal"),
            legal_basis=read_texts(terms, "legal_basis"),
            guardian=GuardianTerms.from_json(terms.get("guardian"))
            if schema == GUARDED_SCHEMA or "guardian" in terms
            else None,
            minor_versions=schema == COVERING_SCHEMA,
        )
        # Rebuilding it is the check that nothing unknown was signed along.
        try:
            same = read.canonical() == canonical(value)
        except CredentialError as error:
            raise InvalidTerms(f"the terms have no canonical form: {error}") from None
        if not same:
            raise InvalidTerms("the terms hold a field that this version does not know")
        return read


def parse_purpose(wire: str) -> tuple[str, str, str]:
    """Split `dpv:Purpose#algo:name@version` into purpose, algorithm and version.

    Raises `InvalidTerms` that shows the expected form.
    """
    match = WIRE.fullmatch(wire)
    if match is None:
        raise InvalidTerms("a purpose is written like dpv:ServicePersonalisation#algo:churn-v3@1")
    return match["purpose"], match["algorithm"], match["version"]


def _attribute(value: Any) -> AttributeTerms:  # noqa: ANN401
    item = read_object(value, "an attribute")
    return AttributeTerms(
        read_text(item, "id"),
        Label.from_json(item.get("label")),
        read_text(item, "category"),
        read_flag(item, "sensitive"),
        read_flag(item, "required"),
        read_text(item, "stored_in"),
    )


def _separate(terms: Mapping[str, Any]) -> tuple[Separate, ...]:
    known: dict[str, Separate] = {kind: kind for kind in get_args(Separate)}
    try:
        return tuple(known[name] for name in read_texts(terms, "separate"))
    except KeyError as error:
        raise InvalidTerms("a separate consent of an unknown kind") from error
