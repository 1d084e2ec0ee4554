"""What a member's process spends on its rows until the gate has judged them.

Run in the environment with Flower. `python -m benchmarks.member_process settle DIRECTORY ROWS`
writes a member's files with so many consents of one issuer; `answer DIRECTORY` does as the process
of one message does, from its settings file until the gate has judged, and prints its processor
time as JSON, in seconds, with that of one ES256 verification of the same process.
"""

import base64
import json
import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from credentials.issue import issue_sd_jwt_vc
from credentials.keys import SoftwareKey
from credentials.model import StatusReference
from credentials.pki import create_root, issue_leaf, x5c
from credentials.status import StatusList, issue_status_token
from dev.federation.papers import PURPOSE, campaign_json, write_member
from federation.board import Board, sign_campaign, verify_campaign
from federation.campaign import Campaign, bundle_hash
from federation.flower.member import Task, Trained, gated
from federation.flower.settings import MemberHome
from federation.flower.site import FileSite
from federation.opening import Round
from federation.presence import salt_hash

BROKER, MEMBER = "https://broker.example", "p-north"
LIST, PLACES = f"{BROKER}/status/1", 1_000_000
SIGNATURES = 200
WITHDRAWN_EACH = 20
"""One row in so many is withdrawn."""
STAGE = "consortium"


def settle(directory: Path, rows: int) -> None:
    """A member's files: its settings, whom it trusts, its consents, and its issuer's list."""
    now = int(time.time())
    root_key, key, holder = (SoftwareKey.generate() for _ in range(3))
    root = create_root("Root", root_key, now - 60)
    leaf = issue_leaf(
        root,
        root_key,
        key.public_jwk(),
        name="Broker",
        now=now - 60,
        dns=["broker.example"],
        uri=[BROKER],
    )
    chain = x5c([leaf])
    directory.mkdir()
    write_member(
        directory,
        broker=BROKER,
        member=MEMBER,
        superlink="127.0.0.1:1",
        rows="rows.csv",
        port=1,
    )
    trusted = {"roots": [base64.b64encode(root).decode()]}
    (directory.parent / "trust.json").write_text(json.dumps(trusted))
    boards = {"keys": [key.public_jwk()], "threshold": 1}
    (directory.parent / "board.json").write_text(json.dumps(boards))
    state = directory / "state"
    state.mkdir()
    receipts = state / "receipt.jwk"
    receipts.write_text(json.dumps(key.private_jwk()))
    receipts.chmod(0o600)
    statuses, places = StatusList.empty(1, PLACES), secrets.SystemRandom()
    drawn = places.sample(range(PLACES), rows)
    statuses.set_all(drawn[::WITHDRAWN_EACH], 1)
    token = issue_status_token(
        statuses, signer=key, x5c=chain, uri=LIST, now=now, ttl=86_400, expires_at=now + 86_400
    )
    (directory / "list").write_text(token)
    (directory / "opened_at").write_text(str(now))
    claims: dict[str, Any] = {
        "controller": MEMBER,
        "recipients": [MEMBER],
        "purpose": PURPOSE,
        "actions": ["read", "profile", "train"],
        "attributes": ["purchase_count_12m"],
        "territories": {"storage": ["CN"], "processing": ["CN"], "access": ["CN"]},
    }
    with (directory / "consents.txt").open("w") as output:
        for place in drawn:
            claims |= {"sub": secrets.token_urlsafe(24), "consent_id": f"c-{secrets.token_hex(12)}"}
            credential = issue_sd_jwt_vc(
                claims=claims,
                signer=key,
                x5c=chain,
                issuer=BROKER,
                vct=f"{BROKER}/vct/consent/1",
                disclosable=(),
                holder_jwk=holder.public_jwk(),
                status=StatusReference(LIST, place),
                issued_at=now,
                not_before=now - 60,
                expires_at=now + 30 * 86_400,
            )
            output.write(f"{credential}\n")


class Alone(FileSite):
    """A member without a broker: the list of the round lies beside it."""

    def lists(
        self,
        opened_at: int,  # noqa: ARG002 (it was issued then)
        addresses: Sequence[str],
    ) -> Mapping[str, str]:
        """The one list there is."""
        return dict.fromkeys(addresses, (self.home.file.parent / "list").read_text())


def never(_task: Task, _rows: Sequence[int], _data: Path) -> Trained:
    """Nothing is trained here."""
    raise RuntimeError("the gate alone is measured")


def answer(directory: Path) -> dict[str, Any]:
    """Once, as a process of its own does."""
    key = SoftwareKey.generate()
    campaign = Campaign.from_json(
        campaign_json(
            [MEMBER],
            salt_hash=salt_hash(bytes(32)),
            bundle_hash=bundle_hash(b""),
            rounds=1,
            minimum_members=1,
        )
    )
    board = Board.of([key.public_jwk()], 1)
    signed = verify_campaign(campaign, [sign_campaign(key, campaign)], board)
    opened_at = int((directory / "opened_at").read_text())
    opened = Round(campaign, signed.campaign_hash, STAGE, 1, MEMBER, opened_at)
    file = directory / "member.toml"
    count = (directory / "consents.txt").read_bytes().count(b"\n")
    begun = time.process_time()
    site = Alone(MemberHome.read(file), never, lambda _: count, directory, {}, MEMBER)
    found, _ = gated(site, signed, opened, site.now())
    spent = time.process_time() - begun
    site.close()
    left = count - len(range(0, count, WITHDRAWN_EACH))
    if len(found.rows) != left:
        raise RuntimeError(f"{len(found.rows)} rows would train, not {left}: {found.left_out}")
    return {"rows": count, "trained": len(found.rows), "seconds": spent, "verify": _verification()}


def _verification() -> float:
    key, algorithm, data = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256()), b"-"
    signature, public = key.sign(data, algorithm), key.public_key()
    begun = time.process_time()
    for _ in range(SIGNATURES):
        public.verify(signature, data, algorithm)
    return (time.process_time() - begun) / SIGNATURES


if __name__ == "__main__":
    command, place, *rest = sys.argv[1:]
    os.umask(0o077)
    if command == "settle":
        settle(Path(place), int(rest[0]))
    print(json.dumps(answer(Path(place)) if command == "answer" else {}))
