"""A consortium over the whole broker in this process: a board, members, real consents, rounds."""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from broker.domain.addresses import tenant_url
from broker.usecases import campaign as campaigns
from broker.usecases import federation_member as members
from broker.usecases.coordinator import add_coordinator
from broker.usecases.status import allocate
from credentials.jcs import b64url, b64url_decode
from credentials.keys import SoftwareKey
from federation.board import Board, SignedCampaign, approve_model, sign_campaign, verify_campaign
from federation.campaign import Campaign, bundle_hash, parameters_hash
from federation.consents import ConsentCache, ConsentIssuer
from federation.gate import gate
from federation.guard import Before
from federation.opening import open_round, pin_lists
from federation.presence import PresenceTree, RoundKey, leaves_of
from federation.receipt import Receipt, UsedList, sign_receipt
from tests.broker.flow_world import DAY, PURPOSE, World
from tests.federation.world import BUNDLE, PARAMETERS, campaign_json

TEMPLATE = "train-together"
BEGAN = b64url(b"0" * 32)
BOARD_KEYS = [SoftwareKey.generate() for _ in range(2)]
PRIVACY = {
    "epsilon": "1.2",
    "delta": "0.00001",
    "noise_multiplier": "1.1",
    "clip_norm": "1",
    "sampling_rate": "0.01",
    "steps_per_round": 100,
}


def model(number: int) -> str:
    """The hash of a model."""
    return b64url(bytes([number]) * 32)


def board_file() -> bytes:
    """The board as `campaign add --board` reads it."""
    keys = [key.public_jwk() for key in BOARD_KEYS]
    return json.dumps({"keys": keys, "threshold": 2}).encode()


def signed_document(salt_hash: str, named: Iterable[str], now: int, **changes: Any) -> bytes:  # noqa: ANN401
    """A campaign of these members that the board signed; one stage unless said."""
    listed = sorted(named)
    consortium = {"stage": "consortium", "members": listed, "gates": [], "approvals": 1}
    told = {
        "purpose": PURPOSE,
        "attributes": ["purchase_count_12m"],
        "valid_from": now - DAY,
        "valid_until": now + 30 * DAY,
        "salt_hash": salt_hash,
        "bundle_hash": bundle_hash(BUNDLE),
        "parameters_hash": parameters_hash(PARAMETERS),
        "members": listed,
        "minimum_members": 1,
        "minimum_rows": 2,
        "cohort": 2,
        "privacy": None,
        "rounds": 3,
        "rollout": [consortium],
        **changes,
    }
    campaign = Campaign.from_json(campaign_json(**told))
    signatures = [sign_campaign(key, campaign) for key in BOARD_KEYS]
    return json.dumps({"campaign": campaign.to_json(), "signatures": signatures}).encode()


def member_keys() -> tuple[SoftwareKey, bytes, bytes]:
    """A key for receipts, its public JWK, and a node's public key as a JWK."""
    key = SoftwareKey.generate()
    node = SoftwareKey.generate()
    return key, json.dumps(key.public_jwk()).encode(), json.dumps(node.public_jwk()).encode()


def receipt_of(
    key: SoftwareKey,
    leaves: PresenceTree,
    *,
    campaign: str,
    member: str,
    now: int,
    lists: tuple[UsedList, ...] = (),
    **changes: Any,  # noqa: ANN401 (of a receipt)
) -> dict[str, str]:
    """What a coordinator hands in for a member."""
    receipt = Receipt(
        member=member,
        signed_at=now,
        campaign=campaign,
        stage="consortium",
        round=1,
        model_in=BEGAN,
        model_out=model(99),
        lists=lists,
        bucket=leaves.size - 2,
        root=leaves.root(),
    )
    return {
        "member": member,
        "receipt": sign_receipt(key, replace(receipt, **changes)),
        "leaves": b64url(b"".join(leaves.leaves)),
    }


@dataclass
class Member:
    """A partner that trains: its key for receipts, and what it keeps between rounds."""

    partner: str
    key: SoftwareKey
    credentials: dict[str, str] = field(default_factory=dict)
    before: Before | None = None


@dataclass
class Training:
    """A campaign that runs over a broker."""

    world: World
    campaign: str
    signed: SignedCampaign
    coordinator: str
    members: Mapping[str, Member]

    @property
    def path(self) -> str:
        """Where the campaign is."""
        return f"/v1/federation/campaigns/{self.campaign}"

    def call(self, method: str, path: str, body: Any = None, caller: str | None = None) -> Any:  # noqa: ANN401
        """Call below the campaign, as the coordinator unless said; the answer."""
        more = {} if body is None else {"json": body}
        return self.world.api(method, self.path + path, caller or self.coordinator, **more)

    def open(self, number: int, model_in: str = BEGAN, stage: str = "consortium") -> dict[str, Any]:
        """Open a round, and let its second begin."""
        body = {"stage": stage, "number": number, "model_in": model_in}
        answer = self.call("POST", "/rounds", body)
        assert answer.status_code == 200, answer.text
        opened: dict[str, Any] = answer.json()
        self.world.advance(max(0, opened["opened_at"] - self.world.time[0]))
        return opened

    def consent(self, member: str, subject_ref: str) -> str:
        """A customer of a member's who consents to the training; the consent's id."""
        world = replace(self.world, partner=member)
        customer = world.customer(subject_ref)
        request = world.ask(subject_ref, TEMPLATE)
        customer.sign(request["wallet_link"], "consent_base")
        [granted] = [one for one in world.follow(request)["consents"] if one["state"] == "granted"]
        consent_id: str = granted["id"]
        credential = world.api("GET", f"/v1/consents/{consent_id}/credential")
        assert credential.status_code == 200, credential.text
        self.members[member].credentials[consent_id] = credential.text
        return consent_id

    def train(self, member: str, opened: Mapping[str, Any]) -> dict[str, str]:
        """What a member does in a round, by the library: gate, then receipt."""
        mine, now = self.members[member], self.world.time[0]
        issuer = tenant_url(self.world.ctx.settings.public_url, "demo")
        anchors = tuple(self.world.ctx.keys.anchors())
        cache = ConsentCache(ConsentIssuer(anchors, issuer, f"{issuer}/vct/consent/1"))
        credentials = list(mine.credentials.values())
        refused = cache.learn(credentials, now)
        assert not refused, refused
        keys = [cache.key_of(one) for one in credentials]
        opening = open_round(
            self.signed,
            stage=opened["stage"],
            number=opened["number"],
            member=member,
            taking_part=opened["taking_part"],
            bundle=BUNDLE,
            parameters=PARAMETERS,
            opened_at=opened["opened_at"],
            now=now,
        )
        needed = cache.needed(keys, now)
        assert set(needed) <= set(opened["lists"])
        tokens = {uri: self.world.http.get(uri).text for uri in opened["lists"]}
        pinned = pin_lists(tokens, needed=needed, issuer=cache.issuer, opened=opening, now=now)
        before = mine.before or Before.first(self.signed, member)
        found = gate(opening, keys, cache, pinned, before=before, now=now)
        mine.before = found.before
        tree = PresenceTree(leaves_of(self.key(member, opened), found.consents))
        return receipt_of(
            mine.key,
            tree,
            campaign=self.signed.campaign_hash,
            member=member,
            now=now,
            lists=pinned.used,
            round=opened["number"],
            stage=opened["stage"],
            model_in=opened["model_in"],
        )

    def key(self, member: str, opened: Mapping[str, Any]) -> RoundKey:
        """The key of a member's leaves, fetched by itself."""
        path = f"/rounds/{opened['stage']}/{opened['number']}/key"
        answer = self.call("GET", path, caller=member)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        return RoundKey(b64url_decode(answer.json()["key"]))

    def hand_in(self, opened: Mapping[str, Any], sent: Mapping[str, str]) -> Any:  # noqa: ANN401
        """Hand in a receipt; the answer."""
        return self.call("POST", f"/rounds/{opened['stage']}/{opened['number']}/receipts", sent)

    def close(self, opened: Mapping[str, Any], model_out: str, **more: Any) -> Any:  # noqa: ANN401
        """Close a round; the answer."""
        path = f"/rounds/{opened['stage']}/{opened['number']}/close"
        return self.call("POST", path, {"model_out": model_out, **more})

    def round(
        self, number: int, model_in: str, model_out: str, stage: str = "consortium"
    ) -> dict[str, Any]:
        """A whole round by every member that takes part; the model version."""
        opened = self.open(number, model_in, stage)
        for member in opened["taking_part"]:
            answer = self.hand_in(opened, self.train(member, opened))
            assert answer.status_code == 200, answer.text
        answer = self.close(opened, model_out, metrics={"auc": "0.85"})
        assert answer.status_code == 200, answer.text
        version: dict[str, Any] = answer.json()
        return version

    def approval(self, stage: str, of: str, key: int = 0) -> str:
        """A board member's approval of a model."""
        return approve_model(BOARD_KEYS[key], self.signed.campaign, stage, of)


def training(world: World, *named: str, **changes: Any) -> Training:  # noqa: ANN401
    """A running campaign whose members (the demonstration partner unless named) are admitted."""
    ctx, chosen = world.ctx, named or (world.partner,)
    world_template(world)
    keys = {}
    for partner in chosen:
        key, receipts, node = member_keys()
        members.add_member(ctx, "demo", partner, node_key=node, receipt_key=receipts)
        members.admit_member(ctx, "demo", partner)
        with ctx.db.transaction() as tx:
            # A list, as every partner has whose customers ever consented.
            allocate(ctx, tx, "demo", partner)
        keys[partner] = Member(partner, key)
    coordinator = add_coordinator(ctx, "demo", name=f"runs {secrets.token_hex(4)}").client_id
    return _running(world, coordinator, keys, **changes)


def another(at: Training, **changes: Any) -> Training:  # noqa: ANN401
    """Another campaign of the same members, each of whom begins it as if it were the first."""
    members = {name: replace(one, before=None) for name, one in at.members.items()}
    return _running(at.world, at.coordinator, members, **changes)


def _running(
    world: World,
    coordinator: str,
    keys: Mapping[str, Member],
    **changes: Any,  # noqa: ANN401
) -> Training:
    ctx = world.ctx
    document = signed_document(campaigns.new_salt(ctx, "demo"), keys, world.time[0], **changes)
    added = campaigns.add_campaign(ctx, "demo", document, board_file())
    campaigns.set_state(ctx, "demo", added.id, "running")
    source = json.loads(document)
    board = Board.of([key.public_jwk() for key in BOARD_KEYS], 2)
    signed = verify_campaign(Campaign.from_json(source["campaign"]), source["signatures"], board)
    world.advance()
    return Training(world, added.id, signed, coordinator, keys)


def invented(
    at: Training,
    opened: dict[str, Any],
    member: str | None = None,
    key: RoundKey | None = None,
    named: Iterable[str] = ("c-0", "c-1", "c-2"),
    **changes: Any,  # noqa: ANN401
) -> dict[str, str]:
    """A receipt over consents that a member says it has."""
    whose = member or at.world.partner
    own = key or at.key(whose, opened)
    tree = PresenceTree(leaves_of(own, named))
    told = {
        "campaign": at.signed.campaign_hash,
        "member": whose,
        "now": at.world.time[0],
        "round": opened["number"],
        "model_in": opened["model_in"],
        "stage": opened["stage"],
        "lists": tuple(UsedList(one, model(98), opened["opened_at"]) for one in opened["lists"]),
    }
    return receipt_of(at.members[whose].key, tree, **(told | changes))


def world_template(world: World) -> None:
    """A template whose one consent allows training."""
    found = world.api("GET", "/v1/templates/loyalty-churn", world.officer).json()["document"]
    base = next(one for one in found["items"] if one["item"] == "base")
    world.template(TEMPLATE, items=[base | {"actions": ["read", "profile", "train"]}])
