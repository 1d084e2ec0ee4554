"""What a use case needs of its surroundings, composed once in `app.py`."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from broker.settings import Settings
from broker.store.db import Database
from broker.usecases.covering_template import CoveringTemplates
from broker.usecases.keys import KeyRing
from broker.usecases.loaded_policies import LoadedPolicies
from broker.usecases.proof_batches import ProofBatches
from broker.usecases.published import PublishedLists, PublishedShards
from broker.usecases.sequencer import Sequencer
from credentials.sealing import MasterKey


@dataclass(frozen=True)
class Context:
    """Settings, database, keys, log and clock; `now()` is Unix seconds (UTC).

    `stopping` is set once this process was told to stop.
    """

    settings: Settings
    db: Database
    master: MasterKey
    keys: KeyRing
    log: Sequencer
    now: Callable[[], int]
    published: PublishedLists = field(default_factory=PublishedLists)
    shards: PublishedShards = field(default_factory=PublishedShards)
    proofs: ProofBatches = field(default_factory=ProofBatches)
    policies: LoadedPolicies = field(default_factory=LoadedPolicies)
    templates: CoveringTemplates = field(default_factory=CoveringTemplates)
    stopping: threading.Event = field(default_factory=threading.Event)


def at_one_moment(ctx: Context) -> Context:
    """The same context with its clock stopped, so that all parts of an act agree on its time."""
    now = ctx.now()
    return replace(ctx, now=lambda: now)
