"""A node joins a running broker's consortium: by one command, and by a wallet nobody here wrote."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner, Result

from broker.cli import app
from credentials.jcs import b64url_decode
from credentials.keys import SoftwareKey
from dev.running import Broker
from tests.interop.parties import HERE, Parties, Wallet, parties_of
from tests.npm import installed
from tests.programs import require


@pytest.fixture(scope="module")
def parties(broker_server: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    with parties_of(broker_server, tmp_path_factory.mktemp("trust")) as made:
        yield made


class Engineer:
    """Who has a member's keys in a folder, and no access to the broker's machine."""

    def __init__(self, parties: Parties, folder: Path) -> None:
        self.parties, self.folder = parties, folder
        self.broker = parties.broker
        clients = json.loads((self.broker.home / "demo-clients.json").read_text())
        self.receipts = SoftwareKey.generate("ES256")
        self.client = folder / "client.jwk"
        self.client.write_text(json.dumps(clients["partner"]["private_jwk"]))
        (folder / "receipts.jwk").write_text(json.dumps(self.receipts.private_jwk()))
        # As `python -m federation.flower node-key` writes it.
        (folder / "node.key").write_bytes(
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            )
        )

    def join(self, *more: str, entered: str | None = None) -> Result:
        """The one command: it needs nothing but HTTP and these files."""
        return CliRunner().invoke(
            app,
            [
                *("federation", "member", "join", "--json"),
                *("--broker", self.broker.address, "--client-id", self.parties.partner_id),
                *("--client-key", str(self.client), "--trust", str(self.parties.trust_file)),
                *("--node-key", str(self.folder / "node.key")),
                *("--receipt-key", str(self.folder / "receipts.jwk")),
                *("--credential", str(self.folder / "membership")),
                *more,
            ],
            input=entered,
            catch_exceptions=False,
        )


def offer(parties: Parties) -> dict[str, str]:
    done = parties.broker.run("federation", "member", "offer", parties.partner_id, "--json")
    assert done.returncode == 0, done.stderr
    offered: dict[str, str] = json.loads(done.stdout)
    return offered


def revoke(parties: Parties) -> dict[str, Any]:
    """End the membership; what there was of it."""
    path = f"/v1/federation/members/{parties.partner_id}/revocation"
    return parties.officer.post(path, {})


def test_an_engineer_joins_in_one_command(parties: Parties, tmp_path: Path) -> None:
    engineer, offered = Engineer(parties, tmp_path), offer(parties)

    joined = engineer.join("--offer", offered["offer"], "--tx-code", offered["tx_code"])

    assert joined.exit_code == 0, joined.stderr
    assert json.loads(joined.stdout)["state"] == "admitted"
    assert stat.S_IMODE((tmp_path / "membership").stat().st_mode) == 0o600
    kept = (tmp_path / "membership").read_text()
    # Again, with what was kept.
    assert engineer.join().exit_code == 0
    # The offer is used up.
    used = engineer.join("--offer", offered["offer"], "--tx-code", offered["tx_code"])
    assert (used.exit_code, used.stdout) == (1, "")
    assert (tmp_path / "membership").read_text() == kept, "what was not replaced stays"
    assert not list(tmp_path.glob(".new-*"))

    revoked = revoke(parties)
    assert revoked["memberships"] == [offered["membership_id"]]
    assert revoked["member"]["receipt_key"] == engineer.receipts.public_jwk()
    refused = engineer.join()
    assert (refused.exit_code, "not admitted" in refused.stderr) == (1, True)

    # A new one, by what other users of the machine do not see; nor do they the credential.
    again = offer(parties)
    (tmp_path / "offer").write_text(again["offer"] + "\n")
    (tmp_path / "membership").chmod(0o644)
    entered = again["tx_code"] + "\n"
    joined = engineer.join("--offer", f"@{tmp_path / 'offer'}", "--tx-code", "-", entered=entered)
    assert joined.exit_code == 0, joined.stderr
    assert json.loads(joined.stdout)["state"] == "admitted"
    assert (tmp_path / "membership").read_text() != kept
    assert stat.S_IMODE((tmp_path / "membership").stat().st_mode) == 0o600
    assert engineer.join("--offer", f"@{tmp_path / 'nothing'}", "--tx-code", "1").exit_code == 2

    # The next test joins as this partner, by another key.
    revoke(parties)

    (tmp_path / "node.key").write_text("nothing")
    assert engineer.join().exit_code == 2


def test_a_wallet_that_nobody_here_wrote_joins(parties: Parties, tmp_path: Path) -> None:
    node = require("node", "run a wallet that nobody here wrote")
    installed(HERE, "run a wallet that nobody here wrote")
    wallet = Wallet(node, parties, tmp_path / "wallet.json", "")
    offered = offer(parties)
    received = wallet("accept", offered["offer"], offered["tx_code"], "1")
    assert received["vct"] == f"{parties.broker.address}/vct/membership/1"
    assert received["jti"] == [offered["membership_id"]]

    receipts = SoftwareKey.generate("ES256").public_jwk()
    asked = parties.partner.post("/v1/federation/join-requests", {"receipt_key": receipts})
    answered = wallet("answer", asked["wallet_link"], "membership")

    assert (answered["status"], answered["client"], answered["signed"]) == (200, "x509_hash", True)
    [shown] = answered["shown"]
    assert (shown["member"], shown["receipt_key"]) == (parties.partner_id, receipts)
    again = wallet.run("answer", asked["wallet_link"], "membership")
    assert (again.returncode != 0, "410" in again.stderr) == (True, True)
    admitted = revoke(parties)["member"]
    assert admitted["receipt_key"] == receipts
    [held] = json.loads(wallet.state.read_text())
    public = serialization.load_pem_public_key(admitted["node_public_key"].encode())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    key = SoftwareKey.from_private_jwk(held["jwk"]).public_jwk()
    as_bytes = public.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    assert as_bytes == b"\x04" + b"".join(b64url_decode(key[name]) for name in ("x", "y"))
