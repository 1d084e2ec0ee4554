"""What the broker refuses of federated training, besides what `federation.errors` names."""

from broker.domain.errors import BrokerError


class TooFewMembers(BrokerError):
    """A round with fewer members, or receipts, than its campaign takes."""

    code = "too_few_members"


class MemberNotAdmitted(BrokerError):
    """A member that takes no part in the round: not admitted, revoked meanwhile, or not asked."""

    code = "member_not_admitted"


class PrivacyBudgetSpent(BrokerError):
    """A further round would spend more privacy than the campaign's board allows."""

    code = "privacy_budget_spent"


class TrainingReceiptRefused(BrokerError):
    """A receipt that is genuine and says what this round does not allow."""

    code = "training_receipt_refused"


class ReceiptConflict(BrokerError):
    """A second receipt of a member for a round, which says something else than the first."""

    code = "receipt_conflict"


class TrainingEvidenceTooLarge(BrokerError):
    """Evidence about so many receipts that nobody could verify the file."""

    code = "training_evidence_too_large"


class SearchNotOver(BrokerError):
    """Withdrawn rows are still looked for in models, and nothing is done with these before."""

    code = "search_not_over"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "withdrawn rows are still looked for in the receipts of earlier rounds. How far this "
            "came is kept: repeat it in a moment, and it goes on from there, as the broker does by "
            "itself every half minute. consent-broker federation task search looks to the end"
        )
