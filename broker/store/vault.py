"""Rows of envelopes in vaults and of the keys that they are sealed to."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_on_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_on_sqlite

from broker.store import tables
from broker.store.prepared import Prepared
from broker.store.tables.vault import GOING, STORED

ENVELOPE = tables.Envelope.__table__  # type: ignore[attr-defined]
KEY = tables.SealingKey.__table__  # type: ignore[attr-defined]
CONSENT = tables.Consent.__table__  # type: ignore[attr-defined]
TENANT = tables.Tenant.__table__  # type: ignore[attr-defined]
PARTNER = tables.Partner.__table__  # type: ignore[attr-defined]
PURPOSE = tables.Purpose.__table__  # type: ignore[attr-defined]
ALGORITHM = tables.Algorithm.__table__  # type: ignore[attr-defined]
ATTRIBUTE = tables.Attribute.__table__  # type: ignore[attr-defined]
MAPPING = tables.AttributeMapping.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class EnvelopeRow:
    """An envelope; `path` is its place in the vault, times are Unix seconds."""

    id: str
    tenant_id: str
    partner_id: str
    consent_id: str
    attribute: str
    masking: str
    vault: str
    path: str
    kid: str
    digest: str
    size: int
    pieces: bytes
    sealed_reference: bytes
    state: str
    signed_at: int
    created_at: int
    delete_from: int | None = None
    deleted_at: int | None = None
    entry_id: str | None = None


@dataclass(frozen=True)
class InUse:
    """What a running transfer rests on, read again for each piece."""

    consent_id: str
    purpose_id: str
    algorithm_id: str
    algorithm_version: str


_FIELDS = tuple(field.name for field in fields(EnvelopeRow))
# By the partner's own name of the field or the canonical one.
_WANTED = Prepared(
    select(*(ENVELOPE.c[name] for name in _FIELDS))
    .where(
        ENVELOPE.c.tenant_id == bindparam("b_tenant"),
        ENVELOPE.c.partner_id == bindparam("b_partner"),
        ENVELOPE.c.consent_id == bindparam("b_consent"),
        ENVELOPE.c.attribute
        == func.coalesce(
            select(MAPPING.c.attribute_id)
            .where(
                MAPPING.c.partner_id == bindparam("b_partner"),
                MAPPING.c.field == bindparam("b_attribute"),
            )
            .scalar_subquery(),
            bindparam("b_attribute"),
        ),
        STORED,
    )
    .order_by(ENVELOPE.c.masking)
)
_MASKINGS = Prepared(
    select(ATTRIBUTE.c.maskings).where(
        ATTRIBUTE.c.tenant_id == bindparam("b_tenant"), ATTRIBUTE.c.id == bindparam("b_attribute")
    )
)
_IN_USE = Prepared(
    select(literal_column("1"))
    .select_from(
        CONSENT.join(PARTNER, PARTNER.c.id == CONSENT.c.partner_id)
        .join(TENANT, TENANT.c.id == CONSENT.c.tenant_id)
        .join(PURPOSE, PURPOSE.c.tenant_id == CONSENT.c.tenant_id)
        .join(ALGORITHM, ALGORITHM.c.tenant_id == CONSENT.c.tenant_id)
    )
    .where(
        CONSENT.c.id == bindparam("b_consent"),
        CONSENT.c.state == literal_column("'granted'"),
        CONSENT.c.valid_until > bindparam("b_now"),
        PARTNER.c.state == literal_column("'active'"),
        PARTNER.c.kill_switch.is_(False),
        TENANT.c.kill_switch.is_(False),
        PURPOSE.c.id == bindparam("b_purpose"),
        PURPOSE.c.kill_switch.is_(False),
        ALGORITHM.c.id == bindparam("b_algorithm"),
        ALGORITHM.c.algorithm_version == bindparam("b_version"),
        ALGORITHM.c.kill_switch.is_(False),
    )
)
# Run whenever a consent ends, mostly for one that has no envelope.
_END = Prepared(
    update(ENVELOPE)
    .where(ENVELOPE.c.consent_id == bindparam("b_consent"), STORED)
    .values(state=literal_column("'ending'"), delete_from=bindparam("b_from"))
)


def set_sealing_key(tx: Connection, tenant_id: str, partner_id: str, jwk: str, now: int) -> None:
    """Put a partner's sealing key (JSON text) in place of the one before."""
    insert_here = insert_on_sqlite if tx.dialect.name == "sqlite" else insert_on_postgresql
    new = {"jwk": jwk, "created_at": now}
    tx.execute(
        insert_here(KEY)
        .values(partner_id=partner_id, tenant_id=tenant_id, **new)
        .on_conflict_do_update(index_elements=[KEY.c.partner_id], set_=new)
    )


def sealing_key(tx: Connection, tenant_id: str, partner_id: str) -> str | None:
    """A partner's sealing key (JSON text), if it has one."""
    chosen = select(KEY.c.jwk).where(KEY.c.partner_id == partner_id, KEY.c.tenant_id == tenant_id)
    found: str | None = tx.execute(chosen).scalar_one_or_none()
    return found


def add(tx: Connection, row: EnvelopeRow) -> None:
    """Store a new envelope's row."""
    tx.execute(insert(ENVELOPE).values(**vars(row)))


def in_place(
    tx: Connection, tenant_id: str, consent_id: str, attribute: str, masking: str
) -> EnvelopeRow | None:
    """The stored envelope of an attribute in a masking.

    Nobody replaces it while `hold_live` holds its consent.
    """
    chosen = select(ENVELOPE).where(
        ENVELOPE.c.tenant_id == tenant_id,
        ENVELOPE.c.consent_id == consent_id,
        ENVELOPE.c.attribute == attribute,
        ENVELOPE.c.masking == masking,
        STORED,
    )
    row = tx.execute(chosen).mappings().one_or_none()
    return None if row is None else EnvelopeRow(**row)


def hold_live(tx: Connection, tenant_id: str, consent_id: str, now: int) -> bool:
    """Whether a consent is granted and in force, which does not change before `tx` ends."""
    chosen = select(CONSENT.c.id).where(
        CONSENT.c.id == consent_id,
        CONSENT.c.tenant_id == tenant_id,
        CONSENT.c.state == "granted",
        CONSENT.c.valid_until > now,
    )
    # Of two wallets that put the same attribute, one waits for the other; rows that name the
    # consent are added meanwhile.
    return tx.execute(chosen.with_for_update(key_share=True)).first() is not None


def put_in_place(tx: Connection, envelope_id: str) -> bool:
    """Make an envelope that was being written the stored one; False where it is gone."""
    done = tx.execute(
        update(ENVELOPE)
        .where(ENVELOPE.c.id == envelope_id, ENVELOPE.c.state == "writing")
        .values(state="stored", delete_from=None)
    )
    return done.rowcount == 1


def renew(tx: Connection, envelope_id: str, signed_at: int, sealed_reference: bytes) -> None:
    """Put the customer's newer word for the same envelope in place of the older."""
    tx.execute(
        update(ENVELOPE)
        .where(ENVELOPE.c.id == envelope_id, STORED, ENVELOPE.c.signed_at < signed_at)
        .values(signed_at=signed_at, sealed_reference=sealed_reference)
    )


def give_up(tx: Connection, envelope_id: str, now: int) -> bool:
    """Have an envelope that was written in vain deleted from now on; False where it is gone."""
    done = tx.execute(
        update(ENVELOPE)
        .where(ENVELOPE.c.id == envelope_id, ENVELOPE.c.state == "writing")
        .values(delete_from=now)
    )
    return done.rowcount == 1


def replace(tx: Connection, envelope_id: str, now: int) -> None:
    """Have a stored envelope deleted: a newer one takes its place."""
    tx.execute(
        update(ENVELOPE)
        .where(ENVELOPE.c.id == envelope_id, STORED)
        .values(state="ending", delete_from=now)
    )


def end(tx: Connection, consent_id: str, delete_from: int) -> None:
    """Have every envelope of a consent that has ended deleted, from then on."""
    _END.changed(tx, {"b_consent": consent_id, "b_from": delete_from})


def wanted(
    tx: Connection, tenant_id: str, partner_id: str, consent_id: str, attribute: str
) -> list[EnvelopeRow]:
    """A partner's envelopes of an attribute, by its own name of it or the canonical one."""
    values = {
        "b_tenant": tenant_id,
        "b_partner": partner_id,
        "b_consent": consent_id,
        "b_attribute": attribute,
    }
    return [EnvelopeRow(*row) for row in _WANTED.rows(tx, values)]


def maskings(tx: Connection, tenant_id: str, attribute: str) -> str | None:
    """How an attribute is masked by role (JSON text), where anything is said of it."""
    rows = _MASKINGS.rows(tx, {"b_tenant": tenant_id, "b_attribute": attribute})
    return rows[0][0] if rows else None


def in_use(tx: Connection, what: InUse, now: int) -> bool:
    """Whether a transfer may go on: consent in force, nobody suspended, no kill switch on."""
    values = {
        "b_consent": what.consent_id,
        "b_purpose": what.purpose_id,
        "b_algorithm": what.algorithm_id,
        "b_version": what.algorithm_version,
        "b_now": now,
    }
    return bool(_IN_USE.rows(tx, values))


def due(
    tx: Connection, now: int, limit: int, after: EnvelopeRow | None = None
) -> list[EnvelopeRow]:
    """Envelopes, of any tenant, that have to be deleted by now, in order; `after` the last one."""
    place = tuple_(ENVELOPE.c.delete_from, ENVELOPE.c.id)
    chosen = select(ENVELOPE).where(GOING, ENVELOPE.c.delete_from <= now)
    if after is not None:
        chosen = chosen.where(place > tuple_(after.delete_from, after.id))
    return _rows(tx, chosen.order_by(ENVELOPE.c.delete_from, ENVELOPE.c.id).limit(limit))


def deleted(tx: Connection, envelope_id: str, entry_id: str | None, now: int) -> bool:
    """Say that an envelope is deleted; False when another said so first."""
    done = tx.execute(
        update(ENVELOPE)
        .where(ENVELOPE.c.id == envelope_id, GOING)
        .values(
            state="deleted", deleted_at=now, pieces=b"", sealed_reference=b"", entry_id=entry_id
        )
    )
    return done.rowcount == 1


def stands(tx: Connection, envelope_id: str) -> bool:
    """Whether an envelope has to be deleted still."""
    chosen = select(ENVELOPE.c.id).where(ENVELOPE.c.id == envelope_id, GOING)
    return tx.execute(chosen.with_for_update()).first() is not None


def forget(tx: Connection, envelope_id: str) -> bool:
    """Delete the row of an envelope that was never in place; False when another did."""
    gone = delete(ENVELOPE).where(ENVELOPE.c.id == envelope_id, ENVELOPE.c.state == "writing")
    return tx.execute(gone).rowcount == 1


def of_consents(tx: Connection, tenant_id: str, consent_ids: Sequence[str]) -> list[EnvelopeRow]:
    """The envelopes that there are, or were, under some consents, oldest first."""
    chosen = select(ENVELOPE).where(
        ENVELOPE.c.tenant_id == tenant_id,
        ENVELOPE.c.consent_id.in_(consent_ids),
        ENVELOPE.c.state != "writing",
    )
    return _rows(tx, chosen.order_by(ENVELOPE.c.created_at, ENVELOPE.c.id))


def stored(tx: Connection, tenant_id: str, after: str, limit: int) -> list[EnvelopeRow]:
    """Stored envelopes of a tenant in the order of their ids, behind `after`."""
    chosen = select(ENVELOPE).where(
        ENVELOPE.c.tenant_id == tenant_id, STORED, ENVELOPE.c.id > after
    )
    return _rows(tx, chosen.order_by(ENVELOPE.c.id).limit(limit))


def any_lying(tx: Connection, name: str) -> str | None:
    """The path of something, of any tenant, that has to lie in a vault, if anything has."""
    there = ENVELOPE.c.state.in_(("stored", "ending"))
    chosen = select(ENVELOPE.c.path).where(ENVELOPE.c.vault == name, there)
    found: str | None = tx.execute(chosen.limit(1)).scalar_one_or_none()
    return found


def named(tx: Connection, name: str, paths: Sequence[str]) -> set[str]:
    """Which of some paths in a vault an envelope, of any tenant, lies at or is written to."""
    chosen = select(ENVELOPE.c.path).where(
        ENVELOPE.c.vault == name, ENVELOPE.c.path.in_(paths), ENVELOPE.c.state != "deleted"
    )
    return set(tx.execute(chosen).scalars())


def figures(tx: Connection, tenant_id: str) -> list[tuple[str, str, int, int]]:
    """For each vault and state of a tenant's envelopes: how many, how many bytes."""
    chosen = (
        select(
            ENVELOPE.c.vault,
            ENVELOPE.c.state,
            func.count(),
            func.coalesce(func.sum(ENVELOPE.c.size), 0),
        )
        .where(ENVELOPE.c.tenant_id == tenant_id)
        .group_by(ENVELOPE.c.vault, ENVELOPE.c.state)
        .order_by(ENVELOPE.c.vault, ENVELOPE.c.state)
    )
    return [(row[0], row[1], int(row[2]), int(row[3])) for row in tx.execute(chosen)]


def _rows(tx: Connection, chosen: Any) -> list[EnvelopeRow]:  # noqa: ANN401 (a select)
    return [EnvelopeRow(**row) for row in tx.execute(chosen).mappings()]
