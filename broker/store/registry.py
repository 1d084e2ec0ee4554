"""Rows of what a tenant has registered: itself, purposes, algorithms, attributes, templates."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from broker.domain.errors import NotFound, StateConflict
from broker.domain.template import Registry, Template, parse_template
from broker.domain.terms import AlgorithmTerms, AttributeTerms, Label, Party, PurposeTerms
from broker.store import tables

TENANT = tables.Tenant.__table__  # type: ignore[attr-defined]
PURPOSE = tables.Purpose.__table__  # type: ignore[attr-defined]
ALGORITHM = tables.Algorithm.__table__  # type: ignore[attr-defined]
ATTRIBUTE = tables.Attribute.__table__  # type: ignore[attr-defined]
MAPPING = tables.AttributeMapping.__table__  # type: ignore[attr-defined]
TEMPLATE = tables.Template.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class TenantRow:
    """A company that runs consents on this broker."""

    id: str
    name_zh: str
    name_en: str
    contact: str
    country: str
    kill_switch: bool
    policy_version: str
    sealed_log_key: bytes
    version: int
    created_at: int
    fee_rate: int | None = None
    fee_currency: str | None = None
    own_attributes: str | None = None


@dataclass(frozen=True)
class AttributeSpec:
    """A canonical attribute to register."""

    id: str
    label: Label
    category: str
    value_type: str
    sensitive: bool
    stored_in: str
    public_place: bool = False


def add_tenant(tx: Connection, row: TenantRow) -> None:
    """Store a new tenant; raises `StateConflict` when the id is taken."""
    _insert(tx, TENANT, vars(row), f"the tenant {row.id} exists already")


def has_tenant(tx: Connection, tenant_id: str) -> bool:
    """Whether there is such a tenant."""
    return tx.execute(select(TENANT.c.id).where(TENANT.c.id == tenant_id)).one_or_none() is not None


def tenant(tx: Connection, tenant_id: str) -> TenantRow:
    """A tenant; raises `NotFound`."""
    row = tx.execute(select(TENANT).where(TENANT.c.id == tenant_id)).one_or_none()
    if row is None:
        raise NotFound("no such tenant")
    return TenantRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)


def tenants(tx: Connection) -> list[str]:
    """The ids of all tenants."""
    return list(
        tx.execute(select(TENANT.c.id).order_by(TENANT.c.created_at, TENANT.c.id)).scalars()
    )


def tenant_party(tx: Connection, tenant_id: str) -> Party:
    """The tenant as the terms of a consent name it: the controller."""
    row = tenant(tx, tenant_id)
    return Party(row.id, Label(zh=row.name_zh, en=row.name_en), row.contact, row.country)


def add_purpose(tx: Connection, tenant_id: str, purpose: PurposeTerms) -> None:
    """Register a purpose; raises `StateConflict` when it is there."""
    values = {
        "tenant_id": tenant_id,
        "id": purpose.id,
        "label_zh": purpose.label.zh,
        "label_en": purpose.label.en,
        "necessary_for_service": purpose.necessary_for_service,
    }
    _insert(tx, PURPOSE, values, f"the purpose {purpose.id} is registered already")


def add_algorithm(
    tx: Connection, tenant_id: str, purpose_id: str, algorithm: AlgorithmTerms
) -> None:
    """Register an algorithm in one version; raises `StateConflict` when it is there."""
    values = {
        "tenant_id": tenant_id,
        "id": algorithm.id,
        "algorithm_version": algorithm.version,
        "purpose_id": purpose_id,
        "label_zh": algorithm.label.zh,
        "label_en": algorithm.label.en,
        "explanation_zh": algorithm.explanation.zh,
        "explanation_en": algorithm.explanation.en,
        "risk_tier": algorithm.risk_tier,
        "automated_decision": algorithm.automated_decision,
    }
    _insert(
        tx,
        ALGORITHM,
        values,
        f"{algorithm.id}@{algorithm.version} is registered already: name a new version",
    )


def maskings(tx: Connection, tenant_id: str) -> dict[str, str]:
    """How attributes are masked by role (JSON text), by attribute; those of which it is said."""
    chosen = select(ATTRIBUTE.c.id, ATTRIBUTE.c.maskings).where(
        ATTRIBUTE.c.tenant_id == tenant_id, ATTRIBUTE.c.maskings.is_not(None)
    )
    return {row.id: row.maskings for row in tx.execute(chosen.order_by(ATTRIBUTE.c.id))}


def set_maskings(tx: Connection, tenant_id: str, attribute_id: str, text: str | None) -> None:
    """Put maskings (JSON text) in place of an attribute's earlier ones; raises `NotFound`.

    Decisions notice by the attribute's version.
    """
    done = tx.execute(
        update(ATTRIBUTE)
        .where(ATTRIBUTE.c.tenant_id == tenant_id, ATTRIBUTE.c.id == attribute_id)
        .values(maskings=text, version=ATTRIBUTE.c.version + 1)
    )
    if done.rowcount != 1:
        raise NotFound(f"the attribute {attribute_id} is not in the dictionary")


def add_attribute(tx: Connection, tenant_id: str, attribute: AttributeSpec) -> None:
    """Register a canonical attribute; raises `StateConflict` when it is there."""
    values = {
        "tenant_id": tenant_id,
        "id": attribute.id,
        "label_zh": attribute.label.zh,
        "label_en": attribute.label.en,
        "category": attribute.category,
        "value_type": attribute.value_type,
        "sensitive": attribute.sensitive,
        "stored_in": attribute.stored_in,
        "public_place": attribute.public_place,
    }
    _insert(tx, ATTRIBUTE, values, f"the attribute {attribute.id} is registered already")


def registry(tx: Connection, tenant_id: str) -> Registry:
    """Everything that templates and terms refer to."""
    purposes = tx.execute(
        select(PURPOSE).where(PURPOSE.c.tenant_id == tenant_id).order_by(PURPOSE.c.id)
    ).all()
    algorithms = tx.execute(
        select(ALGORITHM)
        .where(ALGORITHM.c.tenant_id == tenant_id, ALGORITHM.c.state == "registered")
        .order_by(ALGORITHM.c.id, ALGORITHM.c.algorithm_version)
    ).all()
    attributes = tx.execute(
        select(ATTRIBUTE).where(ATTRIBUTE.c.tenant_id == tenant_id).order_by(ATTRIBUTE.c.id)
    ).all()
    return Registry(
        purposes={
            row.id: PurposeTerms(
                row.id, Label(row.label_zh, row.label_en), row.necessary_for_service
            )
            for row in purposes
        },
        algorithms={
            (row.id, row.algorithm_version): (
                row.purpose_id,
                AlgorithmTerms(
                    row.id,
                    row.algorithm_version,
                    Label(row.label_zh, row.label_en),
                    Label(row.explanation_zh, row.explanation_en),
                    row.automated_decision,
                    row.risk_tier,
                ),
            )
            for row in algorithms
        },
        attributes={
            row.id: AttributeTerms(
                row.id,
                Label(row.label_zh, row.label_en),
                row.category,
                row.sensitive,
                required=False,
                stored_in=row.stored_in,
            )
            for row in attributes
        },
        public_places=frozenset(row.id for row in attributes if row.public_place),
    )


def add_template(
    tx: Connection, tenant_id: str, document: Mapping[str, Any], template_id: str, now: int
) -> int:
    """Store a template as its next version, which is returned; earlier ones stay."""
    newest = tx.execute(
        select(func.max(TEMPLATE.c.version)).where(
            TEMPLATE.c.tenant_id == tenant_id, TEMPLATE.c.id == template_id
        )
    ).scalar_one()
    version = 1 + (newest or 0)
    values = {
        "tenant_id": tenant_id,
        "id": template_id,
        "version": version,
        "document": json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True),
        "created_at": now,
    }
    _insert(
        tx,
        TEMPLATE,
        values,
        "another version of this template was stored at the same moment: try again",
    )
    return version


def template(
    tx: Connection, tenant_id: str, template_id: str, version: int | None = None
) -> Template:
    """A template, in its newest or a named version; raises `NotFound`."""
    query = select(TEMPLATE).where(TEMPLATE.c.tenant_id == tenant_id, TEMPLATE.c.id == template_id)
    if version is not None:
        query = query.where(TEMPLATE.c.version == version)
    row = tx.execute(query.order_by(TEMPLATE.c.version.desc()).limit(1)).one_or_none()
    if row is None:
        raise NotFound(f"no consent template {template_id}: GET /v1/templates lists them")
    return parse_template(json.loads(row.document), row.version)


def templates(tx: Connection, tenant_id: str) -> list[Template]:
    """The tenant's templates, each in its newest version."""
    newest = (
        select(TEMPLATE.c.id, func.max(TEMPLATE.c.version).label("version"))
        .where(TEMPLATE.c.tenant_id == tenant_id)
        .group_by(TEMPLATE.c.id)
        .subquery()
    )
    rows = tx.execute(
        select(TEMPLATE)
        .join(newest, (newest.c.id == TEMPLATE.c.id) & (newest.c.version == TEMPLATE.c.version))
        .where(TEMPLATE.c.tenant_id == tenant_id)
        .order_by(TEMPLATE.c.id)
    )
    return [parse_template(json.loads(row.document), row.version) for row in rows]


def mapping(tx: Connection, partner_id: str) -> dict[str, str]:
    """A partner's field names and the canonical attributes that they stand for."""
    rows = tx.execute(
        select(MAPPING.c.field, MAPPING.c.attribute_id).where(MAPPING.c.partner_id == partner_id)
    )
    return {row.field: row.attribute_id for row in rows}


def stands_for_another(tx: Connection, tenant_id: str, name: str) -> bool:
    """Whether a partner uses `name` as its field name for another attribute."""
    found = select(MAPPING.c.field).where(
        MAPPING.c.tenant_id == tenant_id, MAPPING.c.field == name, MAPPING.c.attribute_id != name
    )
    return tx.execute(found.limit(1)).one_or_none() is not None


def replace_mapping(
    tx: Connection, tenant_id: str, partner_id: str, fields: Mapping[str, str]
) -> None:
    """Replace a partner's field names; decisions notice by the partner's version."""
    tx.execute(delete(MAPPING).where(MAPPING.c.partner_id == partner_id))
    if fields:
        rows = [
            {
                "partner_id": partner_id,
                "tenant_id": tenant_id,
                "field": name,
                "attribute_id": attribute,
            }
            for name, attribute in sorted(fields.items())
        ]
        tx.execute(insert(MAPPING), rows)
    partner = tables.Partner.__table__  # type: ignore[attr-defined]
    tx.execute(
        update(partner).where(partner.c.id == partner_id).values(version=partner.c.version + 1)
    )


def _insert(tx: Connection, table: Any, values: Mapping[str, Any], conflict: str) -> None:  # noqa: ANN401 (a table)
    try:
        with tx.begin_nested():
            tx.execute(insert(table).values(**values))
    except IntegrityError:
        raise StateConflict(conflict) from None
