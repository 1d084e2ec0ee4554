"""Credentials issued over HTTP, each with its proof, rows and log entry, against insert and read.

Each request is a wallet's first: its proof is verified, its customer made, its contact bound, a
place in the status list taken, one copy signed. So each can be sent once.
"""

import json
import secrets
import tempfile
from hashlib import sha256
from pathlib import Path

from benchmarks.figure import Figure, ratio_at_least
from benchmarks.insert_and_read import running_probe
from benchmarks.load import HOST, driven, post, rate, write_requests
from benchmarks.probe import interleaved
from benchmarks.seeding import new_partner
from broker.composition import build_context, prepare
from broker.domain.addresses import ROOT_TENANT
from broker.domain.ids import new_id
from broker.settings import Settings
from broker.store import access_tokens, contacts
from broker.store.acting import acting_for
from broker.store.contacts import InvitationRow
from broker.usecases.context import Context
from broker.usecases.nonces import new_nonce
from credentials.jcs import b64url
from credentials.keys import SoftwareKey, sign_jws
from dev.running import free_port, running_broker

ROUNDS = 5
REQUESTS = 1_000
LIFETIME = 600
PROOF_TYPE = "openid4vci-proof+jwt"


def run() -> list[Figure]:
    """Measure first issuances over HTTP."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        home = Path(folder)
        port = free_port()
        # The proofs name the issuer, so its address is settled before it runs. All come from one
        # address, so its limit is counted, and out of reach.
        address = {
            "PORT": str(port),
            "PUBLIC_URL": f"http://{HOST}:{port}",
            "BROKER_RATE_LIMITS": "address=100000/100000",
        }
        # One file for each time that a rate is taken, and one for the round that warms up.
        files = iter(_populate(home, address["PUBLIC_URL"]))
        with running_broker(home, address), running_probe(home) as probe:
            row = write_requests(home / "probe.requests", [post("/row", b'{"kind": "issuance"}')])
            taken = interleaved(
                {
                    "probe": lambda: rate(probe, row, '"kind":"issuance"'),
                    "issue": lambda: driven(port, next(files), '"credentials"', once=True).rate,
                },
                rounds=ROUNDS,
            )
    return [
        Figure(
            name="issuance: a credential over HTTP with proof, rows and audit entry",
            value=taken["issue"],
            unit="1/s",
            probe=taken["probe"],
            bound=ratio_at_least(0.5),
        )
    ]


@acting_for(ROOT_TENANT)
def _populate(home: Path, public_url: str) -> list[Path]:
    """A broker's database with wallets that have redeemed an offer, and what each sends next."""
    ctx = build_context(Settings(home=home, public_url=public_url))
    prepare(ctx)
    partner_id = new_partner(ctx)
    files = [
        write_requests(
            home / f"issue-{number}.requests",
            [_request(ctx, token) for token in _redeemed(ctx, partner_id)],
        )
        for number in range(ROUNDS + 1)
    ]
    ctx.db.close()
    return files


def _redeemed(ctx: Context, partner_id: str) -> list[str]:
    """Tokens of wallets, each for a contact of its own."""
    now, key = ctx.now(), ctx.keys.hmac_key("contact")
    tokens = [b64url(secrets.token_bytes(32)) for _ in range(REQUESTS)]
    with ctx.db.transaction() as tx:
        for token in tokens:
            reference = f"crm-{secrets.token_hex(8)}"
            contact = contacts.get_or_create(
                tx,
                ctx.master,
                tenant_id=ROOT_TENANT,
                partner_id=partner_id,
                subject_ref=reference,
                ref_hash=contacts.subject_ref_hash(key, partner_id, reference),
                now=now,
            )
            invitation_id = new_id("iv")
            contacts.add_invitation(
                tx,
                InvitationRow(
                    id=invitation_id,
                    tenant_id=ROOT_TENANT,
                    contact_id=contact.id,
                    grade="link",
                    code_hash=secrets.token_urlsafe(32),
                    sealed_code=None,
                    tx_code_hash=None,
                    tx_code_failures=0,
                    state="redeemed",
                    subject_id=None,
                    rebinding=False,
                    expires_at=now + LIFETIME,
                    created_at=now,
                ),
            )
            access_tokens.add(
                tx,
                token_hash=b64url(sha256(token.encode()).digest()),
                tenant_id=ROOT_TENANT,
                subject=invitation_id,
                role="wallet",
                expires_at=now + LIFETIME,
            )
    return tokens


def _request(ctx: Context, token: str) -> bytes:
    holder = SoftwareKey.generate("ES256")
    claims = {
        "aud": ctx.settings.public_url,
        "iat": ctx.now(),
        "nonce": new_nonce(ctx, ROOT_TENANT),
    }
    proof = sign_jws(holder, {"typ": PROOF_TYPE, "jwk": holder.public_jwk()}, claims)
    body = {"credential_configuration_id": "customer_credential", "proofs": {"jwt": [proof]}}
    headers = [f"Authorization: Bearer {token}"]
    return post("/openid4vci/credential", json.dumps(body).encode(), headers)
