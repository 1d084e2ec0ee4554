"""A whole round as docs/federation.md shows it: from signatures to an auditor's answer."""

import json
from dataclasses import replace

from federation import reading
from federation.board import Board, read_signed_campaign, sign_campaign, signed_campaign
from federation.campaign import Campaign
from federation.consents import ConsentCache, ConsentIssuer
from federation.gate import gate
from federation.guard import Before
from federation.opening import open_round, pin_lists
from federation.presence import CampaignSalt, PresenceTree, leaves_of
from federation.receipt import (
    Asked,
    Receipt,
    check_leaves,
    check_presence,
    leaf_in,
    read_receipt,
    receipts_root,
    sign_receipt,
)
from federation.unlearning import Lineage, ModelVersion, Told, versions_using
from tests.federation.world import (
    BOARD_KEYS,
    BUNDLE,
    CAMPAIGN,
    ISSUER,
    LISTED,
    MEMBER_KEY,
    NOW,
    OPENED,
    PARAMETERS,
    SALT,
    VCT,
    Broker,
)


def test_from_the_boards_signatures_to_an_auditors_answer() -> None:
    campaign = Campaign.parse(json.dumps(CAMPAIGN).encode())
    document = signed_campaign(campaign, [sign_campaign(key, campaign) for key in BOARD_KEYS[:2]])
    board = Board.of([key.public_jwk() for key in BOARD_KEYS], threshold=2)
    signed = read_signed_campaign(json.dumps(document).encode(), board)

    broker = Broker()
    broker.statuses.set(4, 1)
    credentials = [broker.consent(number) for number in range(8)]
    cache = ConsentCache(ConsentIssuer((broker.root,), issuer=ISSUER, vct=VCT))
    assert not cache.learn(credentials, NOW)
    keys = [ConsentCache.key_of(credential) for credential in credentials]
    opened = open_round(
        signed,
        stage="pilot",
        number=1,
        member="p-north",
        taking_part=["p-north", "p-south"],
        bundle=BUNDLE,
        parameters=PARAMETERS,
        opened_at=OPENED,
        now=NOW,
    )
    lists = pin_lists(
        {LISTED: broker.status_token()},
        needed=cache.needed(keys, NOW),
        issuer=cache.issuer,
        opened=opened,
        now=NOW,
    )
    found = gate(opened, keys, cache, lists, before=Before.first(signed, "p-north"), now=NOW)
    assert found.rows == (0, 1, 2, 3, 5, 6, 7)

    salt = CampaignSalt(signed, SALT)
    key = salt.key(opened.stage, opened.number, opened.member)
    made = PresenceTree(leaves_of(key, found.consents))
    model = opened.campaign.bundle_hash
    receipt = Receipt(
        member="p-north",
        signed_at=NOW,
        campaign=opened.campaign_hash,
        stage=opened.stage,
        round=1,
        model_in=model,
        model_out=model,
        lists=lists.used,
        bucket=made.size - 2,
        root=made.root(),
    )
    token, leaves = sign_receipt(MEMBER_KEY, receipt), b"".join(made.leaves)

    asked = Asked(signed.campaign_hash, "pilot", 1, "p-north", model_in=model)
    read = read_receipt(token, MEMBER_KEY.public_jwk(), asked)
    tree = check_leaves(read, leaves)
    for number in range(8):
        consent_id = f"c-{number:020}"
        proof = json.dumps(tree.prove(leaf_in(read, salt, consent_id)).to_json()).encode()
        shown = check_presence(read, salt, consent_id, proof)
        assert shown == ("absent" if number == 4 else "included")
    version = ModelVersion(
        id="m1",
        parent="m0",
        campaign=signed.campaign_hash,
        stage="pilot",
        round=1,
        bundle_hash=campaign.bundle_hash,
        parameters_hash=campaign.parameters_hash,
        receipts_root=reading.encoded(receipts_root({"p-north": token})),
        members=("p-north",),
    )
    began = replace(version, id="m0", parent=None, round=0, receipts_root=None, members=())
    told = {"m1": [Told(read, tree.leaves)]}
    lineage, salts = Lineage([began, version]), {signed.campaign_hash: salt}
    assert versions_using(lineage, [f"c-{3:020}"], told, salts) == {"m1"}
    assert versions_using(lineage, [f"c-{4:020}"], told, salts) == set()
