"""The credentials about a consent: what the partner's holds, what the customer's, what neither."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import insert

from broker.domain.credential_types import CONSENT, CUSTOMER, RECEIPT
from broker.domain.guardian import GuardianTerms
from broker.domain.terms import (
    AlgorithmTerms,
    AttributeTerms,
    Label,
    Notice,
    Party,
    PurposeTerms,
    Terms,
    Territories,
)
from broker.store import tables
from broker.usecases.consent_credential import issue_consent_credential, issue_receipt
from broker.usecases.invitation import pairwise_id
from broker.usecases.status import Allocated, allocate, mark_changed
from credentials.errors import Revoked
from credentials.jcs import b64url
from credentials.keys import SoftwareKey, thumbprint
from credentials.model import VerifiedCredential
from credentials.status import StatusList, verify_status_token
from credentials.verify import verify_credential
from tests.broker.issuance_world import OTHER_PARTNER, PARTNER, PUBLIC_URL, START, World, world

DAY = 86_400
HASHES = {"presentation": b64url(bytes(32)), "request_objects": [], "terms": b64url(bytes(32))}
REGISTERED = {"iss", "iat", "nbf", "exp", "vct", "cnf", "status"}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def terms(partner_id: str = PARTNER, consent_id: str = "c-1") -> Terms:
    def both(text: str) -> Label:
        return Label(zh=text, en=text)

    return Terms(
        consent_id=consent_id,
        controller=Party("demo", both("Example Retail"), "privacy@retail.example", "CN"),
        partner=Party(partner_id, both("Brand"), "privacy@brand.example", "CN"),
        purpose=PurposeTerms(
            "dpv:ServicePersonalisation", both("Personalisation"), necessary_for_service=False
        ),
        algorithm=AlgorithmTerms(
            id="churn-v3",
            version="1",
            label=both("Churn"),
            explanation=both("Why"),
            automated_decision=False,
            risk_tier="limited",
        ),
        actions=("read", "profile"),
        attributes=(
            AttributeTerms(
                id="purchase_count_12m",
                label=both("Purchases"),
                category="buying",
                sensitive=False,
                required=True,
                stored_in="CN",
            ),
        ),
        separate=("third_party",),
        territories=Territories(("CN",), ("CN",), ("CN",)),
        retention_days=180,
        valid_from=START,
        valid_until=START + 180 * DAY,
        max_uses=None,
        refusal=both("Nothing changes"),
        notice=Notice("loyalty-churn", 1, "zh", b64url(bytes(32))),
        withdrawal=f"{PUBLIC_URL}/c/page",
    )


def issue(
    broker: World, agreed: Terms, key: SoftwareKey, subject_id: str = "s-1"
) -> tuple[str, Allocated]:
    with broker.ctx.db.transaction() as tx:
        place = allocate(broker.ctx, tx, "demo", agreed.partner.id)
    credential = issue_consent_credential(
        broker.ctx,
        tenant_id="demo",
        terms=agreed,
        partner_jwk=key.public_jwk(),
        pairwise=pairwise_id(broker.ctx, subject_id, agreed.partner.id),
        status=place,
        evidence_hashes=HASHES,
        grade="signed_and_displayed",
        now=broker.time[0],
    )
    return credential, place


def verify(broker: World, credential: str, kind: str) -> VerifiedCredential:
    """Verify as a stranger who fetches the status list."""

    def fetch(uri: str) -> StatusList:
        return verify_status_token(
            broker.http.get(uri).text,
            uri=uri,
            anchors=broker.ctx.keys.anchors(),
            now=broker.time[0],
        )

    return verify_credential(
        credential,
        anchors=broker.ctx.keys.anchors(),
        now=broker.time[0],
        issuer=PUBLIC_URL,
        vct=f"{PUBLIC_URL}/vct/{kind}/1",
        status=fetch,
    )


def test_the_partner_gets_all_that_a_crm_must_keep(broker: World) -> None:
    key, agreed = SoftwareKey.generate("ES256"), terms()
    credential, place = issue(broker, agreed, key)
    verified = verify(broker, credential, "consent")
    assert verified.holder_jwk is not None
    assert thumbprint(verified.holder_jwk) == thumbprint(key.public_jwk())
    assert verified.status is not None
    assert (verified.status.uri, verified.status.index) == (place.uri, place.index)
    assert verified.expires_at == agreed.valid_until
    assert {k: v for k, v in verified.claims.items() if k not in REGISTERED} == {
        "sub": pairwise_id(broker.ctx, "s-1", PARTNER),
        "consent_id": "c-1",
        "controller": "demo",
        "recipients": [PARTNER],
        "purpose": "dpv:ServicePersonalisation#algo:churn-v3@1",
        "actions": ["read", "profile"],
        "attributes": ["purchase_count_12m"],
        "separate": ["third_party"],
        "territories": {"storage": ["CN"], "processing": ["CN"], "access": ["CN"]},
        "retention_days": 180,
        "legal_basis": list(agreed.legal_basis),
        "terms_hash": agreed.hash(),
        "evidence": HASHES,
        "signature_grade": "signed_and_displayed",
    }


def test_the_partner_learns_no_second_of_an_act(broker: World) -> None:
    broker.advance(59)
    credential, _ = issue(broker, terms(), SoftwareKey.generate("ES256"))
    assert verify(broker, credential, "consent").issued_at == START


def test_two_partners_have_nothing_of_a_customer_in_common(broker: World) -> None:
    key = SoftwareKey.generate("ES256")
    payloads = []
    for partner_id, consent_id in ((PARTNER, "c-1"), (OTHER_PARTNER, "c-2")):
        credential, _ = issue(broker, terms(partner_id, consent_id), key)
        payloads.append(verify(broker, credential, "consent").claims)
    one, other = payloads
    same = {name for name in one if one[name] == other[name]}
    # What is left equal are the terms, the issuer, and what this test itself gave both.
    assert same == REGISTERED - {"status"} | {
        "controller", "purpose", "actions", "attributes", "separate", "territories",
        "retention_days", "legal_basis", "evidence", "signature_grade",
    }  # fmt: skip


def test_a_withdrawn_consent_is_revoked_for_everybody(broker: World) -> None:
    credential, place = issue(broker, terms(), SoftwareKey.generate("ES256"))
    verify(broker, credential, "consent")
    withdrawn(broker, place)
    broker.advance(1)
    with pytest.raises(Revoked):
        verify(broker, credential, "consent")


def test_the_receipt_holds_the_whole_terms_and_no_status(broker: World) -> None:
    agreed = terms()
    receipt = issue_receipt(
        broker.ctx,
        tenant_id="demo",
        terms=agreed,
        evidence_hashes=HASHES,
        now=broker.time[0],
    )
    broker.advance(700 * DAY)
    verified = verify(broker, receipt, "receipt")
    assert verified.status is None
    assert verified.expires_at is None
    assert verified.holder_jwk is None
    assert Terms.from_json(verified.claims["terms"]) == agreed
    assert verified.claims["withdrawal"] == agreed.withdrawal


@pytest.mark.parametrize("kind", [CUSTOMER, CONSENT, RECEIPT], ids=lambda kind: str(kind.name))
def test_the_type_metadata_names_every_claim(broker: World, kind: Any) -> None:  # noqa: ANN401
    # With all that may be left out.
    guardian = GuardianTerms("parent", alone=False)
    whole = replace(terms(), max_uses=3, minor_versions=True, guardian=guardian)
    credential, _ = issue(broker, whole, SoftwareKey.generate("ES256"))
    issued: dict[str, Mapping[str, Any]] = {
        "consent": verify(broker, credential, "consent").claims,
        "receipt": verify(broker, _receipt(broker), "receipt").claims,
        "customer": broker.accept(broker.wallet(), broker.invite())[0].claims(),
    }
    metadata = broker.http.get(kind.path).json()
    described = {claim["path"][0] for claim in metadata["claims"]}
    assert set(issued[kind.name]) - REGISTERED <= described <= set(issued[kind.name])
    for claim in metadata["claims"]:
        assert {one["locale"] for one in claim["display"]} == {"zh-CN", "en"}
        assert claim["sd"] == "never"


def _receipt(broker: World) -> str:
    return issue_receipt(
        broker.ctx,
        tenant_id="demo",
        terms=terms(),
        evidence_hashes=HASHES,
        now=broker.time[0],
    )


def withdrawn(broker: World, place: Allocated) -> None:
    """The rows of a withdrawn consent at a place."""
    common = {"tenant_id": "demo", "partner_id": PARTNER, "created_at": START}
    contact = {"id": "ct-1", "subject_ref_hash": "h", "sealed_subject_ref": b"", "grade": "none"}
    request = {
        "id": "cr-1",
        "contact_id": "ct-1",
        "template_id": "loyalty-churn",
        "template_version": 1,
        "language": "zh",
        "page_token_hash": "h",
        "short_code": "AAAA",
        "state": "open",
        "expires_at": START,
    }
    consent = {
        "id": "c-1",
        "contact_id": "ct-1",
        "request_id": "cr-1",
        "item": "base",
        "state": "withdrawn",
        "version": 2,
        "terms": orjson.dumps(terms().to_json()).decode(),
        "terms_hash": terms().hash(),
        "status_list_id": place.list_id,
        "status_index": place.index,
    }
    with broker.ctx.db.transaction() as tx:
        for table, values in (
            (tables.Contact, contact),
            (tables.ConsentRequest, request),
            (tables.Consent, consent),
        ):
            tx.execute(insert(table).values(**common, **values))
        mark_changed(tx, place.list_id)
