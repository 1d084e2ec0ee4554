"""The two ways to ask others for the time of a checkpoint, over the test network."""

from sqlalchemy import func, select

from broker.outbound.timestamping import TimestampAuthority
from broker.outbound.witness import Witness
from broker.store import checkpoint_times
from broker.store.db import Database
from broker.usecases.independent_time import (
    Cosignatures,
    Timestamps,
)
from tests.faults.hostile import HOST, Network, Server
from tests.faults.strict_witness import StrictWitness
from tests.faults.timestamping import Authority


def timestamps(server: Server, authority: Authority) -> Timestamps:
    client = Network().client(seconds=5)
    address = f"http://{HOST}:{server.port}/tsa"
    return Timestamps(TimestampAuthority(client, address, [authority.root]))


def cosignatures(server: Server, witness: StrictWitness) -> Cosignatures:
    client = Network().client(seconds=5)
    return Cosignatures(Witness(client, f"http://{HOST}:{server.port}/w/", witness.key))


def words(db: Database) -> int:
    with db.reading() as tx:
        found = select(func.count()).select_from(checkpoint_times.TIME)
        return int(tx.execute(found).scalar_one())
