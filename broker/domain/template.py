"""Consent templates: what a tenant prepares once, and the terms that come of it for one customer.

A template separates what the law separates: making public (PIPL 25), images from public places
(PIPL 26), sensitive personal information (PIPL 29) and transfer abroad (PIPL 39) each stand in an
item of their own, and each item becomes a consent of its own, with a signature of its own. Reading
refuses a template that bundles them. Where one use needs several, each of several items says by
`separate` which it is.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from broker.domain.consent import BindingGrade
from broker.domain.errors import InvalidTemplate, InvalidTerms, UnknownAttribute, UnknownPurpose
from broker.domain.guardian import GuardianTerms
from broker.domain.schemas import CONSENT_TEMPLATE
from broker.domain.separation import separations
from broker.domain.terms import (
    ACTIONS,
    AlgorithmTerms,
    AttributeTerms,
    Label,
    Notice,
    Party,
    PurposeTerms,
    Separate,
    Terms,
    Territories,
    parse_purpose,
)
from credentials.jcs import b64url, canonical

SCHEMA = "urn:consent-broker:template:1"
DAY = 86_400
LONGEST_REASON = 300
MOST_ENTRIES = 50
MOST_ERRORS = 100
_VALIDATOR = Draft202012Validator(orjson.loads(CONSENT_TEMPLATE))


@dataclass(frozen=True)
class Registry:
    """What a tenant has registered: purposes, algorithms by (id, version), attributes."""

    purposes: Mapping[str, PurposeTerms]
    algorithms: Mapping[tuple[str, str], tuple[str, AlgorithmTerms]]
    """Each algorithm with the purpose that it is declared under."""
    attributes: Mapping[str, AttributeTerms]
    public_places: frozenset[str] = frozenset()
    """Attributes that are collected by devices in public places."""


@dataclass(frozen=True)
class TemplateAttribute:
    """An attribute that an item asks for; a required one cannot be left out of a grant."""

    id: str
    required: bool


@dataclass(frozen=True)
class TemplateItem:
    """One consent of a template."""

    item: str
    purpose: str
    algorithm: str
    algorithm_version: str
    actions: tuple[str, ...]
    attributes: tuple[TemplateAttribute, ...]
    territories: Territories
    retention_days: int
    valid_days: int
    max_uses: int | None
    sentence: Label
    separate: Separate | None = None
    minor_versions: bool = False
    """Whether minor versions of the algorithm are covered (`algorithm_versions`)."""


@dataclass(frozen=True)
class Template:
    """A consent template in one version; `document` is the JSON that it was read from."""

    id: str
    title: Label
    summary: Label
    refusal: Label
    minimum_grade: BindingGrade
    allow_bound_signature: bool
    evidence_retention_days: int
    legal_hold_days: int
    assessment_reference: str
    items: tuple[TemplateItem, ...]
    document: Mapping[str, Any] = field(repr=False)
    version: int = 1

    def notice_hash(self) -> str:
        """SHA-256 over the canonical JSON, base64url: which notice a customer was shown."""
        return b64url(hashlib.sha256(canonical(dict(self.document))).digest())


def read_template(value: object) -> Template:
    """Read a template that somebody wrote: any JSON value. Raises `InvalidTemplate`.

    The published JSON Schema comes first; what a schema cannot say is checked after it and,
    against a tenant's registry, in `check_template`.
    """
    if not isinstance(value, dict):
        raise InvalidTemplate("a template is a JSON object: see /schemas/consent-template/1.json")
    # A validator tells of every error in every item, and compares items with each other: 1 MiB of
    # empty items took it 46 s.
    if _is_too_long(value):
        raise InvalidTemplate(f"a list or object of a template has at most {MOST_ENTRIES} entries")
    # Python's `$` lets a line break pass, and half a surrogate pair cannot be stored.
    if any(not text.isprintable() for text in _texts(value)):
        raise InvalidTemplate("texts of a template hold no line breaks or other control characters")
    problem = best_match(islice(_VALIDATOR.iter_errors(value), MOST_ERRORS))
    if problem is not None:
        where = problem.json_path.removeprefix("$").removeprefix(".") or "the template"
        raise InvalidTemplate(
            f"{where}: {problem.message[:LONGEST_REASON]} (/schemas/consent-template/1.json)"
        )
    return parse_template(value)


def parse_template(value: Mapping[str, Any], version: int = 1) -> Template:
    """Read a template that the published JSON Schema has accepted; raises `InvalidTemplate`.

    For templates that were stored; `read_template` is for those that come from outside.
    """
    try:
        if value["schema"] != SCHEMA:
            raise InvalidTemplate(f"the template's schema is not {SCHEMA}")
        items = tuple(_item(item) for item in value["items"])
        template = Template(
            id=value["id"],
            title=Label.from_json(value["title"]),
            summary=Label.from_json(value["summary"]),
            refusal=Label.from_json(value["refusal"]),
            minimum_grade=BindingGrade(value["minimum_grade"]),
            allow_bound_signature=value["allow_bound_signature"],
            evidence_retention_days=value["evidence_retention_days"],
            legal_hold_days=value["legal_hold_days"],
            assessment_reference=value["assessment_reference"],
            items=items,
            document=dict(value),
            version=version,
        )
    except (KeyError, TypeError, ValueError, InvalidTerms) as error:
        raise InvalidTemplate(
            f"the template does not have the form of its schema: {error}"
        ) from None
    names = [item.item for item in items]
    if not items or len(set(names)) != len(names):
        raise InvalidTemplate("a template has at least one item, and each item a name of its own")
    return template


def check_template(template: Template, registry: Registry) -> None:
    """Check a template against what the tenant has registered.

    Raises `UnknownPurpose`, `UnknownAttribute`, or `InvalidTemplate` where an item bundles what
    must be a separate consent.
    """
    for item in template.items:
        separations(item, _attributes(item, registry, None), registry.public_places)
        _purpose(item, registry)


def build_terms(
    template: Template,
    item: TemplateItem,
    *,
    consent_id: str,
    controller: Party,
    partner: Party,
    registry: Registry,
    chosen: Collection[str] | None,
    language: str,
    now: int,
    withdrawal_url: str,
    guardian: GuardianTerms | None = None,
) -> Terms:
    """The terms of one item for one customer, valid from `now` (Unix seconds).

    `guardian` is who signs too where the customer is a minor. `chosen` are the attribute ids that
    the customer ticked, all of them when None. Raises `InvalidTerms` (a required attribute left
    out, one that the item does not have), `UnknownPurpose`, `UnknownAttribute`, `InvalidTemplate`.
    """
    attributes = _attributes(item, registry, chosen)
    separate = separations(item, attributes, registry.public_places)
    if partner.id != controller.id:
        separate = (*separate, "third_party")
    purpose, algorithm = _purpose(item, registry)
    return Terms(
        consent_id=consent_id,
        controller=controller,
        partner=partner,
        purpose=purpose,
        algorithm=algorithm,
        actions=item.actions,
        attributes=attributes,
        separate=separate,
        territories=item.territories,
        retention_days=item.retention_days,
        valid_from=now,
        valid_until=now + item.valid_days * DAY,
        max_uses=item.max_uses,
        refusal=template.refusal,
        notice=Notice(template.id, template.version, language, template.notice_hash()),
        withdrawal=withdrawal_url,
        guardian=guardian,
        minor_versions=item.minor_versions,
    )


def _is_too_long(value: object) -> bool:
    """Whether any list or object has more entries than one of a template may."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return len(inner) > MOST_ENTRIES or any(map(_is_too_long, inner))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _purpose(item: TemplateItem, registry: Registry) -> tuple[PurposeTerms, AlgorithmTerms]:
    purpose = registry.purposes.get(item.purpose)
    declared = registry.algorithms.get((item.algorithm, item.algorithm_version))
    if purpose is None:
        raise UnknownPurpose(f"the purpose {item.purpose} is not registered")
    if declared is None or declared[0] != item.purpose:
        raise UnknownPurpose(
            f"the algorithm {item.algorithm}@{item.algorithm_version} is not registered "
            f"under {item.purpose}"
        )
    return purpose, declared[1]


def _attributes(
    item: TemplateItem, registry: Registry, chosen: Collection[str] | None
) -> tuple[AttributeTerms, ...]:
    offered = {attribute.id for attribute in item.attributes}
    if chosen is not None and not set(chosen) <= offered:
        raise InvalidTerms("an attribute was chosen that this consent does not ask for")
    found = []
    for wanted in item.attributes:
        if chosen is not None and wanted.id not in chosen:
            if wanted.required:
                raise InvalidTerms(
                    f"{wanted.id} is needed for this consent: choose it, or refuse the consent"
                )
            continue
        known = registry.attributes.get(wanted.id)
        if known is None:
            raise UnknownAttribute(f"the attribute {wanted.id} is not in the tenant's dictionary")
        found.append(
            AttributeTerms(
                known.id,
                known.label,
                known.category,
                known.sensitive,
                wanted.required,
                known.stored_in,
            )
        )
    if not found:
        raise InvalidTerms("a consent needs at least one attribute")
    return tuple(found)


def _item(value: Mapping[str, Any]) -> TemplateItem:
    purpose, algorithm, version = parse_purpose(value["purpose"])
    territories = value["territories"]
    actions = tuple(value["actions"])
    if not actions or not set(actions) <= ACTIONS:
        raise InvalidTemplate(
            f"item {value['item']}: actions are among {', '.join(sorted(ACTIONS))}"
        )
    wanted = [attribute["id"] for attribute in value["attributes"]]
    if len(set(wanted)) != len(wanted):
        raise InvalidTemplate(f"item {value['item']} names an attribute twice")
    return TemplateItem(
        item=value["item"],
        purpose=purpose,
        algorithm=algorithm,
        algorithm_version=version,
        actions=actions,
        attributes=tuple(
            TemplateAttribute(one["id"], one["required"]) for one in value["attributes"]
        ),
        territories=Territories(
            tuple(territories["storage"]),
            tuple(territories["processing"]),
            tuple(territories["access"]),
        ),
        retention_days=value["retention_days"],
        valid_days=value["valid_days"],
        max_uses=value.get("max_uses"),
        sentence=Label.from_json(value["sentence"]),
        separate=value.get("separate"),
        minor_versions=value.get("minor_versions", False),
    )


__all__ = [
    "Registry",
    "Template",
    "TemplateAttribute",
    "TemplateItem",
    "build_terms",
    "check_template",
    "parse_template",
    "read_template",
]
