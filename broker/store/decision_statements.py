"""The statements of a decision: read all that it rests on, hold that still, count a use."""

from typing import Any

from sqlalchemy import String, and_, bindparam, func, literal_column, or_, select, update
from sqlalchemy.sql import ColumnElement, Select

from broker.store import tables
from broker.store.prepared import Prepared

CONSENTS_READ = 64

TOKEN = tables.AccessToken.__table__  # type: ignore[attr-defined]
TENANT = tables.Tenant.__table__  # type: ignore[attr-defined]
PARTNER = tables.Partner.__table__  # type: ignore[attr-defined]
MAPPING = tables.AttributeMapping.__table__  # type: ignore[attr-defined]
ATTRIBUTE = tables.Attribute.__table__  # type: ignore[attr-defined]
PURPOSE = tables.Purpose.__table__  # type: ignore[attr-defined]
AGENT = tables.Agent.__table__  # type: ignore[attr-defined]
ALGORITHM = tables.Algorithm.__table__  # type: ignore[attr-defined]
CONTACT = tables.Contact.__table__  # type: ignore[attr-defined]
CONSENT = tables.Consent.__table__  # type: ignore[attr-defined]
NAMED = CONSENT.alias("named")


_CANONICAL = func.coalesce(MAPPING.c.attribute_id, bindparam("attribute"))
_REGISTERED = (
    TOKEN.join(TENANT, TENANT.c.id == TOKEN.c.tenant_id)
    .join(PARTNER, and_(PARTNER.c.id == TOKEN.c.subject, PARTNER.c.tenant_id == TOKEN.c.tenant_id))
    .outerjoin(
        MAPPING,
        and_(MAPPING.c.partner_id == PARTNER.c.id, MAPPING.c.field == bindparam("attribute")),
    )
    .outerjoin(
        ATTRIBUTE,
        and_(ATTRIBUTE.c.tenant_id == TOKEN.c.tenant_id, ATTRIBUTE.c.id == _CANONICAL),
    )
    .outerjoin(
        PURPOSE,
        and_(PURPOSE.c.tenant_id == TOKEN.c.tenant_id, PURPOSE.c.id == bindparam("purpose_id")),
    )
    .outerjoin(
        ALGORITHM,
        and_(
            ALGORITHM.c.tenant_id == TOKEN.c.tenant_id,
            ALGORITHM.c.id == bindparam("algorithm_id"),
            ALGORITHM.c.algorithm_version == bindparam("algorithm_version"),
        ),
    )
    .outerjoin(
        AGENT,
        and_(
            AGENT.c.id == bindparam("agent_id", type_=String()),
            AGENT.c.partner_id == PARTNER.c.id,
        ),
    )
)
_OF_TOKEN = (
    TOKEN.c.token_hash == bindparam("token_hash"),
    TOKEN.c.tenant_id == bindparam("tenant_id"),
    TOKEN.c.role == literal_column("'partner'"),
)
_REGISTERED_COLUMNS = (
    TOKEN.c.expires_at,
    TENANT.c.id,
    TENANT.c.kill_switch,
    TENANT.c.policy_version,
    TENANT.c.version,
    PARTNER.c.id,
    PARTNER.c.country,
    PARTNER.c.state,
    PARTNER.c.kill_switch,
    PARTNER.c.admission,
    PARTNER.c.own,
    PARTNER.c.version,
    ATTRIBUTE.c.id,
    ATTRIBUTE.c.category,
    ATTRIBUTE.c.sensitive,
    ATTRIBUTE.c.stored_in,
    ATTRIBUTE.c.public_place,
    ATTRIBUTE.c.maskings,
    ATTRIBUTE.c.sole_source,
    ATTRIBUTE.c.own,
    ATTRIBUTE.c.version,
    PURPOSE.c.id,
    PURPOSE.c.kill_switch,
    PURPOSE.c.demand,
    PURPOSE.c.version,
    ALGORITHM.c.purpose_id,
    ALGORITHM.c.state,
    ALGORITHM.c.risk_tier,
    ALGORITHM.c.automated_decision,
    ALGORITHM.c.kill_switch,
    ALGORITHM.c.version,
    AGENT.c.state,
)
_CONTACT_COLUMNS = (
    CONTACT.c.id,
    CONTACT.c.subject_id,
    CONTACT.c.minor,
    CONTACT.c.test_subject,
    CONTACT.c.grade,
    CONSENT.c.id,
    CONSENT.c.state,
    CONSENT.c.version,
    CONSENT.c.subject_id,
    CONSENT.c.valid_from,
    CONSENT.c.valid_until,
    CONSENT.c.refuses_automated_decisions,
    CONSENT.c.guardian_id,
    CONSENT.c.terms,
    CONSENT.c.uses_left,
)
# The live ones first: a long history cannot push them out.
_LIVE_FIRST = (
    (CONSENT.c.state == literal_column("'granted'")).desc(),
    CONSENT.c.created_at.desc(),
)
_MOST_READ: ColumnElement[Any] = literal_column(str(CONSENTS_READ))


def _facts_query(contact: ColumnElement[bool], *first: ColumnElement[Any]) -> Select[Any]:
    source = _REGISTERED.outerjoin(
        CONTACT, and_(CONTACT.c.partner_id == PARTNER.c.id, contact)
    ).outerjoin(
        CONSENT, and_(CONSENT.c.partner_id == PARTNER.c.id, CONSENT.c.contact_id == CONTACT.c.id)
    )
    return (
        select(*_REGISTERED_COLUMNS, *_CONTACT_COLUMNS)
        .select_from(source)
        .where(*_OF_TOKEN)
        .order_by(*first, *_LIVE_FIRST)
        .limit(_MOST_READ)
    )


_REF = bindparam("subject_ref_hash", type_=String())
BY_CONTACT = Prepared(_facts_query(CONTACT.c.subject_ref_hash == _REF))
# The same in two: what questions of a batch share, and what each has of its own contact.
REGISTERED = Prepared(
    select(*_REGISTERED_COLUMNS)
    .select_from(_REGISTERED)
    .where(*_OF_TOKEN)
    .limit(literal_column("1"))
)
OF_CONTACT = Prepared(
    select(*_CONTACT_COLUMNS)
    .select_from(
        CONTACT.outerjoin(
            CONSENT,
            and_(
                CONSENT.c.partner_id == CONTACT.c.partner_id, CONSENT.c.contact_id == CONTACT.c.id
            ),
        )
    )
    .where(CONTACT.c.partner_id == bindparam("partner_id"), CONTACT.c.subject_ref_hash == _REF)
    .order_by(*_LIVE_FIRST)
    .limit(_MOST_READ)
)
NO_CONTACT = (None,) * len(_CONTACT_COLUMNS)
BY_CONSENT = Prepared(
    _facts_query(
        and_(
            CONTACT.c.id
            == select(NAMED.c.contact_id)
            .where(
                NAMED.c.id == bindparam("consent_id"),
                NAMED.c.partner_id == PARTNER.c.id,
            )
            .scalar_subquery(),
            or_(_REF.is_(None), CONTACT.c.subject_ref_hash == _REF),
        ),
        (CONSENT.c.id == bindparam("consent_id")).desc(),
    )
)


def _hold_consents(*which: ColumnElement[bool]) -> Prepared:
    """Those that are granted: a permit rests on no other."""
    return Prepared(
        select(CONSENT.c.id)
        .where(
            CONSENT.c.partner_id == bindparam("partner_id"),
            CONSENT.c.contact_id == bindparam("contact_id"),
            CONSENT.c.state == literal_column("'granted'"),
            *which,
        )
        .order_by(CONSENT.c.id)
        .with_for_update(read=True)
    )


HOLD_CONSENTS = _hold_consents()
HOLD_BEFORE = _hold_consents(CONSENT.c.id < bindparam("used"))
HOLD_AFTER = _hold_consents(CONSENT.c.id > bindparam("used"))
HOLD_AGENT = Prepared(
    select(AGENT.c.id)
    .where(AGENT.c.id == bindparam("agent_id"), AGENT.c.partner_id == bindparam("partner_id"))
    .with_for_update(read=True)
)
# One row of inner joins: a permit rests on rows that are all there. PostgreSQL locks them in the
# order of this list.
HOLD_REGISTERED = Prepared(
    select(TENANT.c.version)
    .join(PARTNER, PARTNER.c.id == bindparam("partner_id"))
    .join(
        PURPOSE,
        and_(PURPOSE.c.tenant_id == TENANT.c.id, PURPOSE.c.id == bindparam("purpose_id")),
    )
    .join(
        ALGORITHM,
        and_(
            ALGORITHM.c.tenant_id == TENANT.c.id,
            ALGORITHM.c.id == bindparam("algorithm_id"),
            ALGORITHM.c.algorithm_version == bindparam("algorithm_version"),
        ),
    )
    .join(
        ATTRIBUTE,
        and_(ATTRIBUTE.c.tenant_id == TENANT.c.id, ATTRIBUTE.c.id == bindparam("attribute")),
    )
    .where(TENANT.c.id == bindparam("tenant_id"))
    .with_for_update(read=True, of=[TENANT, PARTNER, PURPOSE, ALGORITHM, ATTRIBUTE])
)
USE = Prepared(
    update(CONSENT)
    .where(
        CONSENT.c.id == bindparam("consent_id"),
        CONSENT.c.state == literal_column("'granted'"),
        CONSENT.c.uses_left >= bindparam("uses"),
    )
    .values(uses_left=CONSENT.c.uses_left - bindparam("uses"))
)
