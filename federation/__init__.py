"""Training one model together, on consented rows only.

Values and pure functions: no clock (`now` is an argument, Unix seconds), no network, no storage,
and no Flower: `federation.flower` alone starts that, in an environment and processes of its own.
`docs/federation.md` shows a member's round from the signed campaign to the receipt.

    campaign, aggregation, rollout   what is trained, by whom, how far it may go
    board                            k of n keys sign a campaign, or approve a model
    consents, opening, gate, guard   which rows of a member may train in a round
    presence, receipt                what a member says it trained on, and proofs about it
    privacy                          what row-level DP-SGD spends, and the budget
    unlearning                       which models a withdrawal taints, and what is to be done
"""

from federation.errors import FederationError

__all__ = ["FederationError"]
