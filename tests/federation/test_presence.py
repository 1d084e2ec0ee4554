"""A receipt shows each consent of its round present, every other absent, and refuses lies."""

import hmac
import json
from dataclasses import replace
from hashlib import sha256
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credentials.jcs import b64url, b64url_decode
from credentials.keys import SoftwareKey, sign_jws, thumbprint
from credentials.merkle import leaf_hash
from federation.errors import (
    FederationError,
    LeavesDiffer,
    Malformed,
    ProofFails,
    ReceiptForged,
    ReceiptMismatch,
    SaltDiffers,
    TooLarge,
)
from federation.presence import (
    HIGHEST,
    LARGEST_BUCKET,
    LEAF_BYTES,
    LOWEST,
    CampaignSalt,
    PresenceProof,
    PresenceTree,
    Shows,
    bucket_of,
    leaf_of,
    leaves_of,
    read_leaves,
)
from federation.receipt import (
    RECEIPT_TYPE,
    Asked,
    Receipt,
    UsedList,
    check_leaves,
    check_presence,
    read_receipt,
    receipts_root,
    sign_receipt,
)
from tests.federation.world import KEY, LISTED, MEMBER_KEY, NOW, OF_CAMPAIGN, SALT, signed

HASH = signed().campaign_hash
USED = [f"c-{number}" for number in range(70)]
LEAVES = leaves_of(KEY, USED)
TREE = PresenceTree(LEAVES)
RECEIPT = Receipt(
    member="p-north",
    signed_at=NOW,
    campaign=HASH,
    stage="consortium",
    round=3,
    model_in=HASH,
    model_out=HASH,
    lists=(UsedList(LISTED, HASH, NOW - 20),),
    bucket=128,
    root=TREE.root(),
)
ASKED = Asked(HASH, "consortium", 3, "p-north")
TOKEN = sign_receipt(MEMBER_KEY, RECEIPT)


def proof(consent_id: str, tree: PresenceTree = TREE) -> bytes:
    return json.dumps(tree.prove(leaf_of(KEY, consent_id)).to_json()).encode()


def mth(hashes: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word for word."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\x01" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def test_the_root_is_that_of_the_rfc_over_sorted_hmacs_between_sentinels() -> None:
    mine = {hmac.new(KEY, name.encode(), "sha256").digest() for name in USED}
    assert LEAVES[0] == LOWEST
    assert LEAVES[-1] == HIGHEST
    assert mine < set(LEAVES)
    assert list(LEAVES) == sorted(LEAVES)
    assert len(LEAVES) == 128 + 2
    assert TREE.root() == mth([leaf_hash(leaf) for leaf in LEAVES])


@given(st.sets(st.text(min_size=1, max_size=8), max_size=140), st.text(min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_every_consent_is_shown_included_or_absent(used: set[str], asked: str) -> None:
    tree = PresenceTree(leaves_of(KEY, used))
    receipt = replace(RECEIPT, bucket=bucket_of(len(used)), root=tree.root())
    wanted = "included" if asked in used else "absent"
    assert check_presence(receipt, OF_CAMPAIGN, asked, proof(asked, tree)) == wanted
    # Whatever the proof says, it is of this consent alone, in this tree alone.
    with pytest.raises(ProofFails):
        check_presence(replace(receipt, root=bytes(32)), OF_CAMPAIGN, asked, proof(asked, tree))
    other: Shows = "included" if wanted == "absent" else "absent"
    lie = tree.prove(leaf_of(KEY, asked))
    with pytest.raises(ProofFails):
        PresenceProof(other, lie.places).check(leaf_of(KEY, asked), tree.size, tree.root())


def test_a_round_without_rows_has_a_receipt_too() -> None:
    tree = PresenceTree(leaves_of(KEY, []))
    empty = replace(RECEIPT, bucket=0, root=tree.root())
    assert tree.leaves == (LOWEST, HIGHEST)
    assert check_presence(empty, OF_CAMPAIGN, "c-1", proof("c-1", tree)) == "absent"


def test_absence_needs_neighbours_on_both_sides_of_the_leaf() -> None:
    used = leaf_of(KEY, "c-1")
    at = LEAVES.index(used)
    around = (TREE._place(at - 1), TREE._place(at + 1))  # noqa: SLF001
    with pytest.raises(ProofFails):
        PresenceProof("absent", around).check(used, TREE.size, TREE.root())
    absent = leaf_of(KEY, "c-x")
    true = TREE.prove(absent)
    true.check(absent, TREE.size, TREE.root())
    lower, upper = true.places
    for lie in (
        (lower, lower),
        (upper, lower),
        (lower, replace(upper, leaf=HIGHEST)),
        (replace(lower, index=lower.index + 1), upper),
        (lower, replace(upper, path=upper.path[:-1])),
        (TREE._place(0), TREE._place(1)),  # noqa: SLF001
        (lower,),
    ):
        with pytest.raises(ProofFails):
            PresenceProof("absent", lie).check(absent, TREE.size, TREE.root())


def test_leaves_are_checked_against_the_root() -> None:
    whole = b"".join(LEAVES)
    assert check_leaves(RECEIPT, whole).leaves == LEAVES
    other = b"".join(leaves_of(KEY, [*USED[1:], "c-other"]))
    with pytest.raises(LeavesDiffer, match="root"):
        check_leaves(RECEIPT, other)
    with pytest.raises(LeavesDiffer, match="covers 130"):
        check_leaves(RECEIPT, b"".join(leaves_of(KEY, USED[:64])))


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (b"", Malformed),
        (LOWEST, Malformed),
        (LOWEST + HIGHEST[:-1], Malformed),
        (HIGHEST + LOWEST, LeavesDiffer),
        (LOWEST + LOWEST, LeavesDiffer),
        (b"".join((*LEAVES[:5], LEAVES[6], LEAVES[5], *LEAVES[7:])), LeavesDiffer),
        (b"".join((*LEAVES[:5], LEAVES[4], *LEAVES[6:])), LeavesDiffer),
        (b"".join(LEAVES[1:]), LeavesDiffer),
        (b"".join(LEAVES[:-1]), LeavesDiffer),
        (b"".join((*LEAVES[:5], *LEAVES[6:])), LeavesDiffer),
        (bytes((LARGEST_BUCKET + 3) * LEAF_BYTES), TooLarge),
    ],
    ids=range(11),
)
def test_leaves_that_hide_something_are_refused(broken: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_leaves(broken)


def test_the_bucket_tells_no_count() -> None:
    assert [bucket_of(count) for count in (0, 1, 64, 65, 128, 129)] == [0, 64, 64, 128, 128, 256]
    with pytest.raises(TooLarge):
        bucket_of(LARGEST_BUCKET + 1)
    assert not set(leaves_of(KEY, [])[1:-1])


def test_no_comparison_of_two_rounds_or_members_tells_leaves_from_padding() -> None:
    keys = [
        OF_CAMPAIGN.key(*named)
        for named in (
            ("consortium", 3, "p-north"),
            ("consortium", 4, "p-north"),
            ("pilot", 3, "p-north"),
            ("consortium", 3, "p-south"),
        )
    ]
    for one, other in combinations([set(leaves_of(key, USED)) for key in keys], 2):
        assert one & other == {LOWEST, HIGHEST}


def test_a_salt_that_the_board_did_not_sign_shows_nothing() -> None:
    """Under a salt of one's own, every consent would be absent."""
    with pytest.raises(SaltDiffers):
        CampaignSalt(signed(), b"t" * 32)
    with pytest.raises(Malformed, match="salt"):
        CampaignSalt(signed(), b"short")
    other = CampaignSalt(signed(id="another"), SALT)
    with pytest.raises(ReceiptMismatch):
        check_presence(RECEIPT, other, "c-1", proof("c-1"))
    assert SALT.hex() not in repr(OF_CAMPAIGN)


def test_a_receipt_is_read_back_and_its_claims_are_exactly_these() -> None:
    assert read_receipt(TOKEN, MEMBER_KEY.public_jwk(), ASKED) == RECEIPT
    claims = RECEIPT.to_json()
    for name in claims:
        lacking = {key: value for key, value in claims.items() if key != name}
        with pytest.raises(Malformed, match="lacks"):
            read_receipt(_signed(lacking), MEMBER_KEY.public_jwk(), ASKED)
    with pytest.raises(Malformed, match="unknown"):
        read_receipt(_signed(claims | {"rows": 70}), MEMBER_KEY.public_jwk(), ASKED)


@pytest.mark.parametrize(
    "changes",
    [
        {"bucket": 70},
        {"bucket": -1},
        {"bucket": 2 * LARGEST_BUCKET},
        {"round": 0},
        {"root": "AA"},
        {"iat": "now"},
        {"lists": [{"uri": LISTED, "hash": HASH, "iat": 1}] * 2},
        {"lists": [{"uri": "", "hash": HASH, "iat": 1}]},
        {"lists": [{"uri": LISTED, "hash": HASH}]},
        {"model_in": None},
    ],
    ids=str,
)
def test_claims_of_another_form_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        read_receipt(_signed(RECEIPT.to_json() | changes), MEMBER_KEY.public_jwk(), ASKED)


def _signed(claims: dict[str, Any]) -> str:
    kid = thumbprint(MEMBER_KEY.public_jwk())
    return sign_jws(MEMBER_KEY, {"typ": RECEIPT_TYPE, "kid": kid}, claims)


def test_a_receipt_by_another_key_or_of_another_kind_is_forged() -> None:
    stranger = SoftwareKey.generate()
    with pytest.raises(ReceiptForged):
        read_receipt(sign_receipt(stranger, RECEIPT), MEMBER_KEY.public_jwk(), ASKED)
    with pytest.raises(ReceiptForged):
        read_receipt(TOKEN, stranger.public_jwk(), ASKED)
    kid = thumbprint(stranger.public_jwk())
    for header in ({"typ": RECEIPT_TYPE}, {"typ": RECEIPT_TYPE, "kid": kid}):
        unnamed = sign_jws(MEMBER_KEY, header, RECEIPT.to_json())
        with pytest.raises(ReceiptForged, match="another key"):
            read_receipt(unnamed, MEMBER_KEY.public_jwk(), ASKED)
    other_kind = sign_jws(MEMBER_KEY, {"typ": "agent-action+jwt"}, RECEIPT.to_json())
    with pytest.raises(ReceiptForged):
        read_receipt(other_kind, MEMBER_KEY.public_jwk(), ASKED)


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="ascii", categories=["L", "N"]))
@settings(max_examples=60, deadline=None)
def test_no_character_of_a_receipt_can_change(at: int, character: str) -> None:
    changed = TOKEN[:at] + character + TOKEN[at + 1 :]
    if changed == TOKEN:
        assert read_receipt(changed, MEMBER_KEY.public_jwk(), ASKED) == RECEIPT
    else:
        with pytest.raises(FederationError):
            read_receipt(changed, MEMBER_KEY.public_jwk(), ASKED)


@pytest.mark.parametrize(
    "asked",
    [
        replace(ASKED, campaign=HASH[::-1]),
        replace(ASKED, stage="pilot"),
        replace(ASKED, round=4),
        replace(ASKED, member="p-south"),
        replace(ASKED, model_in="another"),
        replace(ASKED, model_out="another"),
    ],
    ids=["campaign", "stage", "round", "member", "model_in", "model_out"],
)
def test_a_receipt_of_something_else_is_refused(asked: Asked) -> None:
    with pytest.raises(ReceiptMismatch):
        read_receipt(TOKEN, MEMBER_KEY.public_jwk(), asked)


def test_the_root_over_receipts_depends_on_what_was_signed_alone() -> None:
    other = sign_receipt(MEMBER_KEY, replace(RECEIPT, member="p-south"))
    both = {"p-north": TOKEN, "p-south": other}
    assert receipts_root(both) == receipts_root(dict(reversed(both.items())))
    assert receipts_root({"p-north": TOKEN}) != receipts_root(both)
    # The other spelling of the same ECDSA signature: (r, n - s).
    signed_part, _, signature = TOKEN.rpartition(".")
    raw = b64url_decode(signature)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    flipped = (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    malleated = f"{signed_part}.{b64url(raw[:32] + flipped)}"
    assert read_receipt(malleated, MEMBER_KEY.public_jwk(), ASKED) == RECEIPT
    assert receipts_root({"p-north": malleated}) == receipts_root({"p-north": TOKEN})


def test_a_sentinel_is_nobodys_leaf() -> None:
    for leaf in (LOWEST, HIGHEST, b"short"):
        with pytest.raises(Malformed):
            TREE.prove(leaf)
