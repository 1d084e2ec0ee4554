"""The record of a consent as ISO/IEC TS 27560:2023 has it, as JSON-LD over the W3C's DPV 2.3.

Members are named as in the specification (6.3: header, PII processing, parties, events); the
context maps them to the Data Privacy Vocabulary, and what neither has to names of our own. What
Chinese law asks for besides (PIPL) stands in `pipl`. A receipt (6.4) is a copy for the customer,
which names no customer: whoever holds it needs not be identified by it.

The record follows from the terms, the template and the consent's row, and signs nothing: what was
signed is in the evidence, and the receipt credential is the signed form of a receipt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from broker.domain.terms import AttributeTerms, Label, Party, Terms

SCHEMA: Final = "urn:consent-broker:consent-record:1"
STANDARD: Final = "urn:iso:std:iso-iec:ts:27560:ed-1"
"""ISO/IEC TS 27560:2023 (RFC 5141)."""

CONTEXT_PATH: Final = "/schemas/consent-record/1.jsonld"
PROFILE_PATH: Final = "/schemas/consent-record/1.json"
DAY: Final = 86_400

# DPV has no state for a consent that a newer one replaced: only that it is good for nothing more.
STATES: Final[Mapping[str, str]] = {
    "requested": "dpv:ConsentRequested",
    "granted": "dpv:ConsentGiven",
    "refused": "dpv:ConsentRefused",
    "withdrawn": "dpv:ConsentWithdrawn",
    "expired": "dpv:ConsentExpired",
    "superseded": "dpv:ConsentStatusInvalidForProcessing",
}
PROCESSING: Final[Mapping[str, str]] = {
    "read": "dpv:Access",
    "profile": "dpv:Profiling",
    "train": "dpv:Analyse",
    "share": "dpv:Share",
    "publish": "dpv:MakeAvailable",
}
LABELS: Final[Mapping[str, Label]] = {
    "dpv:ConsentRequested": Label("已请求同意", "Consent requested"),
    "dpv:ConsentGiven": Label("已同意", "Consent given"),
    "dpv:ConsentRefused": Label("已拒绝", "Consent refused"),
    "dpv:ConsentWithdrawn": Label("已撤回", "Consent withdrawn"),
    "dpv:ConsentExpired": Label("已到期", "Consent expired"),
    "dpv:ConsentStatusInvalidForProcessing": Label(
        "已被新的同意取代，不得据以处理", "Replaced by a newer consent; invalid for processing"
    ),
    "dpv:Access": Label("查看", "Access"),
    "dpv:Profiling": Label("画像", "Profiling"),
    "dpv:Analyse": Label("用于训练分析", "Analyse"),
    "dpv:Share": Label("对外提供", "Share"),
    "dpv:MakeAvailable": Label("公开", "Make public"),
}
"""Chinese labels, which DPV does not have, beside its English ones."""

SEPARATE: Final[Mapping[str, tuple[str, Label]]] = {
    "third_party": ("PIPL-23", Label("向其他处理者提供", "Handing to another handler")),
    "sensitive": ("PIPL-29", Label("敏感个人信息", "Sensitive personal information")),
    "publication": ("PIPL-25", Label("公开个人信息", "Making public")),
    "public_place": (
        "PIPL-26",
        Label("公共场所采集的图像", "Images from public places"),
    ),
    "cross_border": ("PIPL-39", Label("向境外提供", "Transfer abroad")),
}
RIGHTS: Final[Sequence[tuple[str, tuple[str, ...], Label]]] = (
    ("withdraw", ("PIPL-15", "GDPR-7(3)"), Label("撤回同意", "Withdraw the consent")),
    ("access", ("PIPL-45", "GDPR-15"), Label("查阅、复制", "Access and copy")),
    ("port", ("PIPL-45", "GDPR-20"), Label("转移", "Portability")),
    ("correct", ("PIPL-46", "GDPR-16"), Label("更正、补充", "Correction")),
    ("erase", ("PIPL-47", "GDPR-17"), Label("删除", "Erasure")),
    ("explain", ("PIPL-24", "PIPL-48"), Label("要求解释说明", "Explanation")),
)
GUARDIANS: Final[Mapping[str, tuple[str, Label]]] = {
    "parent": ("dpv:ParentOfDataSubject", Label("父母", "Parent")),
    "legal_guardian": ("dpv:GuardianOfDataSubject", Label("其他监护人", "Legal guardian")),
}
_NOT_STATED: Final = Label("条款未载明", "Not stated in the terms")


@dataclass(frozen=True)
class Event:
    """A change of state: when (Unix seconds), by whom (an id of a party, or of the customer).

    `seconds` is how long a grant is good for.
    """

    time: int
    state: str
    entity: str | None
    seconds: int | None = None


@dataclass(frozen=True)
class GuardianSigned:
    """What a minor's guardian signed: the SHA-256 of the presentation, when, and its grade."""

    presentation: str
    time: int
    grade: str


@dataclass(frozen=True)
class Recorded:
    """What a record holds beside the terms.

    `principal` is the customer's identifier with this partner alone, None in a receipt and where
    no customer is known yet. `shown_at` is when a wallet first fetched what it was to show.
    """

    address: str
    principal: str | None
    state: str
    grade: str | None
    shown_at: int | None
    events: tuple[Event, ...]
    uses_left: int | None
    refuses_automated_decisions: bool
    title: Label
    assessment: str
    guardian: GuardianSigned | None = None


def record_of(terms: Terms, about: Recorded) -> dict[str, Any]:
    """The consent record of terms, as a JSON-LD object."""
    header = {} if about.principal is None else {"pii_principal_id": about.principal}
    return {
        "@context": about.address + CONTEXT_PATH,
        "@id": f"{about.address}/v1/consents/{terms.consent_id}/record",
        "@type": "ConsentRecord",
        "schema_version": SCHEMA,
        "conforms_to": [STANDARD, about.address + PROFILE_PATH],
        "record_id": terms.consent_id,
        **header,
        "consent_state": STATES[about.state],
        "state_label": LABELS[STATES[about.state]].to_json(),
        "terms_hash": terms.hash(),
        "pii_processing": _processing(terms, about),
        "party_identification": [
            _party(terms.controller, "dpv:DataController", terms.withdrawal),
            _party(terms.partner, "dpv:Recipient", terms.withdrawal),
        ],
        **_guardian(terms, about),
        "events": [_event(one) for one in about.events],
        "pipl": _pipl(terms, about),
    }


def receipt_of(record: Mapping[str, Any], receipt_id: str, made_at: int) -> dict[str, Any]:
    """The receipt of a record, for the customer: without an identifier of theirs."""
    inner = {
        name: value
        for name, value in record.items()
        if name not in {"@context", "pii_principal_id"}
    }
    return {
        "@context": record["@context"],
        "@type": "ConsentReceipt",
        "schema_version": SCHEMA,
        "conforms_to": record["conforms_to"],
        "receipt_id": receipt_id,
        "receipt_time": _moment(made_at),
        "record": inner,
    }


def _processing(terms: Terms, about: Recorded) -> dict[str, Any]:
    shown = {} if about.shown_at is None else {"shown_at": _moment(about.shown_at)}
    grade = {} if about.grade is None else {"signature_grade": about.grade}
    uses = {} if terms.max_uses is None else {"maximum_uses": terms.max_uses}
    left = {} if about.uses_left is None else {"uses_left": about.uses_left}
    return {
        "privacy_notice": {
            "@type": "ConsentNotice",
            "notice_id": terms.notice.template,
            "notice_version": terms.notice.version,
            "notice_hash": terms.notice.hash,
            "language": terms.notice.language,
            **shown,
            **grade,
        },
        "services": about.title.to_json(),
        "purposes": [_purpose(terms)],
        "pii_controllers": [terms.controller.id],
        "recipient_third_parties": [terms.partner.id],
        "collection_method": _NOT_STATED.to_json(),
        "storage_locations": list(terms.territories.storage),
        "processing_locations": list(terms.territories.processing),
        "access_locations": list(terms.territories.access),
        "geographic_restrictions": sorted(terms.territories.every),
        "retention_period": f"P{terms.retention_days}D",
        "valid_from": _moment(terms.valid_from),
        "valid_until": _moment(terms.valid_until),
        **uses,
        **left,
        "jurisdiction": terms.controller.country,
        "withdrawal_method": terms.withdrawal,
        "privacy_rights": [
            {
                "right": name,
                "law": list(law),
                "label": label.to_json(),
                "exercised_at": terms.withdrawal
                if name == "withdraw"
                else terms.controller.contact,
            }
            for name, law, label in RIGHTS
        ],
        "impact_assessment": about.assessment,
    }


def _purpose(terms: Terms) -> dict[str, Any]:
    return {
        "purpose": terms.purpose.id,
        "label": terms.purpose.label.to_json(),
        "lawful_basis": "dpv:Consent",
        "law": list(terms.legal_basis),
        "necessary_for_service": terms.purpose.necessary_for_service,
        "algorithm": {
            "algorithm_id": f"{terms.algorithm.id}@{terms.algorithm.version}",
            "label": terms.algorithm.label.to_json(),
            "explanation": terms.algorithm.explanation.to_json(),
            "automated_decision": terms.algorithm.automated_decision,
            "risk_tier": terms.algorithm.risk_tier,
            **({"minor_versions": True} if terms.minor_versions else {}),
        },
        "processing_methods": [
            {"processing": PROCESSING[one], "label": LABELS[PROCESSING[one]].to_json()}
            for one in terms.actions
        ],
        "pii_information": [_attribute(one) for one in terms.attributes],
    }


def _attribute(attribute: AttributeTerms) -> dict[str, Any]:
    return {
        "pii_attribute_id": attribute.id,
        "pii_type": attribute.category,
        "label": attribute.label.to_json(),
        "pii_optional": not attribute.required,
        "sensitive_pii_category": attribute.sensitive,
        "stored_in": attribute.stored_in,
    }


def _party(party: Party, role: str, rights: str) -> dict[str, Any]:
    return {
        "party_id": party.id,
        "party_name": party.name.to_json(),
        "party_role": role,
        "party_contact": party.contact,
        "party_country": party.country,
        "rights_route": rights,
    }


def _event(event: Event) -> dict[str, Any]:
    told: dict[str, Any] = {
        "event_time": _moment(event.time),
        "event_type": "explicit"
        if event.state in {"granted", "refused", "withdrawn"}
        else "notice",
        "event_state": STATES[event.state],
    }
    if event.entity is not None:
        told["entity_id"] = event.entity
    if event.seconds is not None:
        told["validity_duration"] = f"PT{event.seconds}S"
    return told


def _pipl(terms: Terms, about: Recorded) -> dict[str, Any]:
    """What the Personal Information Protection Law asks for besides (articles 7, 14, 17, 24...)."""
    stored = {attribute.stored_in for attribute in terms.attributes}
    abroad = sorted(terms.territories.every - stored)
    return {
        "informed": {"law": ["PIPL-7", "PIPL-14", "PIPL-17"], "notice": terms.notice.hash},
        "separate_consents": [
            {"kind": kind, "law": [SEPARATE[kind][0]], "label": SEPARATE[kind][1].to_json()}
            for kind in terms.separate
        ],
        "refusal": {"law": ["PIPL-16"], "label": terms.refusal.to_json()},
        "automated_decisions": {
            "law": ["PIPL-24"],
            "made": terms.algorithm.automated_decision,
            "refused": about.refuses_automated_decisions,
        },
        "abroad": {"law": ["PIPL-38", "PIPL-39"], "territories": abroad},
        "impact_assessment": {"law": ["PIPL-55", "PIPL-56"], "reference": about.assessment},
    }


def _guardian(terms: Terms, about: Recorded) -> dict[str, Any]:
    """Who consents for a minor: by role alone, since the record names no person."""
    if terms.guardian is None:
        return {}
    role, label = GUARDIANS[terms.guardian.role]
    told: dict[str, Any] = {
        "law": ["PIPL-31", "GDPR-8"],
        "party_role": role,
        "label": label.to_json(),
        "signs_alone": terms.guardian.alone,
    }
    if about.guardian is not None:
        told["signature"] = {
            "presentation_hash": about.guardian.presentation,
            "signed_at": _moment(about.guardian.time),
            "signature_grade": about.guardian.grade,
        }
    return {"guardian": told}


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
