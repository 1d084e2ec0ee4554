"""Give the log of a restored database another origin: an operator's act, in one transaction.

The database refuses it to everybody else (`append_only`), so its guards are taken away for the
moment and put back before the transaction commits. It needs the right to change the tables, which
the role that serves may lack.
"""

from sqlalchemy import Connection, delete, update

from broker.store import append_only, checkpoint_times, log_tree, status_lists


def reopen(tx: Connection, origin: str) -> None:
    """Go on with the tree as it is, under `origin`; checkpoints of the old origin are dropped.

    What the old origin has signed, its readers have. Status lists take no more credentials: those
    that were given places after the backup are not known here, and no other may get their places.
    """
    for statement in append_only.drop(tx.dialect.name):
        tx.exec_driver_sql(statement)
    tx.execute(update(log_tree.HEAD).values(origin=origin))
    tx.execute(delete(log_tree.CHECKPOINT))
    tx.execute(delete(checkpoint_times.TIME))
    tx.execute(update(status_lists.LIST).values(allocated=status_lists.LIST.c.size))
    for statement in append_only.create(tx.dialect.name):
        tx.exec_driver_sql(statement)
