"""A database of one partner's many consents: copies of real ones, of contacts of their own."""

from sqlalchemy import Connection, text

from broker.store.consents import CONSENT
from broker.store.contacts import CONTACT
from broker.usecases.context import Context

BATCH = 20_000
_NUMBERS = (
    "WITH RECURSIVE numbers(n) AS "
    "(SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :past) "
)


def grow(ctx: Context, partner_id: str, consents: int) -> int:
    """Copy one customer's contact and consents until the partner has so many; how many there are.

    SQLite only. The copies are granted, with terms of their own length; each contact is another.
    """
    with ctx.db.reading() as tx:
        contact_id = (
            tx.execute(CONSENT.select().where(CONSENT.c.partner_id == partner_id).limit(1))
            .one()
            .contact_id
        )
        each = len(tx.execute(CONSENT.select().where(CONSENT.c.contact_id == contact_id)).all())
    contacts = -(-consents // each)
    for first in range(0, contacts, BATCH):
        values = {"first": first, "past": min(first + BATCH, contacts), "contact": contact_id}
        with ctx.db.transaction() as tx:
            _copy(
                tx,
                CONTACT.name,
                CONTACT.c.keys(),
                {
                    "id": "'ct-' || n",
                    "subject_ref_hash": "'grown-' || n",
                },
                "id",
                values,
            )
            _copy(
                tx,
                CONSENT.name,
                CONSENT.c.keys(),
                {
                    "id": "kept.id || '-' || n",
                    "contact_id": "'ct-' || n",
                },
                "contact_id",
                values,
            )
    return contacts * each


def _copy(
    tx: Connection,
    table: str,
    columns: list[str],
    changed: dict[str, str],
    where: str,
    values: dict[str, object],
) -> None:
    listed = ", ".join(columns)
    taken = ", ".join(changed.get(name, f"kept.{name}") for name in columns)
    tx.execute(
        text(
            f"{_NUMBERS} INSERT INTO {table} ({listed}) SELECT {taken} FROM numbers "
            f"JOIN {table} AS kept ON kept.{where} = :contact"
        ),
        values,
    )
