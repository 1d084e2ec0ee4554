"""The consortium's board: k of its n keys sign a campaign, or approve a model.

Each signature is a compact JWS (RFC 7515) by one member of the board, with the thumbprint of its
key as `kid`. What is signed is named by hash:

    campaign-signature+jwt   {"campaign": its hash}
    model-approval+jwt       {"campaign": its hash, "stage": of the rollout, "model": model hash}

Verification, each step named in the error where too few are left:

1. The board itself can decide (`Board`).
2. Every signature is a JWS of the type, with a `kid` that is a key of the board.
3. Each key counts once.
4. It verifies under that key, and says exactly what is asked about.
5. At least `threshold` are left. Others are named and not counted: a stranger's line beside good
   signatures must not stop a campaign.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from credentials.errors import CredentialError
from credentials.json_reader import read_json_object
from credentials.jws import PublicKey, Signer, parse_jws, sign_jws
from credentials.keys import thumbprint
from federation import reading
from federation.campaign import LARGEST_CAMPAIGN, Campaign
from federation.errors import BoardDisagrees, BoardInvalid, CampaignInvalid, Malformed, StageShut

CAMPAIGN_TYPE: Final = "campaign-signature+jwt"
APPROVAL_TYPE: Final = "model-approval+jwt"
MOST_KEYS: Final = 100
MOST_FAULTS: Final = 100
LARGEST_SIGNATURE: Final = 16_384
_SIGNED: Final = frozenset({"campaign", "signatures"})


@dataclass(frozen=True)
class Board:
    """Keys by thumbprint, and how many of them decide."""

    keys: Mapping[str, PublicKey]
    threshold: int

    @classmethod
    def of(cls, jwks: Sequence[Mapping[str, Any]], threshold: int) -> Self:
        """A board of public JWKs. Raises `BoardInvalid`."""
        try:
            keys = {thumbprint(jwk): PublicKey(jwk) for jwk in jwks}
        except CredentialError as error:
            raise BoardInvalid(f"a key of the board: {error}") from None
        if len(keys) != len(jwks):
            raise BoardInvalid("a key of the board is there twice: it would count twice")
        if not 0 < threshold <= len(keys) <= MOST_KEYS:
            raise BoardInvalid(f"of 1 to {MOST_KEYS} keys, at least one and at most all decide")
        return cls(keys, threshold)


@dataclass(frozen=True)
class SignedCampaign:
    """A campaign whose signatures by the board were verified; `signers` are key thumbprints."""

    campaign: Campaign
    campaign_hash: str
    signers: frozenset[str]


def sign_campaign(signer: Signer, campaign: Campaign) -> str:
    """One board member's signature over a campaign."""
    return _sign(signer, CAMPAIGN_TYPE, {"campaign": campaign.hash()})


def approve_model(signer: Signer, campaign: Campaign, stage: str, model: str) -> str:
    """One board member's approval of a model (its hash, base64url) at the end of a stage."""
    return _sign(signer, APPROVAL_TYPE, _approval(campaign, stage, model))


def signed_campaign(campaign: Campaign, signatures: Iterable[str]) -> dict[str, Any]:
    """The campaign and its signatures as the JSON object that `read_signed_campaign` reads."""
    return {"campaign": campaign.to_json(), "signatures": list(signatures)}


def read_signed_campaign(data: bytes, board: Board) -> SignedCampaign:
    """Read a campaign with its signatures, and verify them.

    Raises `Malformed`, `TooLarge`, `CampaignInvalid`, `BoardDisagrees`.
    """
    source = reading.json_object(data, largest=LARGEST_CAMPAIGN)
    reading.members(source, "a signed campaign", _SIGNED)
    # Their number is bounded by the document's size: lines of others must not crowd out good ones.
    signatures = reading.items(source, "signatures", LARGEST_CAMPAIGN)
    if not all(isinstance(one, str) for one in signatures):
        raise Malformed("signatures are compact JWS, as text")
    campaign = Campaign.from_json(source["campaign"])
    return verify_campaign(campaign, signatures, board)


def verify_campaign(campaign: Campaign, signatures: Sequence[str], board: Board) -> SignedCampaign:
    """Verify that the board signed a campaign, by the procedure above. Raises `BoardDisagrees`."""
    campaign_hash = campaign.hash()
    signers = _signers(signatures, CAMPAIGN_TYPE, {"campaign": campaign_hash}, board)
    if len(signers.counted) < board.threshold:
        raise BoardDisagrees(len(signers.counted), board.threshold, signers.faults)
    return SignedCampaign(campaign, campaign_hash, frozenset(signers.counted))


def approvals(
    signed: SignedCampaign, stage: str, model: str, given: Sequence[str], board: Board
) -> Mapping[str, str]:
    """Who of the board approved this model for this stage: key thumbprints, each with its approval.

    How many are enough the stage says (`Stage.shut_gates`); approvals that do not hold are left
    out.
    """
    stated = _approval(signed.campaign, stage, model)
    return _signers(given, APPROVAL_TYPE, stated, board).counted


@dataclass(frozen=True)
class PassedStage:
    """A stage whose gates hold for a model. Made by `pass_stage` alone."""

    campaign_hash: str
    stage: str
    model: str


def pass_stage(
    signed: SignedCampaign,
    stage: str,
    model: str,
    *,
    metrics: Mapping[str, str],
    given: Sequence[str],
    board: Board,
) -> PassedStage:
    """Check that a stage is over: what the next one takes to begin (`gate.open_round`).

    `given` are approvals, verified here; `metrics` are the word of whoever measured, and a board
    that wants them checked asks for approvals besides. Raises `CampaignInvalid`, `StageShut`.
    """
    found = {one.stage: one for one in signed.campaign.rollout}.get(stage)
    if found is None:
        raise CampaignInvalid("the campaign has no such stage")
    shut = found.shut_gates(metrics, approvals(signed, stage, model, given, board))
    if shut:
        raise StageShut(stage, shut)
    return PassedStage(signed.campaign_hash, stage, model)


@dataclass(frozen=True)
class _Signers:
    counted: Mapping[str, str]
    faults: tuple[str, ...]


def _signers(
    signatures: Sequence[str], typ: str, stated: Mapping[str, str], board: Board
) -> _Signers:
    counted: dict[str, str] = {}
    faults: list[str] = []
    for number, signature in enumerate(signatures, start=1):
        signer = _signer(signature, typ, stated, board)
        if signer.fault or signer.key in counted:
            faults.append(f"signature {number}: {signer.fault or 'of a key that signed already'}")
        else:
            counted[signer.key] = signature
        if len(counted) == len(board.keys):
            break
    return _Signers(counted, tuple(faults[:MOST_FAULTS]))


@dataclass(frozen=True)
class _Signer:
    key: str
    fault: str = ""


def _signer(signature: str, typ: str, stated: Mapping[str, str], board: Board) -> _Signer:
    try:
        jws = parse_jws(signature, typ=typ, max_characters=LARGEST_SIGNATURE)
        key_id = jws.header.get("kid")
        key = board.keys.get(key_id) if isinstance(key_id, str) else None
        if key is None or not isinstance(key_id, str):
            return _Signer("", "no key of the board")
        jws.verify(key)
        if read_json_object(jws.payload) != dict(stated):
            return _Signer("", "signs something else")
    except CredentialError as error:
        return _Signer("", error.code)
    return _Signer(key_id)


def _approval(campaign: Campaign, stage: str, model: str) -> dict[str, str]:
    return {"campaign": campaign.hash(), "stage": stage, "model": model}


def _sign(signer: Signer, typ: str, stated: dict[str, str]) -> str:
    return sign_jws(signer, {"typ": typ, "kid": thumbprint(signer.public_jwk())}, stated)
