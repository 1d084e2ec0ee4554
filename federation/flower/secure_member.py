"""A member's part of secure aggregation: four steps of a round, and what is kept between them.

    keys      it makes its keys of the round, and signs them
    shares    it verifies the others' keys under the receipt keys that it knows by itself, and seals
              for each of them shares of its own mask's seed and of its mask key
    train     gate, training, receipt (`federation.flower.member`); what goes out is masked
    unmask    it is told who is in the sum, and gives for each of them the share of the seed, for
              each other the share of the mask key: one of the two, once

Each step is taken once and in this order, whatever the coordinator asks; what is kept is forgotten
at the end, and where a step is refused. It is kept in the state that Flower has for a node.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, runtime_checkable

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from flwr.common.secure_aggregation.crypto.shamir import create_shares

from credentials.jws import Signer
from federation.board import SignedCampaign
from federation.errors import CampaignInvalid, Malformed, MaskingFailed
from federation.flower.masking import (
    Shape,
    WrongShares,
    commitment,
    in_fixed_point,
    mask_with,
    new_private,
    own_mask,
    public_of,
    seal_key,
    sealed,
    threshold_of,
    unsealed,
)
from federation.flower.models import Model
from federation.opening import Round
from federation.secure_keys import Of, PublicKeys

SECURE: Final = "secure"
MASKED: Final = "masked"
SHARE_BYTES: Final = 52
"""One share of 32 bytes, as Flower's `create_shares` gives it: its number, and three blocks."""
_SEED_BYTES: Final = 32
_KEPT: Final = "secure-aggregation"


@runtime_checkable
class SecureSite(Protocol):
    """A member for campaigns with secure aggregation: it knows the others' keys."""

    member: str
    signer: Signer

    def peers(self, signed: SignedCampaign) -> Mapping[str, Mapping[str, Any]]:
        """The registered receipt keys (JWK) of the campaign's members, by member.

        As this member got them itself. From the coordinator they would be worth nothing: with keys
        of its own it could open every mask.
        """


@dataclass
class _Session:
    """What is kept between the steps of one round, and the step that comes next."""

    of: Of
    members: int
    threshold: int
    following: str
    seal: bytes
    mask: bytes
    seed: bytes = b""
    names: Sequence[str] = ()
    keys: Sequence[bytes] = ()
    """The public keys of `names`: of each the one to seal, and the one for masks."""
    held: Sequence[str] = ()
    shares: Sequence[bytes] = ()
    """What `held` gave this member, and its own: of each the share of the seed and of the key."""

    def keep(self, state: RecordDict) -> None:
        state[_KEPT] = ConfigRecord(
            {
                "campaign": self.of.campaign,
                "stage": self.of.stage,
                "number": self.of.number,
                "members": self.members,
                "threshold": self.threshold,
                "following": self.following,
                "seal": self.seal,
                "mask": self.mask,
                "seed": self.seed,
                "names": list(self.names),
                "keys": list(self.keys),
                "held": list(self.held),
                "shares": list(self.shares),
            }
        )

    @classmethod
    def take(cls, state: RecordDict, of: Of | None, step: str) -> Self:
        """What is kept, out of the state: whoever does not put it back has forgotten it.

        Raises `MaskingFailed` unless this step of this round comes next.
        """
        kept = state.pop(_KEPT, None)
        if kept is None:
            raise MaskingFailed(f"no secure aggregation has come to the step {step}")
        found = Of(kept["campaign"], kept["stage"], kept["number"])
        if kept["following"] != step or of not in {None, found}:
            raise MaskingFailed(f"the step {step} of this round is not what comes next")
        rest = {name: kept[name] for name in kept if name not in {"campaign", "stage", "number"}}
        return cls(found, **rest)

    def public(self, name: str) -> PublicKeys:
        at = 2 * self.names.index(name)
        return PublicKeys(self.keys[at], self.keys[at + 1])


def give_keys(opened: Round, members: int, site: SecureSite, state: RecordDict) -> RecordDict:
    """The step `keys`, of a round of so many members."""
    of = Of(opened.campaign_hash, opened.stage, opened.number)
    threshold = threshold_of(opened.campaign, members)
    session = _Session(of, members, threshold, "shares", new_private(), new_private())
    session.keep(state)
    public = PublicKeys(public_of(session.seal), public_of(session.mask))
    return _told({"token": public.signed(of, site.member, site.signer)})


def give_shares(
    told: ConfigRecord, signed: SignedCampaign, site: SecureSite, state: RecordDict
) -> RecordDict:
    """The step `shares`. Raises `MaskingFailed`, `Malformed`."""
    session = _Session.take(state, None, "shares")
    if session.of.campaign != signed.campaign_hash:
        raise MaskingFailed("the keys are of another campaign")
    names, tokens = _texts(told, "members"), _texts(told, "tokens")
    if names != sorted(set(names)) or len(names) != len(tokens) or site.member not in names:
        raise Malformed("keys come by member, in order, this member's among them")
    if not session.threshold <= len(names) <= session.members:
        raise MaskingFailed(f"{len(names)} members have keys, and it takes {session.threshold}")
    peers = site.peers(signed)
    if not set(names) <= peers.keys():
        raise MaskingFailed("a member has keys whose receipt key is not known here")
    session.names = names
    keys = [
        PublicKeys.read(token, session.of, name, peers[name])
        for name, token in zip(names, tokens, strict=True)
    ]
    session.keys = [part for one in keys for part in (one.seal, one.mask)]
    if len(set(session.keys)) != 2 * len(names):
        raise MaskingFailed("two members have the same key")
    mine = PublicKeys(public_of(session.seal), public_of(session.mask))
    if session.public(site.member) != mine:
        raise MaskingFailed("the keys told as this member's are not its own")
    session.seed = secrets.token_bytes(_SEED_BYTES)
    both = [
        create_shares(secret, session.threshold, len(names))
        for secret in (session.seed, session.mask)
    ]
    sealed_for: dict[str, bytes] = {}
    for name, of_seed, of_key in zip(names, *both, strict=True):
        if name == site.member:
            session.held, session.shares = [name], [of_seed + of_key]
            continue
        key = seal_key(session.seal, site.member, name, session.public(name).seal, session.of)
        sealed_for[name] = sealed(key, of_seed + of_key)
    session.following = "train"
    session.keep(state)
    return _told({"to": list(sealed_for), "sealed": list(sealed_for.values())})


@dataclass(frozen=True)
class Masking:
    """A member's masks of one round, once it knows with whom it shares them."""

    session: _Session
    me: str

    @classmethod
    def begin(cls, told: object, opened: Round, state: RecordDict) -> Self:
        """Read the shares that the others sealed: what the step `train` begins with.

        Raises `MaskingFailed`, `WrongShares`, `Malformed`.
        """
        of = Of(opened.campaign_hash, opened.stage, opened.number)
        session = _Session.take(state, of, "train")
        if not isinstance(told, ConfigRecord):
            raise Malformed("the message holds no sealed shares")
        names, data = _texts(told, "from"), told.get("sealed")
        if (
            not isinstance(data, list)
            or len(data) != len(names)
            or not all(isinstance(one, bytes) for one in data)
            or len(set(names)) != len(names)
            or not set(names) <= set(session.names) - {opened.member}
        ):
            raise Malformed("sealed shares come by member, from those who have keys")
        if len(names) + 1 < session.threshold:
            raise MaskingFailed(f"{len(names) + 1} are left, and it takes {session.threshold}")
        for name, one in zip(names, data, strict=True):
            key = seal_key(session.seal, name, opened.member, session.public(name).seal, of)
            try:
                both = unsealed(key, one)
            except MaskingFailed:
                raise WrongShares(name) from None
            if len(both) != 2 * SHARE_BYTES:
                raise WrongShares(name)
            session.held, session.shares = [*session.held, name], [*session.shares, both]
        return cls(session, opened.member)

    def masked(self, model: Model, metrics: Mapping[str, float], weight: int, begun: str) -> Model:
        """An update and its metrics, times the weight, under all masks.

        `begun` is the hash of the model that this member was sent. Raises `UpdateTooLarge`.
        """
        session = self.session
        parts = [np.asarray(model[name], np.float64).ravel() for name in sorted(model)]
        vector = np.concatenate([*parts, np.array([metrics[name] for name in sorted(metrics)])])
        if not np.isfinite(vector).all():
            raise Malformed("an update or a metric is not finite")
        total = in_fixed_point(vector, weight, session.members)
        shape = Shape(session.of, begun, len(total))
        total = total + own_mask(session.seed, shape)
        for name in session.held:
            if name != self.me:
                public = session.public(name).mask
                total += mask_with(session.mask, self.me, name, public, shape)
        return {MASKED: total}

    def done(self, metrics: Sequence[str], state: RecordDict) -> ConfigRecord:
        """Wait for the step `unmask`; what is said in clear beside the masked vector."""
        self.session.following = "unmask"
        self.session.keep(state)
        seed = commitment(self.session.seed)
        return ConfigRecord({"metrics": sorted(metrics), "commitment": seed})


def unmask(told: ConfigRecord, site: SecureSite, state: RecordDict) -> RecordDict:
    """The step `unmask`: the last one. Raises `MaskingFailed`, `Malformed`."""
    session = _Session.take(state, None, "unmask")
    alive = set(_texts(told, "alive"))
    if not alive <= set(session.held) or site.member not in alive:
        raise MaskingFailed("the sum is of members who share no masks, or without this one")
    if len(alive) < session.threshold:
        raise MaskingFailed(f"a sum of {len(alive)} is not opened: it takes {session.threshold}")
    shares = [
        both[:SHARE_BYTES] if name in alive else both[SHARE_BYTES:]
        for name, both in zip(session.held, session.shares, strict=True)
    ]
    return _told({"of": list(session.held), "shares": shares})


def of_site(site: object) -> SecureSite:
    """A site that secure aggregation can be done with. Raises `CampaignInvalid`."""
    if not isinstance(site, SecureSite):
        raise CampaignInvalid(
            "secure aggregation takes a site that knows its peers' keys: SecureSite"
        )
    return site


def _told(values: dict[str, Any]) -> RecordDict:
    return RecordDict({SECURE: ConfigRecord(values)})


def _texts(told: ConfigRecord, name: str) -> list[str]:
    value = told.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Malformed(f"{name} is a list of texts")
    return value
