"""What has ended at one server has ended at the other: the next call is refused there too."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from broker.usecases.partner import (
    NewClient,
    add_partner,
    replace_partner_key,
    set_partner_state,
)
from credentials.keys import SoftwareKey, sign_jws
from tests.faults.serving import Deployment, deployment
from tests.postgres import Server

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PRE_AUTHORIZED = "urn:ietf:params:oauth:grant-type:pre-authorized_code"


@pytest.fixture(scope="module")
def two(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two servers, as on two machines."""
    url = postgres_server.create_migrated("revoked")
    with deployment(tmp_path_factory.mktemp("revoked"), url, servers=2) as made:
        yield made


class Partner:
    """A partner of its own, and its calls at either server."""

    def __init__(self, two: Deployment) -> None:
        self.two = two
        self.client: NewClient = add_partner(
            two.ctx, "demo", name=secrets.token_hex(4), name_zh="甲", contact="a", country="CN"
        )
        self.http = [httpx2.Client(base_url=server.address, timeout=30) for server in two.servers]
        self.bearer = self.token()

    def assertion(self) -> dict[str, str]:
        now, name = int(time.time()), self.client.client_id
        claims = {"iss": name, "sub": name, "aud": self.two.servers[0].address}
        claims |= {"exp": now + 60, "jti": secrets.token_hex(8)}  # type: ignore[dict-item]
        key = SoftwareKey.from_private_jwk(self.client.private_jwk)
        signed = sign_jws(key, {"typ": "JWT"}, claims)
        return {"client_assertion_type": JWT_BEARER, "client_assertion": signed}

    def token(self) -> str:
        form = {"grant_type": "client_credentials", **self.assertion()}
        answer = self.http[0].post("/oauth/token", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def call(self, server: int) -> int:
        headers = {"Authorization": f"Bearer {self.bearer}"}
        return self.http[server].get("/v1/purposes", headers=headers).status_code

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {
            "Authorization": f"Bearer {self.bearer}",
            "Idempotency-Key": secrets.token_hex(8),
        }
        answer = self.http[0].post(path, json=dict(body), headers=headers)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def wallet_token(self, subject_ref: str) -> str:
        """The token of a wallet that redeems a fresh invitation."""
        told = self.post("/v1/invitations", {"subject_ref": subject_ref, "grade": "link"})
        offer = self.http[1].get(f"/openid4vci/offer/{told['id']}").json()
        code = offer["grants"][PRE_AUTHORIZED]["pre-authorized_code"]
        form = {"grant_type": PRE_AUTHORIZED, "pre-authorized_code": code}
        return str(self.http[1].post("/oauth/token", data=form).json()["access_token"])

    def fetch(self, server: int, token: str) -> int:
        """A wallet's request for credentials, which is none: 401 where the token is none either."""
        headers = {"Authorization": f"Bearer {token}"}
        return (
            self.http[server].post("/openid4vci/credential", json={}, headers=headers).status_code
        )


@pytest.fixture
def partner(two: Deployment) -> Iterator[Partner]:
    made = Partner(two)
    yield made
    for http in made.http:
        http.close()


def test_a_token_that_was_given_back(partner: Partner) -> None:
    assert [partner.call(server) for server in (0, 1)] == [200, 200]
    form = {"token": partner.bearer, **partner.assertion()}
    assert partner.http[1].post("/oauth/revoke", data=form).status_code == 200
    assert [partner.call(server) for server in (0, 1)] == [401, 401]


def test_a_partner_that_was_suspended(partner: Partner) -> None:
    asked = partner.post(
        "/v1/consent-requests",
        {"subject_ref": "falls", "template": "loyalty-churn", "language": "en"},
    )
    wallet = partner.wallet_token("falls")
    assert [partner.fetch(server, wallet) for server in (0, 1)] == [400, 400]
    link = urlsplit(parse_qs(urlsplit(asked["wallet_link"]).query)["request_uri"][0]).path
    page = urlsplit(asked["page_url"]).path
    assert partner.http[1].get(link).status_code == 200
    with partner.http[1].stream("GET", f"{page}/events") as live:
        told = (line for line in live.iter_lines() if line.startswith("data: "))
        before = next(told)
        set_partner_state(partner.two.ctx, "demo", partner.client.client_id, "suspended")
        assert [partner.call(server) for server in (0, 1)] == [403, 403]
        assert [partner.fetch(server, wallet) for server in (0, 1)] == [401, 401]
        assert [http.get(link).status_code for http in partner.http] == [410, 410]
        assert next(told) != before, "the customer's page looks again"
    shown = partner.http[1].get(page)
    assert (shown.status_code, "openid4vp://" in shown.text) == (200, False)
    set_partner_state(partner.two.ctx, "demo", partner.client.client_id, "active")
    assert [partner.call(server) for server in (0, 1)] == [401, 401], "it does not come back"
    partner.bearer = partner.token()
    assert [partner.call(server) for server in (0, 1)] == [200, 200]


def test_a_key_that_was_replaced(partner: Partner) -> None:
    form = {"grant_type": "client_credentials", **partner.assertion()}
    partner.client = replace_partner_key(partner.two.ctx, "demo", partner.client.client_id)
    assert [partner.call(server) for server in (0, 1)] == [401, 401]
    assert partner.http[0].post("/oauth/token", data=form).status_code == 401
    partner.bearer = partner.token()
    assert [partner.call(server) for server in (0, 1)] == [200, 200]


def test_an_invitation_that_was_replaced(partner: Partner) -> None:
    older = partner.wallet_token("twice")
    newer = partner.wallet_token("twice")
    assert [partner.fetch(server, older) for server in (0, 1)] == [401, 401]
    assert [partner.fetch(server, newer) for server in (0, 1)] == [400, 400]


def test_a_consent_that_was_withdrawn(two: Deployment) -> None:
    consent_id = two.granted("withdrawn")
    officers = [two.caller("officer", server) for server in (0, 1)]
    opened = two.caller("partner", 0).post(f"/v1/consents/{consent_id}/withdrawal", {})
    assert opened.status == 202, json.dumps(opened.json)
    link = parse_qs(urlsplit(opened.json["wallet_link"]).query)["request_uri"][0]
    address = two.servers[1].address + urlsplit(link).path
    assert httpx2.get(address).status_code == 200
    assert officers[0].post(f"/v1/consents/{consent_id}/withdrawal", {}).status == 200
    assert httpx2.get(address).status_code == 410
    assert officers[1].post(f"/v1/consents/{consent_id}/withdrawal", {}).status == 409
