"""docs/playbooks/compromised-issuer-key.md, command by command, with a thief who has the key."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import httpx2
import pytest

from broker.composition import build_context
from broker.domain.bundle import pack, unpack
from broker.domain.evidence import MANIFEST_TYPE, Report, file_hash, verify_evidence
from broker.domain.trust import Trust
from broker.outbound.client import Client
from broker.settings import read_settings
from credentials.issue import CREDENTIAL_TYPE
from credentials.jcs import canonical
from credentials.jws import Signer, parse_jws, sign_jws
from credentials.keys import SoftwareKey
from credentials.sdjwt import issue_sd_jwt, parse
from dev.running import Broker, running_broker
from tests.broker.journeys import Holder, client, trust_of
from wallet_adapters.loopback import HeldCredential
from wallet_adapters.loopback.errors import PeerRefused

LONGEST_WAIT = 30


class Case:
    """A broker whose issuer key was stolen between one customer's consent and another's."""

    def __init__(self, broker: Broker, partner: Client, officer: Client) -> None:
        self.broker, self.partner, self.officer = broker, partner, officer
        self.old_trust = trust_of(broker)
        self.early = self.customer()
        self.early_consent = self.early.grant()
        self.old_bundle = self.evidence(self.early_consent)
        time.sleep(2)  # the checkpoint of all this is then older than the theft
        self.since = int(time.time())
        self.stolen, self.stolen_x5c = self._steal()
        time.sleep(1)
        self.late = self.customer()
        self.late_consent = self.late.grant()

    def customer(self) -> Holder:
        holder = Holder(self.partner, list(self.old_trust.roots))
        holder.join()
        return holder

    def evidence(self, consent_id: str) -> bytes:
        return self.officer.get(f"/v1/consents/{consent_id}/evidence").content

    def say(self, *words: str) -> dict[str, Any]:
        """A command of the playbook."""
        done = self.broker.run("keys", *words, "--json")
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def partner_id(self) -> str:
        """Of the demonstration's partner."""
        told = json.loads((self.broker.home / "demo-clients.json").read_text())
        client_id: str = told["partner"]["client_id"]
        return client_id

    def leaf_of(self, consent_id: str) -> str:
        credential = self.partner.get(f"/v1/consents/{consent_id}/credential").text
        return _leaf(credential)

    def published_keys(self) -> set[str]:
        told = httpx2.get(f"{self.broker.address}/.well-known/jwt-vc-issuer").json()
        return {key["kid"] for key in told["jwks"]["keys"]}

    def _steal(self) -> tuple[Signer, tuple[str, ...]]:
        """Whoever has the database and the master key has the private key."""
        ctx = build_context(read_settings(self.broker.environment))
        with closing(ctx.db):
            key = ctx.keys.issuer("demo")
        return key.signer, key.x5c


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with ExitStack() as stack:
        broker = stack.enter_context(running_broker(tmp_path_factory.mktemp("stolen")))
        partner = stack.enter_context(client(broker, "partner"))
        officer = stack.enter_context(client(broker, "officer"))
        made = Case(broker, partner, officer)
        stack.callback(made.early.close)
        stack.callback(made.late.close)
        yield made


@pytest.mark.timeout(600)
def test_the_playbook(case: Case) -> None:
    # 1. Which key, and since when.
    listed = case.say("list")["keys"]
    (active,) = [key for key in listed if (key["purpose"], key["tenant"]) == ("issuer", "demo")]
    assert active["state"] == "active"
    stolen_leaf = case.stolen_x5c[0]
    # 2. Say so.
    told = case.say("compromised", active["id"], "--since", str(case.since))
    assert (told["key"], told["since"]) == (active["id"], case.since)
    assert told["wallet_copies_refused"] > 0
    assert told["replaced_by"] != active["id"]
    # What happens at once.
    _until(lambda: case.published_keys() == {told["replaced_by"]})
    did = httpx2.get(f"{case.broker.address}/.well-known/did.json").text
    assert active["id"] not in did
    status = parse(case.partner.get(f"/v1/consents/{case.early_consent}/credential").text)
    uri = status.payload()["status"]["status_list"]["uri"]
    _until(lambda: _leaf(httpx2.get(uri).text) != stolen_leaf)
    # 3. Customers: whose copy is older goes on, whose is younger is invited anew by an officer.
    case.early.grant()
    with pytest.raises(PeerRefused):
        case.late.grant()
    body = {"subject_ref": case.late.subject_ref, "grade": "verified_person", "rebind": True}
    body["partner"] = case.partner_id()
    case.late.wallet.credentials.clear()
    case.late.accept(case.officer.post("/v1/invitations", body, idempotent=True))
    case.late.grant()
    # 4. The new trust file.
    trust = trust_of(case.broker)
    assert [(key.since, key.certificate) for key in trust.compromised] == [
        (case.since, active["certificate_sha256"])
    ]
    # 5. Evidence of the window is not believed until its credentials are issued again.
    assert verify_evidence(case.old_bundle, trust).verdict == "verified"
    refused = verify_evidence(case.evidence(case.late_consent), trust)
    assert refused.failure is not None
    assert refused.failure.code == "keys"
    assert case.leaf_of(case.late_consent) == stolen_leaf
    done = case.say("reissue")
    assert done["reissued"] >= 2
    assert case.say("reissue")["reissued"] == 0
    assert case.leaf_of(case.late_consent) != stolen_leaf
    for consent_id in (case.late_consent, case.early_consent):
        report = verify_evidence(case.evidence(consent_id), trust)
        assert report.verdict == "verified", report.failure
    # The partner's copy too.
    own = case.partner.get(f"/v1/consents/{case.late_consent}/evidence").content
    assert verify_evidence(own, trust).verdict == "verified"
    # 6. The officer's old copies verify with the new file, by the command that officers use.
    (case.broker.home / "old.zip").write_bytes(case.old_bundle)
    (case.broker.home / "trust.json").write_text(json.dumps(trust.to_json()))
    checked = case.broker.run(
        *("evidence", "verify", str(case.broker.home / "old.zip"), "--json"),
        *("--trust", str(case.broker.home / "trust.json")),
    )
    assert checked.returncode == 0, checked.stdout
    _the_thief_gets_nothing(case, trust)


def _the_thief_gets_nothing(case: Case, trust: Trust) -> None:
    before = case.since - 1  # as long as the certificate was valid
    # A customer credential of the victim's, dated back, for a key of the thief's.
    request = case.early.ask()
    victim = case.early.wallet.credentials[0]
    own = SoftwareKey.generate("ES256")
    payload = parse(victim.credential).payload()
    forged = _signed(case, {**payload, "iat": before, "cnf": {"jwk": own.public_jwk()}})
    thief = Holder(case.partner, list(trust.roots), case.early.subject_ref)
    held = {**vars(victim), "credential": forged, "holder_key": own.private_jwk()}
    thief.wallet.credentials = [HeldCredential(**held)]
    with closing(thief), pytest.raises(PeerRefused):
        thief.sign(request)
    # A consent credential in a bundle: the log names another.
    files = unpack(case.old_bundle)
    consent = parse(files["credential/consent.txt"].decode()).payload()
    wider = _signed(case, {**consent, "attributes": [*consent["attributes"], "medical_summary"]})
    faked = _bundle(case, {**files, "credential/consent.txt": wider.encode()}, before)
    assert _failed(faked, trust) in {"credentials", "story"}
    same = _signed(case, {**consent, "iat": consent["iat"] - 60})
    faked = _bundle(case, {**files, "credential/consent.txt": same.encode()}, before)
    assert _failed(faked, trust) == "story"
    # A list of files that leaves a withdrawal out: of today, and dated back.
    newest = case.early.grant()
    case.officer.post(f"/v1/consents/{newest}/withdrawal", {})
    whole = unpack(case.evidence(newest))
    last = max(name for name in whole if name.startswith("log/0") and name.endswith(".json"))
    assert json.loads(whole[last])["entry"]["type"] == "consent.withdrawn"
    less = {name: data for name, data in whole.items() if not name.startswith(last[:-5])}
    for created_at in (int(time.time()), before):
        assert _failed(_bundle(case, less, created_at), trust) in {"keys", "story"}
    assert _failed(_bundle(case, unpack(case.old_bundle), int(time.time())), trust) == "keys"
    # Nothing of that was a matter of the old trust file: with it the thief's list would stand.
    assert verify_evidence(case.old_bundle, case.old_trust).verdict == "verified"
    again = verify_evidence(
        _bundle(case, unpack(case.old_bundle), int(time.time())), case.old_trust
    )
    assert again.verdict == "verified"


def test_a_root_cannot_be_marked(case: Case) -> None:
    (root,) = [key for key in case.say("list")["keys"] if key["purpose"] == "root"]
    done = case.broker.run("keys", "compromised", root["id"], "--since", "0")
    assert done.returncode == 1
    assert "playbooks" in done.stderr
    unknown = case.broker.run("keys", "compromised", "k-none", "--since", "0")
    assert (unknown.returncode, "keys list" in unknown.stderr) == (1, True)
    assert case.broker.run("keys", "compromised", "k", "--since", "soon").returncode == 2


def _signed(case: Case, payload: dict[str, Any]) -> str:
    header = {"typ": CREDENTIAL_TYPE, "x5c": list(case.stolen_x5c)}
    return issue_sd_jwt(payload, (), case.stolen, header)


def _bundle(case: Case, files: dict[str, bytes], created_at: int) -> bytes:
    """The files under a list that the thief has signed."""
    said = json.loads(parse_jws(files["manifest.jws"].decode(), typ=MANIFEST_TYPE).payload)
    rest = {name: data for name, data in files.items() if name != "manifest.jws"}
    said |= {
        "created_at": created_at,
        "state": "granted",
        "files": {name: file_hash(data) for name, data in rest.items()},
    }
    header = {"typ": MANIFEST_TYPE, "x5c": list(case.stolen_x5c)}
    signed = sign_jws(case.stolen, header, canonical(said))
    return pack({**rest, "manifest.jws": signed.encode()})


def _failed(data: bytes, trust: Trust) -> str:
    report: Report = verify_evidence(data, trust)
    assert report.failure is not None
    return report.failure.code


def _leaf(credential: str) -> str:
    header = json.loads(base64.urlsafe_b64decode(credential.partition(".")[0] + "=="))
    leaf: str = header["x5c"][0]
    return leaf


def _until(holds: Any) -> None:  # noqa: ANN401 (a question)
    deadline = time.monotonic() + LONGEST_WAIT
    while not holds():
        assert time.monotonic() < deadline, "the workers have not followed"
        time.sleep(0.2)
