"""A campaign: which model is trained, by whom, on rows consented to what, and how.

The wire form is the canonical JSON (RFC 8785) of `Campaign.to_json()`; its SHA-256 is the
campaign's hash, which the board signs (`federation.board`) and which receipts name. How it may
evolve: a reader refuses a `schema` or a member that it does not know, and every member is present
but the `business_line` of a stage (`federation.rollout`) and `spare_rounds` where there are none,
since half a campaign that is understood is another campaign.

Flower carries code and parameters apart, and signs the code alone: both hashes stand here, and
the gate on each member's machine compares them (`check_bundle`, `check_parameters`).
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any, Final, Self

from credentials.errors import CredentialError
from credentials.jcs import canonical
from federation import reading
from federation.aggregation import Aggregation
from federation.errors import (
    BundleDiffers,
    CampaignInvalid,
    CombinationImpossible,
    Malformed,
    ParametersDiffer,
)
from federation.privacy import RowPrivacy, Spent, rounds_left
from federation.rollout import Stage, read_rollout

SCHEMA: Final = "urn:consent-broker:campaign:1"
UNLEARNING: Final = ("exclude", "retrain", "rollback_replay")
LARGEST_CAMPAIGN: Final = 262_144
LARGEST_PARAMETERS: Final = 65_536
MOST_MEMBERS: Final = 1_000
MOST_ATTRIBUTES: Final = 1_000
MOST_TERRITORIES: Final = 300
MOST_ROUNDS: Final = 100_000
MOST_SPARE_ROUNDS: Final = 1_000
LATEST: Final = 2**53 - 1
LEAST_COHORT: Final = 2
"""A cohort of one is a customer's own model."""
CAMPAIGN: Final = "campaign"
"""The run's setting that names a campaign at the broker: no parameter may stand in its place."""

PURPOSE = re.compile(
    r"[a-z][a-z0-9-]{0,31}:[A-Za-z0-9]{1,96}#algo:[a-z0-9][a-z0-9.-]{0,63}@[0-9A-Za-z.]{1,32}"
)
_MEMBERS: Final = frozenset(
    {
        "schema",
        "id",
        "purpose",
        "attributes",
        "territories",
        "valid_from",
        "valid_until",
        "salt_hash",
        "bundle_hash",
        "parameters",
        "parameters_hash",
        "members",
        "minimum_members",
        "minimum_rows",
        "cohort",
        "privacy",
        "aggregation",
        "rounds",
        "rollout",
        "unlearning",
    }
)
_SPARE: Final = frozenset({"spare_rounds"})


@dataclass(frozen=True)
class Campaign:
    """One campaign; the module says what its wire form is.

    `purpose` is the wire form `dpv:ServicePersonalisation#algo:churn-v3@1`, whose last parts are
    algorithm and version; `attributes` what of a row is used, and `territories` where the members
    train and the updates are processed: a consent must allow all of them. Rounds open from
    `valid_from` until before `valid_until` (Unix seconds). `salt_hash` commits to the campaign's
    salt (`presence.CampaignSalt`): no member has one of its own under which all is absent.
    Hashes are base64url SHA-256: `bundle_hash` of the application's bytes, `parameters_hash` of
    the parameters' canonical JSON. `minimum_rows` is a member's least number of consented rows in
    a round, `cohort` the k below which nothing is trained or told; `privacy` None is none.
    A stage goes on until `rounds` rounds gave a model; up to `spare_rounds` more may be opened in
    it, each in the place of one that failed.
    """

    id: str
    purpose: str
    attributes: tuple[str, ...]
    territories: tuple[str, ...]
    valid_from: int
    valid_until: int
    salt_hash: str
    bundle_hash: str
    parameters: dict[str, Any]
    parameters_hash: str
    members: tuple[str, ...]
    minimum_members: int
    minimum_rows: int
    cohort: int
    privacy: RowPrivacy | None
    aggregation: Aggregation
    rounds: int
    rollout: tuple[Stage, ...]
    unlearning: str
    spare_rounds: int = 0

    @property
    def highest_number(self) -> int:
        """The highest number that a round of a stage has, whatever comes of the others."""
        return self.rounds + self.spare_rounds

    def to_json(self) -> dict[str, Any]:
        """The campaign as the JSON object whose canonical form is hashed and signed.

        Without spare rounds it has no member of that name: those signed before there were any keep
        their hash, and each campaign has one spelling.
        """
        spare = {"spare_rounds": self.spare_rounds} if self.spare_rounds else {}
        return {
            "schema": SCHEMA,
            "id": self.id,
            "purpose": self.purpose,
            "attributes": list(self.attributes),
            "territories": list(self.territories),
            "valid_from": self.valid_from,
            "valid_until": self.valid_until,
            "salt_hash": self.salt_hash,
            "bundle_hash": self.bundle_hash,
            "parameters": self.parameters,
            "parameters_hash": self.parameters_hash,
            "members": list(self.members),
            "minimum_members": self.minimum_members,
            "minimum_rows": self.minimum_rows,
            "cohort": self.cohort,
            "privacy": None if self.privacy is None else self.privacy.to_json(),
            "aggregation": self.aggregation.to_json(),
            "rounds": self.rounds,
            "rollout": [stage.to_json() for stage in self.rollout],
            "unlearning": self.unlearning,
            **spare,
        }

    def canonical(self) -> bytes:
        """The canonical JSON (RFC 8785) of the campaign."""
        return canonical(self.to_json())

    def hash(self) -> str:
        """SHA-256 over the canonical JSON, base64url: how receipts and signatures name it."""
        return reading.encoded(hashlib.sha256(self.canonical()).digest())

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read a campaign strictly: known schema, every member, none unknown, all in bounds.

        Raises `Malformed`, `TooLarge`, `CampaignInvalid`, `CombinationImpossible`.
        """
        given = value.keys() & _SPARE if isinstance(value, dict) else frozenset()
        source = reading.members(value, "a campaign", _MEMBERS | given)
        reading.choice(source, "schema", (SCHEMA,))
        parameters = source["parameters"]
        if not isinstance(parameters, dict):
            raise Malformed("parameters must be a JSON object")
        if reading.digest(source, "parameters_hash") != parameters_hash(parameters):
            raise ParametersDiffer("parameters_hash is not the hash of the parameters")
        members = reading.names(source, "members", most=MOST_MEMBERS)
        read = cls(
            id=reading.name(source, "id"),
            purpose=_purpose(source),
            attributes=reading.names(source, "attributes", most=MOST_ATTRIBUTES),
            territories=reading.names(source, "territories", most=MOST_TERRITORIES),
            valid_from=reading.whole(source, "valid_from", 0, LATEST),
            valid_until=reading.whole(source, "valid_until", 0, LATEST),
            salt_hash=reading.digest(source, "salt_hash"),
            bundle_hash=reading.digest(source, "bundle_hash"),
            parameters=parameters,
            parameters_hash=parameters_hash(parameters),
            members=members,
            minimum_members=reading.whole(source, "minimum_members", 1, MOST_MEMBERS),
            minimum_rows=reading.whole(source, "minimum_rows", 1, 2**40),
            cohort=reading.whole(source, "cohort", LEAST_COHORT, 1_000_000),
            privacy=None if source["privacy"] is None else RowPrivacy.from_json(source["privacy"]),
            aggregation=Aggregation.from_json(source["aggregation"]),
            rounds=reading.whole(source, "rounds", 1, MOST_ROUNDS),
            rollout=read_rollout(source["rollout"], members),
            unlearning=reading.choice(source, "unlearning", UNLEARNING),
            spare_rounds=reading.whole(source, "spare_rounds", 1, MOST_SPARE_ROUNDS)
            if given
            else 0,
        )
        read._check_together()
        return read

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a campaign from JSON text, as `from_json` does."""
        return cls.from_json(reading.json_object(data, largest=LARGEST_CAMPAIGN))

    def _check_together(self) -> None:
        if CAMPAIGN in self.parameters:
            raise CampaignInvalid(f"no parameter is named {CAMPAIGN}: a run's setting of that name")
        if not self.attributes:
            raise CampaignInvalid("a campaign names the attributes that it uses")
        if not self.territories:
            raise CampaignInvalid("a campaign names the territories where it is trained")
        if self.valid_from >= self.valid_until:
            raise CampaignInvalid("a campaign ends after it begins: valid_until above valid_from")
        smallest = min(len(stage.members) for stage in self.rollout)
        if self.minimum_members > smallest:
            raise CombinationImpossible(
                f"a stage has {smallest} members and a round takes {self.minimum_members}: no "
                "round of that stage could begin"
            )
        if self.minimum_rows < self.cohort:
            raise CampaignInvalid("minimum_rows is at least the cohort")
        self.aggregation.check_members(self.minimum_members)
        self._check_spare()

    def _check_spare(self) -> None:
        if not self.spare_rounds:
            return
        if self.highest_number > MOST_ROUNDS:
            raise CampaignInvalid(f"rounds and spare_rounds are at most {MOST_ROUNDS} together")
        # Each round that is opened spends, so a spare one that the budget has no room for is none.
        most = self.highest_number * len(self.rollout)
        if self.privacy is not None and rounds_left(self.privacy, Spent()) < most:
            raise CombinationImpossible(
                f"with spare rounds the campaign may open {most} rounds in all stages, and the "
                "privacy budget covers fewer: more epsilon or noise, or fewer rounds"
            )

    def check_parameters(self, parameters: object) -> None:
        """Check that a run's parameters are the signed ones. Raises `ParametersDiffer`."""
        try:
            given = parameters_hash(parameters) if isinstance(parameters, dict) else ""
        except Malformed:
            given = ""
        if not hmac.compare_digest(given, self.parameters_hash):
            told = parameters if isinstance(parameters, dict) else {}
            changed = sorted(
                name
                for name, value in self.parameters.items()
                if type(told.get(name)) is not type(value) or told[name] != value
            )
            named = f": see {', '.join(changed)[:200]}" if changed else ""
            raise ParametersDiffer(
                f"the run's parameters are not those that the board signed{named}"
            )

    def check_bundle(self, bundle: bytes) -> None:
        """Check that an application is the signed one. Raises `BundleDiffers`."""
        if not hmac.compare_digest(bundle_hash(bundle), self.bundle_hash):
            raise BundleDiffers("the application is not the bundle that the board signed")


def parameters_hash(parameters: dict[str, Any]) -> str:
    """Base64url SHA-256 over the canonical JSON of parameters: no floats, decimals are text.

    Raises `Malformed` if they have no canonical form or exceed their cap.
    """
    try:
        encoded = canonical(parameters)
    except CredentialError as error:
        raise Malformed(f"parameters have no canonical JSON form: {error}") from None
    if len(encoded) > LARGEST_PARAMETERS:
        raise Malformed(f"parameters exceed {LARGEST_PARAMETERS} bytes")
    return reading.encoded(hashlib.sha256(encoded).digest())


def bundle_hash(bundle: bytes) -> str:
    """Base64url SHA-256 over an application's bytes."""
    return reading.encoded(hashlib.sha256(bundle).digest())


def _purpose(source: Any) -> str:  # noqa: ANN401 (untrusted JSON)
    purpose = source["purpose"]
    if not isinstance(purpose, str) or not PURPOSE.fullmatch(purpose):
        raise Malformed("purpose is written like dpv:ServicePersonalisation#algo:churn-v3@1")
    return purpose
