"""What requests to a wallet have in common, whatever is asked: proof requests, data requests.

Each of their tables has `id`, `tenant_id`, `state`, `document` (the JSON of the wallet's request)
and `rejections`.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, Table, or_, select, update


def refuse(tx: Connection, table: Table, request_id: str) -> bool:
    """Note that the holder refused an open request; False when it is not open any more."""
    changed = tx.execute(
        update(table)
        .where(table.c.id == request_id, table.c.state == "open")
        .values(state="refused")
    )
    return changed.rowcount == 1


def count_rejection(tx: Connection, table: Table, request_id: str) -> int:
    """Count an answer that did not count; how many there were, this one included.

    0 where the request was erased meanwhile.
    """
    tx.execute(
        update(table).where(table.c.id == request_id).values(rejections=table.c.rejections + 1)
    )
    found = select(table.c.rejections).where(table.c.id == request_id)
    return int(tx.execute(found).scalar_one_or_none() or 0)


def close_of_clients(
    tx: Connection, table: Table, tenant_id: str, client_ids: Sequence[str]
) -> int:
    """Close a tenant's open requests of these client ids; how many there were."""
    named = or_(
        *(
            table.c.document.contains(f'"client_id":"{client_id}"', autoescape=True)
            for client_id in client_ids
        )
    )
    query = update(table).where(table.c.tenant_id == tenant_id, table.c.state == "open", named)
    return tx.execute(query.values(state="closed")).rowcount
