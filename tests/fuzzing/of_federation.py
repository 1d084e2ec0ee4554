"""The parsers of `federation`: campaigns, the board's signatures, receipts, leaves, proofs."""

from collections.abc import Callable
from contextlib import suppress

from credentials.jws import parse_jws
from credentials.keys import sign_jws, thumbprint
from federation.aggregation import Aggregation
from federation.board import (
    CAMPAIGN_TYPE,
    PassedStage,
    approvals,
    approve_model,
    read_signed_campaign,
    sign_campaign,
    signed_campaign,
    verify_campaign,
)
from federation.campaign import Campaign
from federation.consents import ConsentCache, ConsentIssuer
from federation.errors import FederationError
from federation.guard import Before
from federation.opening import Round, open_round, pin_lists
from federation.presence import Place, PresenceProof, PresenceTree, leaf_of, leaves_of, read_leaves
from federation.privacy import RowPrivacy, Spent, Step
from federation.receipt import (
    RECEIPT_TYPE,
    Asked,
    Receipt,
    UsedList,
    check_leaves,
    check_presence,
    read_receipt,
    sign_receipt,
)
from federation.remembered import AFTER_MAC, SECRET_BYTES, recall, remember, under_mac
from federation.rollout import MetricGate, Stage, read_rollout
from federation.secure_keys import KEYS_TYPE, Of, PublicKeys
from federation.weights import flat, read_weights
from tests.federation.world import (
    BOARD,
    BOARD_KEYS,
    BUNDLE,
    CAMPAIGN,
    ISSUER,
    KEY,
    LISTED,
    MEMBER_KEY,
    MEMBERS,
    NOW,
    OF_CAMPAIGN,
    OPENED,
    PARAMETERS,
    VCT,
    Broker,
    signed,
)
from tests.fuzzing.parser import Parser, dumped, text, value

FAMILY = (FederationError,)
BROKER = Broker()
SIGNED = signed()
PASSED = PassedStage(SIGNED.campaign_hash, "pilot", "m")
OPEN = Round(SIGNED.campaign, SIGNED.campaign_hash, "consortium", 1, "p-north", OPENED)
KEPT = Before(
    SIGNED.campaign_hash,
    "p-north",
    "pilot",
    2,
    OPENED,
    frozenset({"customer-1"}),
    frozenset({"customer-2"}),
    Spent().after(Step(0.01, 1.1), 100),
)
OF_ROUND = Of(SIGNED.campaign_hash, "pilot", 1)
PUBLIC = PublicKeys(b"s" * 32, b"m" * 32)
KEY_CLAIMS = parse_jws(PUBLIC.signed(OF_ROUND, "p-north", MEMBER_KEY), typ=KEYS_TYPE).payload
TRUSTED = ConsentIssuer((BROKER.root,), ISSUER, VCT)
TREE = PresenceTree(leaves_of(KEY, ["c-1", "c-2"]))
RECEIPT = Receipt(
    "p-north",
    NOW,
    SIGNED.campaign_hash,
    "consortium",
    3,
    SIGNED.campaign_hash,
    SIGNED.campaign_hash,
    (UsedList(LISTED, SIGNED.campaign_hash, OPENED),),
    64,
    TREE.root(),
)
ASKED = Asked(SIGNED.campaign_hash, "consortium", 3, "p-north")
PROOFS = tuple(dumped(TREE.prove(leaf_of(KEY, name)).to_json()) for name in ("c-1", "c-9"))
SIGNATURE = sign_campaign(BOARD_KEYS[0], SIGNED.campaign)
APPROVAL = approve_model(BOARD_KEYS[0], SIGNED.campaign, "pilot", "m")


def _signatures(data: bytes) -> object:
    """A stranger's signature beside good ones stops nothing; alone it is refused."""
    given = text(data)
    approvals(SIGNED, "pilot", "m", [given], BOARD)
    return verify_campaign(SIGNED.campaign, [given], BOARD)


def _payload(data: bytes) -> object:
    """What is signed by a key of the board, whatever it is."""
    header = {"typ": CAMPAIGN_TYPE, "kid": next(iter(BOARD.keys))}
    return verify_campaign(SIGNED.campaign, [sign_jws(BOARD_KEYS[0], header, data)], BOARD)


def _claims(data: bytes) -> object:
    """Claims behind the signature of the member's own key."""
    token = sign_jws(
        MEMBER_KEY, {"typ": RECEIPT_TYPE, "kid": thumbprint(MEMBER_KEY.public_jwk())}, data
    )
    return read_receipt(token, MEMBER_KEY.public_jwk(), ASKED)


def _leaves(data: bytes) -> object:
    check_leaves(RECEIPT, data)
    return read_leaves(data)


def _round(data: bytes) -> object:
    """What a coordinator announces."""
    told = value(data)
    return open_round(
        SIGNED,
        stage=text(data),
        number=1,
        member="p-north",
        taking_part=("p-north", "p-south", text(data)),
        bundle=BUNDLE,
        parameters=told,
        opened_at=OPENED,
        now=NOW,
        passed=PASSED,
    )


def _list(data: bytes) -> object:
    return pin_lists({LISTED: text(data)}, needed=(LISTED,), issuer=TRUSTED, opened=OPEN, now=NOW)


def _round_keys(data: bytes) -> object:
    """A token, and the same bytes as claims behind the member's signature."""
    jwk = MEMBER_KEY.public_jwk()
    token = sign_jws(MEMBER_KEY, {"typ": KEYS_TYPE, "kid": thumbprint(jwk)}, data)
    with suppress(FederationError):
        PublicKeys.read(token, OF_ROUND, "p-north", jwk)
    return PublicKeys.read(text(data), OF_ROUND, "p-north", jwk)


def _credential(data: bytes) -> object:
    """A credential that is none is counted and not raised."""
    return ConsentCache(TRUSTED).learn([text(data)], NOW)


SECRET = bytes(SECRET_BYTES)
KNOWN = ConsentCache(TRUSTED)
KNOWN.learn([BROKER.consent(number) for number in (1, 2)], NOW)
WRITTEN = remember(KNOWN, SECRET, NOW)


def _verified_before(data: bytes) -> object:
    """A file, and the same bytes behind the MAC of the member's own secret."""
    with suppress(FederationError):
        recall(data, SECRET, TRUSTED, NOW)
    return recall(under_mac(data, SECRET, TRUSTED), SECRET, TRUSTED, NOW)


PARTS: tuple[Callable[[object], object], ...] = (
    Aggregation.from_json,
    RowPrivacy.from_json,
    MetricGate.from_json,
    lambda told: Stage.from_json(told, 3),
    lambda told: read_rollout(told, MEMBERS),
)


def _part(data: bytes) -> object:
    """A part by itself: the first byte says which."""
    return PARTS[data[0] % len(PARTS) if data else 0](value(data[1:]))


def _weights_file(header: bytes, numbers: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + numbers


PARSERS = (
    Parser(
        "weights",
        ("federation.weights.read_weights",),
        lambda data: flat(read_weights(data)),
        (
            _weights_file(
                dumped({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}), bytes(8)
            ),
        ),
        FAMILY,
    ),
    Parser(
        "campaign",
        ("federation.campaign.Campaign.parse", "federation.campaign.Campaign.from_json"),
        lambda data: Campaign.parse(data).hash(),
        (dumped(CAMPAIGN),),
        FAMILY,
    ),
    Parser(
        "campaign as signed",
        ("federation.board.read_signed_campaign",),
        lambda data: read_signed_campaign(data, BOARD),
        (dumped(signed_campaign(SIGNED.campaign, [SIGNATURE, APPROVAL])),),
        FAMILY,
    ),
    Parser(
        "signature of the board",
        ("federation.board.verify_campaign",),
        _signatures,
        (SIGNATURE.encode(), APPROVAL.encode()),
        FAMILY,
    ),
    Parser(
        "what a board member signed",
        ("federation.board.verify_campaign",),
        _payload,
        (dumped({"campaign": SIGNED.campaign_hash}),),
        FAMILY,
    ),
    Parser(
        "parts of a campaign",
        (
            "federation.aggregation.Aggregation.from_json",
            "federation.privacy.RowPrivacy.from_json",
            "federation.rollout.MetricGate.from_json",
            "federation.rollout.Stage.from_json",
            "federation.rollout.read_rollout",
        ),
        _part,
        (
            b"0" + dumped(CAMPAIGN["aggregation"]),
            b"1" + dumped(CAMPAIGN["privacy"]),
            b"2" + dumped(CAMPAIGN["rollout"][0]["gates"][0]),
            b"3" + dumped(CAMPAIGN["rollout"][0]),
            b"3" + dumped(CAMPAIGN["rollout"][0] | {"business_line": "retail"}),
            b"4" + dumped(CAMPAIGN["rollout"]),
        ),
        FAMILY,
    ),
    Parser(
        "announced round",
        ("federation.opening.open_round",),
        _round,
        (dumped(PARAMETERS), b"consortium"),
        FAMILY,
    ),
    Parser(
        "status list of a round",
        (),
        _list,
        (BROKER.status_token().encode(),),
        FAMILY,
    ),
    Parser(
        "what a member kept",
        ("federation.guard.Before.from_json", "federation.privacy.Spent.from_json"),
        lambda data: Before.from_json(value(data)),
        (dumped(KEPT.to_json()),),
        FAMILY,
    ),
    Parser(
        "keys of secure aggregation",
        ("federation.secure_keys.PublicKeys.read",),
        _round_keys,
        (PUBLIC.signed(OF_ROUND, "p-north", MEMBER_KEY).encode(), KEY_CLAIMS),
        FAMILY,
    ),
    Parser(
        "consents verified before",
        ("federation.remembered.recall",),
        _verified_before,
        (WRITTEN, WRITTEN[AFTER_MAC:]),
        FAMILY,
    ),
    Parser("consent of a row", (), _credential, (BROKER.consent(1).encode(),), FAMILY),
    Parser(
        "receipt",
        ("federation.receipt.read_receipt",),
        lambda data: read_receipt(text(data), MEMBER_KEY.public_jwk(), ASKED),
        (sign_receipt(MEMBER_KEY, RECEIPT).encode(),),
        FAMILY,
    ),
    Parser(
        "claims of a receipt",
        ("federation.receipt.read_receipt",),
        _claims,
        (dumped(RECEIPT.to_json()),),
        FAMILY,
    ),
    Parser(
        "leaves of a receipt",
        ("federation.presence.read_leaves",),
        _leaves,
        (b"".join(TREE.leaves), bytes(32) + b"\xff" * 32),
        FAMILY,
    ),
    Parser(
        "proof of presence",
        (
            "federation.presence.PresenceProof.parse",
            "federation.presence.Place.from_json",
            "credentials.merkle.verify_inclusion",
        ),
        lambda data: (
            check_presence(RECEIPT, OF_CAMPAIGN, "c-1", data),
            Place.from_json(value(data)),
            PresenceProof.parse(data),
        ),
        PROOFS,
        FAMILY,
    ),
)
_OPERATORS = "files of whoever types the command, in the environment with Flower"
EXCLUDED = {
    "federation.flower.desk.BrokerDesk.open": "opens a round at the broker",
    "federation.flower.bundle.Bundle.read": _OPERATORS,
    "federation.flower.bundle.read_entity_key": _OPERATORS,
    "federation.flower.places.Places.open": "makes a directory",
    "federation.flower.settings.CoordinatorHome.read": _OPERATORS,
    "federation.flower.settings.MemberHome.read": _OPERATORS,
    "federation.flower.settings.read_json": _OPERATORS,
    "federation.flower.tried.Tried.read": "reads what `started` wrote",
    "federation.flower.settings.read_key": _OPERATORS,
    "federation.flower.keeping.Kept.from_json": "a file of our own, around Before.from_json",
    "federation.flower.models.Checkpoint.from_json": "files of our own, in a directory of our own",
    "federation.flower.models.read_model": "checked by its hash before it is read",
    "credentials.merkle.verify_consistency": "reached through `broker.domain.merkle`",
}
