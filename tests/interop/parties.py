"""Who takes part: a running broker with its partner and officer, and the wallet of wallet.mjs."""

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.cli.attesting import PERSON
from broker.domain.trust import Trust
from broker.outbound.client import ApiError, Client
from dev.running import Broker

HERE = Path(__file__).resolve().parent
TEMPLATE = "loyalty-churn"
PURPOSE = "dpv:ServicePersonalisation#algo:churn-v3@1"


@dataclass
class Parties:
    """A running broker, the partner and the officer of its demonstration, and whom to trust."""

    broker: Broker
    partner: Client
    partner_id: str
    officer: Client
    trust: Trust
    trust_file: Path
    root: Path

    def decide(self, subject_ref: str) -> dict[str, Any]:
        """Ask whether the partner may read what the base consent is about."""
        return self.partner.post(
            "/access/v1/evaluation",
            {
                "subject": {"type": "partner", "id": self.partner_id},
                "action": {"name": "read"},
                "resource": {
                    "type": "attribute",
                    "id": "purchase_count_12m",
                    "properties": {"subject_ref": subject_ref},
                },
                "context": {"purpose": PURPOSE, "territory": "CN"},
            },
        )

    def consent(self, consent_id: str) -> dict[str, Any]:
        """A consent as the partner sees it."""
        found: dict[str, Any] = self.partner.get(f"/v1/consents/{consent_id}").json()
        return found

    def states(self, request: dict[str, Any]) -> list[str]:
        """The states of a request's consents, in the template's order."""
        found = self.partner.get(f"/v1/consent-requests/{request['id']}").json()
        return [consent["state"] for consent in found["consents"]]

    def evidence(self, consent_id: str, folder: Path) -> Path:
        """The officer's evidence of a consent, as a file."""
        path = folder / f"{consent_id}.zip"
        path.write_bytes(self.officer.get(f"/v1/consents/{consent_id}/evidence").content)
        return path

    def verify(self, path: Path, trust: Path | None = None) -> tuple[int, dict[str, Any]]:
        """What `consent-broker evidence verify` says of a file: exit code and report."""
        done = self.broker.run(
            "evidence", "verify", str(path), "--trust", str(trust or self.trust_file), "--json"
        )
        return done.returncode, json.loads(done.stdout)


@contextmanager
def parties_of(broker_server: Broker, folder: Path) -> Iterator[Parties]:
    """The parties of a running broker; the trust file and the root's certificate go to `folder`."""
    trust_file = folder / "trust.json"
    exported = broker_server.run("trust", "export", "--out", str(trust_file))
    assert exported.returncode == 0, exported.stderr
    trust = Trust.parse(trust_file.read_bytes())
    root = folder / "root.pem"
    root.write_bytes(
        b"-----BEGIN CERTIFICATE-----\n"
        + base64.encodebytes(trust.roots[0])
        + b"-----END CERTIFICATE-----\n"
    )
    clients = json.loads((broker_server.home / "demo-clients.json").read_text())
    partner, officer = (
        Client(broker_server.address, one["client_id"], one["private_jwk"])
        for one in (clients["partner"], clients["officer"])
    )
    # Metadata that also describe a format which the wallet does not know.
    with suppress(ApiError):  # it is there already
        officer.post("/v1/attribute-types", PERSON, idempotent=True)
    yield Parties(
        broker_server,
        partner,
        clients["partner"]["client_id"],
        officer,
        trust,
        trust_file,
        root,
    )
    partner.close()
    officer.close()


@dataclass
class Wallet:
    """The wallet of one customer, known to the partner by `subject_ref`."""

    node: Path
    parties: Parties
    state: Path
    subject_ref: str

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the wallet; never raises."""
        command, *rest = arguments
        return subprocess.run(
            [self.node, HERE / "wallet.mjs", command, self.state, self.parties.root, *rest],
            capture_output=True,
            text=True,
            check=False,
        )

    def __call__(self, *arguments: str) -> dict[str, Any]:
        """Run the wallet; what it prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        printed: dict[str, Any] = json.loads(done.stdout)
        return printed

    def invite(self, grade: str = "code") -> dict[str, Any]:
        """Have the partner invite this wallet's customer."""
        return self.parties.partner.post(
            "/v1/invitations", {"subject_ref": self.subject_ref, "grade": grade}, idempotent=True
        )

    def ask(self) -> dict[str, Any]:
        """Have the partner ask this customer for the consents of the template."""
        return self.parties.partner.post(
            "/v1/consent-requests",
            {"subject_ref": self.subject_ref, "template": TEMPLATE, "language": "en"},
            idempotent=True,
        )

    def withdrawal(self, consent_id: str) -> dict[str, Any]:
        """Have the partner open a withdrawal for this customer to sign."""
        return self.parties.partner.post(f"/v1/consents/{consent_id}/withdrawal", {})
