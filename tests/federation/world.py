"""A board, a broker that issues consents, and a member that trains: what these tests start from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from credentials.issue import issue_sd_jwt_vc
from credentials.keys import SoftwareKey
from credentials.model import StatusReference
from credentials.pki import create_root, issue_leaf, x5c
from credentials.status import StatusList, issue_status_token
from federation.board import Board, PassedStage, SignedCampaign, sign_campaign, verify_campaign
from federation.campaign import SCHEMA, Campaign, bundle_hash, parameters_hash
from federation.consents import ConsentCache, ConsentIssuer
from federation.gate import Gated, gate
from federation.guard import Before
from federation.opening import PinnedLists, Round, open_round, pin_lists
from federation.presence import CampaignSalt, salt_hash

NOW = 1_795_000_000
OPENED = NOW - 30
ISSUER = "https://broker.example"
VCT = "https://broker.example/vct/consent/1"
LISTED = "https://broker.example/status/st-1"
PURPOSE = "dpv:ServicePersonalisation#algo:churn-v3@1"
BUNDLE = b"the application's bytes"
PARAMETERS: dict[str, Any] = {"learning_rate": "0.05", "local_epochs": 2}
SALT = b"s" * 32
MEMBERS = ("p-north", "p-south", "p-west")

CAMPAIGN: dict[str, Any] = {
    "schema": SCHEMA,
    "id": "churn-2026",
    "purpose": PURPOSE,
    "attributes": ["home_city", "visits"],
    "territories": ["CN"],
    "valid_from": NOW - 86_400,
    "valid_until": NOW + 86_400,
    "salt_hash": salt_hash(SALT),
    "bundle_hash": bundle_hash(BUNDLE),
    "parameters": PARAMETERS,
    "parameters_hash": parameters_hash(PARAMETERS),
    "members": list(MEMBERS),
    "minimum_members": 2,
    "minimum_rows": 5,
    "cohort": 5,
    "privacy": {
        "epsilon": "8",
        "delta": "0.00001",
        "noise_multiplier": "1.1",
        "clip_norm": "1",
        "sampling_rate": "0.01",
        "steps_per_round": 100,
    },
    "aggregation": {
        "method": "fedprox",
        "secure": False,
        "server_clip": None,
        "mu": "0.01",
        "trim": None,
        "byzantine": None,
    },
    "rounds": 20,
    "rollout": [
        {
            "stage": "pilot",
            "members": ["p-north", "p-south"],
            "gates": [{"metric": "auc", "relation": "at_least", "bound": "0.8"}],
            "approvals": 1,
        },
        {"stage": "consortium", "members": list(MEMBERS), "gates": [], "approvals": 2},
    ],
    "unlearning": "rollback_replay",
}


def campaign_json(**changes: object) -> dict[str, Any]:
    """The usual campaign as JSON, with changed members."""
    copied: dict[str, Any] = json.loads(json.dumps(CAMPAIGN | changes))
    return copied


def aggregation(**changes: object) -> dict[str, Any]:
    """The usual campaign with another aggregation, FedAvg unless said."""
    plain = {"method": "fedavg", "secure": False, "server_clip": None}
    settings = {"mu": None, "trim": None, "byzantine": None}
    return campaign_json(aggregation=plain | settings | changes)


BOARD_KEYS = [SoftwareKey.generate() for _ in range(3)]
BOARD = Board.of([key.public_jwk() for key in BOARD_KEYS], 2)
MEMBER_KEY = SoftwareKey.generate()


def signed(**changes: object) -> SignedCampaign:
    """A campaign that two of the board signed."""
    campaign = Campaign.from_json(campaign_json(**changes))
    return verify_campaign(
        campaign, [sign_campaign(key, campaign) for key in BOARD_KEYS[:2]], BOARD
    )


OF_CAMPAIGN = CampaignSalt(signed(), SALT)
KEY = OF_CAMPAIGN.key("consortium", 3, "p-north")


@dataclass
class Broker:
    """An issuer of consents, its certificates, its status list."""

    root_key: SoftwareKey = field(default_factory=SoftwareKey.generate)
    key: SoftwareKey = field(default_factory=SoftwareKey.generate)
    statuses: StatusList = field(default_factory=lambda: StatusList.empty(1, 1_000))
    named: str = ISSUER

    @cached_property
    def root(self) -> bytes:
        """The anchor."""
        return create_root("Example Root", self.root_key, NOW - 1_000)

    @cached_property
    def chain(self) -> list[str]:
        """The issuer's chain."""
        leaf = issue_leaf(
            self.root,
            self.root_key,
            self.key.public_jwk(),
            name="Broker",
            now=NOW - 1_000,
            dns=["broker.example"],
            uri=[self.named],
        )
        return x5c([leaf])

    def neighbour(self, named: str) -> "Broker":
        """Another issuer with a certificate under the same root."""
        other = Broker(self.root_key, named=named)
        other.__dict__["root"] = self.root
        return other

    def consent(self, number: int, **changes: Any) -> str:  # noqa: ANN401
        """A consent credential as the broker issues it, with changed claims or arguments."""
        claims = {
            "sub": f"customer-{number}",
            "consent_id": f"c-{number:020}",
            "controller": "crm",
            "recipients": ["p-north"],
            "purpose": PURPOSE,
            "actions": ["profile", "train"],
            "attributes": ["home_city", "visits", "age"],
            "territories": {"storage": ["CN"], "processing": ["CN", "SG"], "access": ["CN"]},
        }
        arguments: dict[str, Any] = {
            "signer": self.key,
            "x5c": self.chain,
            "issuer": ISSUER,
            "vct": VCT,
            "disclosable": (),
            "holder_jwk": MEMBER_KEY.public_jwk(),
            "status": StatusReference(LISTED, number),
            "issued_at": NOW - 600,
            "not_before": NOW - 600,
            "expires_at": NOW + 86_400,
        }
        for name, value in changes.items():
            (arguments if name in arguments else claims)[name] = value
        return issue_sd_jwt_vc(claims=claims, **arguments)

    def status_token(self, *, now: int = OPENED + 1, uri: str = LISTED, ttl: int = 300) -> str:
        """The status list, signed at `now`."""
        return issue_status_token(
            self.statuses,
            signer=self.key,
            x5c=self.chain,
            uri=uri,
            now=now,
            ttl=ttl,
            expires_at=now + 3_600,
        )


@dataclass
class Member:
    """A member with consents of a broker, ready for a round."""

    broker: Broker
    credentials: Sequence[str]
    signed: SignedCampaign = field(default_factory=signed)
    now: int = NOW
    lines: Sequence[str] | None = None

    @cached_property
    def cache(self) -> ConsentCache:
        """The member's cache, empty at first."""
        return ConsentCache(ConsentIssuer((self.broker.root,), ISSUER, VCT))

    @property
    def keys(self) -> list[bytes]:
        """What its rows keep of their consents."""
        return [ConsentCache.key_of(one) for one in self.credentials]

    def open(self, **changes: Any) -> Round:  # noqa: ANN401
        """The usual round, with changes."""
        usual: dict[str, Any] = {
            "stage": "consortium",
            "number": 1,
            "member": "p-north",
            "taking_part": ["p-north", "p-south"],
            "bundle": BUNDLE,
            "parameters": PARAMETERS,
            "opened_at": OPENED,
            "now": self.now,
            "passed": PassedStage(self.signed.campaign_hash, "pilot", "model"),
        }
        return open_round(self.signed, **usual | changes)

    def pin(self, tokens: Mapping[str, str] | None = None, **changes: Any) -> PinnedLists:  # noqa: ANN401
        """The lists of the round, as the broker signed them when it opened."""
        opened = self.open(**changes)
        fresh = self.broker.status_token(now=opened.opened_at + 1)
        return pin_lists(
            {LISTED: fresh} if tokens is None else tokens,
            needed=self.cache.needed(self.keys, self.now),
            issuer=self.cache.issuer,
            opened=opened,
            now=self.now,
        )

    def first(self) -> Before:
        """What it begins the campaign with."""
        return Before.first(self.signed, "p-north")

    def gate(self, before: Before | None = None, **changes: Any) -> Gated:  # noqa: ANN401
        """A whole round's gate, the next after `before`."""
        before = before or self.first()
        follows = {"number": before.number + 1, "opened_at": max(OPENED, before.opened_at + 1)}
        self.cache.learn(self.credentials, self.now)
        return gate(
            self.open(**follows | changes),
            self.keys,
            self.cache,
            self.pin(**follows | changes),
            before=before,
            now=self.now,
            lines=self.lines,
        )
