"""The policies that are in force, ready to judge by, in this process's memory.

A set is named by the hash of its text, so what is kept here never goes out of date: which one is in
force is read with every decision.
"""

import threading
from collections import OrderedDict

from broker.domain.errors import InvalidPolicies
from broker.domain.policy import ConsentPolicies, UnusablePolicies, consent_policies, policies_with
from broker.domain.policy_set import BUILT_IN, digest_of

Policies = ConsentPolicies | UnusablePolicies


class LoadedPolicies:
    """Sets by their digest, those used last. Safe from several threads."""

    MOST = 256

    def __init__(self) -> None:
        self._sets: OrderedDict[str, Policies] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str) -> Policies | None:
        """The set, if it was loaded before; the broker's own is always there."""
        if digest == BUILT_IN:
            return consent_policies()
        with self._lock:
            found = self._sets.get(digest)
            if found is not None:
                self._sets.move_to_end(digest)
            return found

    def load(self, digest: str, text: str | None) -> Policies:
        """Load a set from its row's text (None: there is none) and keep it.

        One that does not load denies everything: leaving it out would open what it closes.
        """
        policies = _loaded(digest, text)
        if text is None or digest_of(text) != digest:
            return policies  # not kept: a row that is put right counts at once
        with self._lock:
            self._sets[digest] = policies
            while len(self._sets) > self.MOST:
                self._sets.popitem(last=False)
        return policies


def _loaded(digest: str, text: str | None) -> Policies:
    if text is None:
        return UnusablePolicies(digest, "the set is not in the database")
    if digest_of(text) != digest:
        return UnusablePolicies(digest, "the set's text is not the one that was added")
    try:
        return policies_with(text)
    except InvalidPolicies as error:
        return UnusablePolicies(digest, str(error))
