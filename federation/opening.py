"""A round as it opens, and the status lists pinned for it: steps 1 and 2 of `federation.gate`."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from credentials.errors import CredentialError
from credentials.status import SKEW_SECONDS, StatusList, verify_status_token
from federation import reading
from federation.board import PassedStage, SignedCampaign
from federation.campaign import Campaign
from federation.consents import ConsentIssuer
from federation.errors import CampaignInvalid, ListsUnavailable, StageShut
from federation.receipt import UsedList

MOST_LISTS: Final = 256
LONGEST_OPENING: Final = 600
"""Seconds after which an announced round is over for whoever has not opened it."""


@dataclass(frozen=True)
class Round:
    """A round of a campaign for one member. Made by `open_round` alone.

    `opened_at` is Unix seconds, as the coordinator announced it.
    """

    campaign: Campaign
    campaign_hash: str
    stage: str
    number: int
    member: str
    opened_at: int

    @property
    def business_line(self) -> str | None:
        """The business line that its stage is of, None for all."""
        found = {one.stage: one.business_line for one in self.campaign.rollout}
        return found.get(self.stage)


@dataclass(frozen=True)
class PinnedLists:
    """The status lists of a round by address. Made by `pin_lists` alone."""

    lists: Mapping[str, StatusList]
    used: tuple[UsedList, ...]
    opened: Round


def open_round(
    signed: SignedCampaign,
    *,
    stage: str,
    number: int,
    member: str,
    taking_part: Sequence[str],
    bundle: bytes,
    parameters: object,
    opened_at: int,
    now: int,
    passed: PassedStage | None = None,
) -> Round:
    """Check what a coordinator announces against the signed campaign: step 1 of the gate.

    `passed` is the stage before, where the campaign has one (`board.pass_stage`); that the first
    round begins with the model that passed, the caller sees to. Times are Unix seconds. Raises
    `CampaignInvalid`, `StageShut`, `BundleDiffers`, `ParametersDiffer`.
    """
    campaign = signed.campaign
    if not campaign.valid_from <= now < campaign.valid_until:
        raise CampaignInvalid("the campaign has not begun or is over: see valid_from, valid_until")
    if not now - LONGEST_OPENING <= opened_at <= now + SKEW_SECONDS:
        raise CampaignInvalid(
            f"a round opened within the last {LONGEST_OPENING} s: announce it anew, or set the "
            "clocks right"
        )
    stages = {one.stage: one for one in campaign.rollout}
    if stage not in stages:
        raise CampaignInvalid("the campaign has no such stage")
    earlier = list(stages)[: list(stages).index(stage)]
    if earlier and (
        passed is None
        or (passed.campaign_hash, passed.stage) != (signed.campaign_hash, earlier[-1])
    ):
        raise StageShut(earlier[-1], ("not shown to be passed",))
    members = set(stages[stage].members)
    if member not in members:
        raise CampaignInvalid(f"this member takes no part in stage {stage}")
    if not set(taking_part) <= members:
        raise CampaignInvalid(f"a stranger to stage {stage} takes part in the round")
    if member not in taking_part or len(set(taking_part)) < campaign.minimum_members:
        raise CampaignInvalid(f"a round takes {campaign.minimum_members} members, this one too")
    # Nobody but the coordinator says that a round failed: so many numbers, whatever it says.
    if not 1 <= number <= campaign.highest_number:
        raise CampaignInvalid(f"the campaign has rounds 1 to {campaign.highest_number}")
    campaign.check_bundle(bundle)
    campaign.check_parameters(parameters)
    return Round(campaign, signed.campaign_hash, stage, number, member, opened_at)


def pin_lists(
    tokens: Mapping[str, str],
    *,
    needed: Sequence[str],
    issuer: ConsentIssuer,
    opened: Round,
    now: int,
) -> PinnedLists:
    """Check the status lists of a round: step 2 of the gate.

    `tokens` are the status list tokens by address, as downloaded; `needed` the addresses that the
    rows' consents name (`ConsentCache.needed`); `issuer` whose consents these are, which alone
    says what became of them (or whoever is certified for the address of a list); times are Unix
    seconds. Raises `ListsUnavailable`.
    """
    if len(needed) > MOST_LISTS:
        raise ListsUnavailable(f"a round pins at most {MOST_LISTS} status lists")
    lists: dict[str, StatusList] = {}
    used: list[UsedList] = []
    for uri in sorted(set(needed)):
        token = tokens.get(uri)
        if token is None:
            raise ListsUnavailable(f"the status list {uri} was not downloaded for this round")
        try:
            pinned = verify_status_token(
                token, uri=uri, anchors=issuer.anchors, issuer=issuer.issuer, now=now
            )
        except CredentialError as error:
            raise ListsUnavailable(f"the status list {uri}: {error}") from None
        if issuer.refuses(pinned.signer):
            raise ListsUnavailable(f"the status list {uri} is signed by a key that was stolen")
        if pinned.issued_at is None or pinned.issued_at < opened.opened_at:
            raise ListsUnavailable(
                f"the status list {uri} was issued before the round opened: download it anew"
            )
        lists[uri] = pinned
        digest = reading.encoded(hashlib.sha256(token.encode("ascii")).digest())
        used.append(UsedList(uri, digest, pinned.issued_at))
    return PinnedLists(lists, tuple(used), opened)
