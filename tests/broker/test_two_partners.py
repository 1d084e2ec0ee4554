"""Two partners put together all that they may fetch: it does not tell them whose it is."""

import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from broker.domain.bundle import unpack
from broker.store import tables
from credentials.errors import CredentialError
from credentials.jcs import b64url_decode
from tests.broker.flow_world import TEMPLATE, Customer, World, world
from wallet_adapters.loopback import accept_offer

WORD = re.compile(rb"[A-Za-z0-9_+/=:.-]{12,}")
PART = re.compile(rb"[A-Za-z0-9_-]{12,}")
COPY = tables.CredentialCopy.__table__  # type: ignore[attr-defined]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def bound(broker: World, customer: Customer, partner: str, subject_ref: str) -> None:
    """Bind a wallet as the contact of a partner."""
    body = {"subject_ref": subject_ref, "grade": "code"}
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    opened = broker.api("POST", "/v1/invitations", partner, json=body, headers=headers).json()
    accept_offer(
        customer.wallet,
        opened["offer_uri"],
        carry=broker.carry,
        now=broker.time[0],
        tx_code=opened["tx_code"],
    )
    broker.advance()


def fetched(broker: World, customer: Customer, partner: str, subject_ref: str) -> list[bytes]:
    """A consent given to a partner and withdrawn, and all that the partner has of it then."""
    bound(broker, customer, partner, subject_ref)
    request = broker.ask(subject_ref, TEMPLATE, caller=partner)
    consent_id = request["consents"][0]["id"]
    wanted = [f"consent_{one['item']}" for one in request["consents"]]
    customer.sign(request["wallet_link"], wanted[0])
    given = broker.api("GET", f"/v1/consents/{consent_id}", partner)
    asked = broker.withdrawal(consent_id, partner)
    customer.sign(asked.json()["wallet_link"], "same_key")
    broker.advance(2)
    token = request["page_url"].rsplit("/", 1)[1]
    answers = [given, asked] + [
        broker.api("GET", path, partner)
        for path in (
            f"/v1/consent-requests/{request['id']}",
            f"/v1/consents/{consent_id}",
            f"/v1/consents/{consent_id}/credential",
            f"/v1/consents/{consent_id}/receipt",
            f"/v1/consents/{consent_id}/evidence",
            f"/c/{token}",
            f"/c/{token}/receipt/{consent_id}",
        )
    ]
    evidence = next(one for one in answers if one.headers["content-type"] == "application/zip")
    assert b"consent.withdrawn" in evidence.content
    texts = [answer.content for answer in answers if answer is not evidence]
    # A proof's hashes are those of the public log around an act: its time, in another form.
    files = [data for name, data in unpack(evidence.content).items() if "tlog-proof" not in name]
    return [orjson.dumps(request), *texts, *files]


def words(texts: list[bytes]) -> set[bytes]:
    """Every longer word of what was fetched, and inside of what is base64url in it."""
    found: set[bytes] = set()
    while texts:
        found.update(*(WORD.findall(text) for text in texts))
        texts = [inner for text in texts for part in PART.findall(text) for inner in _inside(part)]
    return found


def _inside(part: bytes) -> Iterator[bytes]:
    try:
        inner = b64url_decode(part.decode())
    except CredentialError:
        return
    if inner.isascii() and inner[:1] in b"{[":
        yield inner


def test_what_two_partners_have_of_one_customer_is_what_they_have_of_two(broker: World) -> None:
    one, other = broker.partner, broker.second_partner()
    li, wang = broker.stranger("li"), broker.stranger("wang")
    at_one = words(fetched(broker, li, one, "a-1"))
    of_the_same = words(fetched(broker, li, other, "b-1"))
    of_another = words(fetched(broker, wang, other, "b-2"))
    assert len(at_one & of_another) > 50, "the terms and the issuer, the same for everybody"
    more = (at_one & of_the_same) - of_another
    # Times are the same for all who act in the same second, which is not of this test.
    assert not {word for word in more if not word.isdigit()}


def test_a_partners_copy_names_neither_customer_nor_copy_nor_key(broker: World) -> None:
    li = broker.customer("crm-1")
    granted = li.grant("base")
    consent_id = granted["consents"][0]["id"]
    asked: Mapping[str, Any] = broker.withdrawal(consent_id).json()
    li.sign(asked["wallet_link"], "same_key")

    def copy(caller: str) -> dict[str, bytes]:
        broker.advance(2)
        return unpack(broker.api("GET", f"/v1/consents/{consent_id}/evidence", caller).content)

    officers, partners = copy(broker.officer), copy(broker.partner)
    with broker.ctx.db.reading() as tx:
        rows = tx.execute(select(COPY.c.id, COPY.c.subject_id, COPY.c.holder_thumbprint)).all()
    secret = [value.encode() for row in rows for value in row]
    secret += [held.key.public_jwk()["x"].encode() for held in li.wallet.credentials]
    held = words(list(partners.values()))
    assert not [value for value in secret if any(value in word for word in held)]
    assert any(value in words(list(officers.values())) for value in secret)
    assert not any(b"evidence.exported" in data for data in partners.values()), "who has looked"
