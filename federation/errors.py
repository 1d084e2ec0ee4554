"""The one error family of this package.

Whatever bytes they are given, the parsers and checks of `federation` raise a leaf of
`FederationError` and nothing else. `code` is stable across releases. Messages say cause and cure
and never hold a customer's identifier. A row that may not train and a budget that is spent are no
errors: they are values that carry their reasons.
"""

from typing import ClassVar


class FederationError(Exception):
    """Root of the family. Catch this to catch everything this package refuses."""

    code: ClassVar[str] = "federation_error"


class Malformed(FederationError):
    """The input is not the format it is said to be."""

    code: ClassVar[str] = "malformed"


class TooLarge(FederationError):
    """The input exceeds a cap on size or count and was not parsed."""

    code: ClassVar[str] = "too_large"


class CampaignInvalid(FederationError):
    """A campaign that says something impossible, or leaves out what it must say."""

    code: ClassVar[str] = "campaign_invalid"


class CombinationImpossible(CampaignInvalid):
    """Two parts of a campaign, each possible alone, that cannot be had together."""

    code: ClassVar[str] = "combination_impossible"


class BoardInvalid(FederationError):
    """A board that cannot decide: no keys, a key twice, a threshold that it cannot reach."""

    code: ClassVar[str] = "board_invalid"


class BoardDisagrees(FederationError):
    """Fewer members of the board signed than must. `faults` names each signature left uncounted."""

    code: ClassVar[str] = "board_disagrees"

    def __init__(self, counted: int, needed: int, faults: tuple[str, ...]) -> None:
        """Build the message from how many signed and what is wrong with the other signatures."""
        self.counted = counted
        self.needed = needed
        self.faults = faults
        told = f"; not counted: {'; '.join(faults)}" if faults else ""
        super().__init__(f"{counted} of {needed} signatures of the board hold{told}")


class ParametersDiffer(FederationError):
    """The parameters of a run are not those that the board signed."""

    code: ClassVar[str] = "parameters_differ"


class BundleDiffers(FederationError):
    """The code of a run is not the bundle that the board signed."""

    code: ClassVar[str] = "bundle_differs"


class ListsUnavailable(FederationError):
    """A status list that a round needs is missing, forged, or older than the round."""

    code: ClassVar[str] = "lists_unavailable"


class ReceiptForged(FederationError):
    """The receipt is not signed by the member's registered key."""

    code: ClassVar[str] = "receipt_forged"


class ReceiptMismatch(FederationError):
    """A receipt of another campaign, round, member or model than the one asked about."""

    code: ClassVar[str] = "receipt_mismatch"


class SaltDiffers(FederationError):
    """A salt whose hash is not the one that the board signed in the campaign."""

    code: ClassVar[str] = "salt_differs"


class StageShut(FederationError):
    """A stage whose gates are not shown to hold: the next one does not begin. `shut` names them."""

    code: ClassVar[str] = "stage_shut"

    def __init__(self, stage: str, shut: tuple[str, ...]) -> None:
        """Build the message from the stage and what does not hold in it."""
        self.stage = stage
        self.shut = shut
        super().__init__(f"stage {stage} does not lead on: {', '.join(shut)}")


class LeavesDiffer(FederationError):
    """Leaves that do not ascend, lack a sentinel, or do not lead to the receipt's root."""

    code: ClassVar[str] = "leaves_differ"


class ProofFails(FederationError):
    """A proof of inclusion or absence that does not show what it says."""

    code: ClassVar[str] = "proof_fails"


class PrivacyInvalid(FederationError):
    """Noise, rate, steps or a budget that no accounting takes."""

    code: ClassVar[str] = "privacy_invalid"


class MaskingFailed(FederationError):
    """Secure aggregation cannot go on: too few members, or something that is not by its rules."""

    code: ClassVar[str] = "masking_failed"


class LineageInvalid(FederationError):
    """A model version without its parent, twice, or in a circle; a state it cannot come to."""

    code: ClassVar[str] = "lineage_invalid"
