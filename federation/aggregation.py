"""How the members' updates become one model, and which combinations cannot be had.

    fedavg        mean, weighted by the bucket of rows (with `privacy` by nothing of the rows)
    fedprox       fedavg; each member's loss has (mu / 2) * |w - w_global|^2 besides
    trimmed_mean  per coordinate, without the lowest and highest `trim` share
    krum          the update nearest to its n - f - 2 nearest others, `byzantine` = f of n hostile

With `server_clip`, an update of fedavg or fedprox that is longer than it (Euclidean norm, over all
tensors together) is first shortened to it: no member moves the mean by more than its share of that.

`secure` is secure aggregation (`federation.flower.masking`): the server learns the sum of the
updates and none of them. What has to look at one update, at the server, therefore cannot be had
with it: the choosing of Krum, the sorting of trimmed mean, the clipping of one member's update.
(Members may clip their own, which is what `privacy` does to rows.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Self

from federation import reading
from federation.errors import CampaignInvalid, CombinationImpossible

METHODS: Final = ("fedavg", "fedprox", "krum", "trimmed_mean")
LEAST_SECURE_MEMBERS: Final = 3
"""With two members, the sum and one's own update give the other's."""

_NEEDS: Final = {"fedprox": "mu", "trimmed_mean": "trim", "krum": "byzantine"}
_MEMBERS: Final = frozenset({"method", "secure", "server_clip", "mu", "trim", "byzantine"})


@dataclass(frozen=True)
class Aggregation:
    """A method and its settings; a setting of another method is None.

    `mu`, `trim` and `server_clip` (the largest norm of a member's update) are decimals in text.
    """

    method: str
    secure: bool = False
    server_clip: str | None = None
    mu: str | None = None
    trim: str | None = None
    byzantine: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The aggregation as a JSON object, every member present."""
        return {
            "method": self.method,
            "secure": self.secure,
            "server_clip": self.server_clip,
            "mu": self.mu,
            "trim": self.trim,
            "byzantine": self.byzantine,
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read one strictly. Raises `Malformed`, `CampaignInvalid`, `CombinationImpossible`."""
        source = reading.members(value, "aggregation", _MEMBERS)
        read = cls(
            reading.choice(source, "method", METHODS),
            reading.flag(source, "secure"),
            reading.optional_decimal(source, "server_clip"),
            reading.optional_decimal(source, "mu"),
            reading.optional_decimal(source, "trim"),
            _byzantine(source),
        )
        read._check_settings()
        return read

    def _check_settings(self) -> None:
        needed = _NEEDS.get(self.method)
        for setting in _NEEDS.values():
            given = getattr(self, setting) is not None
            if given != (setting == needed):
                told = "needs" if setting == needed else "has no"
                raise CampaignInvalid(f"aggregation by {self.method} {told} {setting}")
        if self.secure and self.method in {"krum", "trimmed_mean"}:
            raise CombinationImpossible(
                f"secure aggregation shows the server a sum; {self.method} needs each update: "
                "choose fedavg or fedprox, or give up secure"
            )
        if self.method in {"krum", "trimmed_mean"} and self.server_clip is not None:
            raise CombinationImpossible(
                f"{self.method} deals with outliers itself: leave server_clip null, or choose "
                "fedavg or fedprox"
            )
        if self.secure and self.server_clip is not None:
            raise CombinationImpossible(
                "the server cannot clip an update that secure aggregation hides from it: leave "
                "server_clip null; rows are clipped at the members under privacy"
            )
        for number in (self.mu, self.server_clip):
            if number is not None and Fraction(number) == 0:
                raise CampaignInvalid("mu and server_clip are above 0")

    def check_members(self, least: int) -> None:
        """Check that the method works with as few as `least` members in a round.

        Raises `CombinationImpossible` that says how many it takes.
        """
        if self.secure and least < LEAST_SECURE_MEMBERS:
            raise CombinationImpossible(
                f"secure aggregation takes {LEAST_SECURE_MEMBERS} members or more: of two, each "
                "could subtract its own update"
            )
        if self.byzantine is not None and least < 2 * self.byzantine + 3:
            # Blanchard et al., "Machine learning with adversaries", 2017, proposition 1.
            raise CombinationImpossible(
                f"krum against {self.byzantine} hostile members takes 2 * {self.byzantine} + 3 "
                "members or more in a round"
            )
        if self.trim is not None:
            cut = int(Fraction(self.trim) * least)
            if not 0 < 2 * cut < least:
                raise CombinationImpossible(
                    f"trim {self.trim} of {least} members cuts {cut} at each end: it must cut at "
                    "least one and leave one"
                )


def _byzantine(source: Mapping[str, Any]) -> int | None:
    if source.get("byzantine") is None:
        return None
    return reading.whole(source, "byzantine", 1, 1_000)
