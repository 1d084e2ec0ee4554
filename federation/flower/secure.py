"""The coordinator's part of secure aggregation: it carries keys and shares, and opens the sum.

Beside the steps at the members (`secure_member`): who does not answer one, or not by its rules, is
out of the rest of the round. Whoever is out before it gave shares is missed by nobody; later, the
others' shares take its masks away. With fewer than `masking.threshold_of` left, nothing is opened.
"""

import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.secure_aggregation.crypto.shamir import combine_shares

from federation.board import SignedCampaign
from federation.errors import FederationError, MaskingFailed
from federation.flower.masking import (
    Shape,
    commitment,
    mask_with,
    mean_of,
    own_mask,
    public_of,
    threshold_of,
)
from federation.flower.models import Model, model_hash, of_record
from federation.flower.replies import MOST_METRICS, refusal_of
from federation.flower.secure_member import MASKED, SECURE, SHARE_BYTES
from federation.flower.strategy import ARRAYS, CONFIG, WEIGHT
from federation.opening import LONGEST_OPENING
from federation.secure_keys import Of, PublicKeys

_TRIES: Final = 200
"""How many choices of shares are tried where some were given wrong."""

LONGEST_SEALED: Final = 1_024

LONGEST_STEP: Final = LONGEST_OPENING / 3
"""Seconds that the steps `keys` and `shares` wait: the model is still to come in time after both.

With two silent members each lasts as long as it is waited for.
"""

Send = Callable[[Sequence[Message], float], Iterable[Message]]


@dataclass
class Secure:
    """Secure aggregation in one round. `out` says by member why it is out of it.

    `nodes` are Flower's ids and `keys` the registered receipt keys by member, of those who take
    part and have a node; `config` is the round's announcement; `taking_part` how many take part;
    `patience` how many seconds the last step waits, and the first two at most.
    """

    signed: SignedCampaign
    of: Of
    taking_part: int
    nodes: Mapping[str, int]
    keys: Mapping[str, Mapping[str, Any]]
    config: ConfigRecord
    send: Send
    patience: float
    out: dict[str, str] = field(default_factory=dict)
    public: dict[str, PublicKeys] = field(default_factory=dict)
    sealed: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By sender and receiver."""

    @property
    def threshold(self) -> int:
        """How many it takes."""
        return threshold_of(self.signed.campaign, self.taking_part)

    def agree(self) -> None:
        """The steps `keys` and `shares`. Raises `MaskingFailed` where too few are left."""
        asked = dict.fromkeys(self.nodes, ConfigRecord({"step": "keys"}))
        tokens: dict[str, str] = {}
        for member, told in self._asked(asked, self._early).items():
            token = told.get("token")
            try:
                public = PublicKeys.read(token, self.of, member, self.keys[member])
            except FederationError as error:
                self.out[member] = error.code
            else:
                self.public[member], tokens[member] = public, str(token)
        self._check(tokens)
        names = sorted(tokens)
        shares = ConfigRecord(
            {"step": "shares", "members": names, "tokens": [tokens[name] for name in names]}
        )
        asked = dict.fromkeys(names, shares)
        for member, told in self._asked(asked, self._early).items():
            to, data = told.get("to"), told.get("sealed")
            due = [name for name in names if name != member]
            if (
                to != due
                or not isinstance(data, list)
                or len(data) != len(due)
                or not all(isinstance(one, bytes) and len(one) <= LONGEST_SEALED for one in data)
            ):
                self.out[member] = "shares_not_whole"
            else:
                self.sealed[member] = dict(zip(due, data, strict=True))
        self._check(self.sealed)

    def train(self, member: str) -> ConfigRecord:
        """What a member is sent with the model: the shares that the others sealed for it."""
        senders = [name for name in sorted(self.sealed) if name != member]
        return ConfigRecord(
            {
                "step": "train",
                "from": senders,
                "sealed": [self.sealed[name][member] for name in senders],
            }
        )

    def size(self, model: Model, reply: Message) -> int:
        """How many numbers a member's masked vector has; -1 where it does not say so well."""
        told = reply.content.get(SECURE)
        metrics = told.get("metrics") if isinstance(told, ConfigRecord) else None
        if not isinstance(metrics, list) or len(metrics) > MOST_METRICS:
            return -1
        return int(sum(tensor.size for tensor in model.values())) + len(metrics)

    def alike(self, counted: dict[str, Message]) -> dict[str, Message]:
        """Those who tell the same metrics as most: vectors of other meanings cannot be added."""
        told = {name: tuple(one.content[SECURE]["metrics"]) for name, one in counted.items()}
        usual = Counter(sorted(told.values())).most_common(1)
        for name in [name for name in counted if told[name] != usual[0][0]]:
            self.out[name] = "other_metrics"
        return {name: one for name, one in counted.items() if name not in self.out}

    def opened(
        self, counted: Mapping[str, Message], model: Model
    ) -> tuple[Model, dict[str, float]]:
        """The step `unmask`: the mean model of those counted, and their mean metrics.

        Raises `MaskingFailed`.
        """
        self._check(counted)
        alive = sorted(counted)
        asked = ConfigRecord({"step": "unmask", "alive": alive})
        shares: dict[str, list[bytes]] = {name: [] for name in self.sealed}
        answers = self._asked(dict.fromkeys(alive, asked), self.patience)
        self._check(answers)
        for told in answers.values():
            of, data = told.get("of"), told.get("shares")
            if isinstance(of, list) and isinstance(data, list) and len(of) == len(data):
                for name, one in zip(of, data, strict=True):
                    if name in shares and isinstance(one, bytes) and len(one) == SHARE_BYTES:
                        shares[name].append(one)
        total = sum(self._vector(counted[name]) for name in alive)
        shape = Shape(self.of, model_hash(model), len(total))
        for name, secret in self._secrets(shares, counted).items():
            if name in counted:
                total = total - own_mask(secret, shape)
                continue
            for other in alive:
                total = total + mask_with(secret, name, other, self.public[other].mask, shape)
        weight = sum(int(counted[name].content["metrics"][WEIGHT]) for name in alive)
        names = list(counted[alive[0]].content[SECURE]["metrics"])
        return _parted(mean_of(total, weight), model, names)

    def _secrets(
        self, shares: Mapping[str, Sequence[bytes]], counted: Mapping[str, Message]
    ) -> dict[str, bytes]:
        """The seed of each member that is counted, the mask key of each other one.

        All are tried before it is given up: where one does not open, it is that member's doing,
        where none does, that of those who gave the shares. Raises `MaskingFailed`.
        """
        found: dict[str, bytes] = {}
        for name, given in shares.items():
            if name in counted:
                told = counted[name].content[SECURE]["commitment"]
                secret = self._secret(given, commitment, told)
            else:
                secret = self._secret(given, public_of, self.public[name].mask)
            if secret is None:
                self.out[name] = "mask_not_opened"
            else:
                found[name] = secret
        if len(found) < len(shares):
            shut = ", ".join(sorted(shares.keys() - found.keys()))
            raise MaskingFailed(
                f"the shares for {shut} do not open its mask; it takes {self.threshold} that fit: "
                "the round gives no model, begin the next"
            )
        return found

    def _secret(
        self, shares: Sequence[bytes], known: Callable[[bytes], bytes], by: object
    ) -> bytes | None:
        draw = secrets.SystemRandom()
        for _ in range(_TRIES if len(shares) > self.threshold else len(shares) // self.threshold):
            try:
                secret: bytes = combine_shares(draw.sample(list(shares), self.threshold))
                fits = isinstance(by, bytes) and hmac.compare_digest(known(secret), by)
            except ValueError:
                continue
            if fits:
                return secret
        return None

    def _vector(self, reply: Message) -> Any:  # noqa: ANN401 (an array)
        return of_record(reply.content[ARRAYS])[MASKED]

    def _check(self, left: Mapping[str, object]) -> None:
        if len(left) < self.threshold:
            raise MaskingFailed(
                f"{len(left)} members are left in secure aggregation, and it takes {self.threshold}"
            )

    @property
    def _early(self) -> float:
        return min(self.patience, LONGEST_STEP)

    def _asked(
        self, records: Mapping[str, ConfigRecord], seconds: float
    ) -> dict[str, ConfigRecord]:
        """What members answer to a step; why the others do not is in `out`."""
        member_of = {self.nodes[member]: member for member in records}
        sent = [
            Message(
                RecordDict({CONFIG: self.config, SECURE: record}),
                dst_node_id=self.nodes[member],
                message_type="train",
                group_id=str(self.of.number),
            )
            for member, record in records.items()
        ]
        self.out |= dict.fromkeys(records, "no_answer")
        found: dict[str, ConfigRecord] = {}
        for reply in self.send(sent, seconds):
            member = member_of.get(reply.metadata.src_node_id, "")
            if self.out.get(member) != "no_answer":
                continue
            told = None if reply.has_error() else reply.content.get(SECURE)
            if isinstance(told, ConfigRecord):
                del self.out[member]
                found[member] = told
            elif reply.has_error():
                self.out[member] = f"flower_error_{reply.error.code}"
            else:
                self.out[member] = refusal_of(reply)
        return found


def _parted(vector: Any, model: Model, names: Sequence[str]) -> tuple[Model, dict[str, float]]:  # noqa: ANN401
    found, first = {}, 0
    for name in sorted(model):
        size = model[name].size
        found[name] = vector[first : first + size].reshape(model[name].shape)
        found[name] = np.asarray(found[name], dtype=model[name].dtype)
        first += size
    return found, {name: float(one) for name, one in zip(names, vector[first:], strict=True)}
