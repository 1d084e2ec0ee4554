"""A wallet and its customer on the way of the authorization code, message by message."""

import html
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from credentials.keys import SoftwareKey
from tests.broker.issuance_world import PUBLIC_URL, World
from wallet_adapters.oauth import challenge_of, make_dpop_proof, new_verifier

CLIENT = "wallet.example"
REDIRECT = "https://wallet.example/cb?x=1"
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


@dataclass
class Authorizing:
    """One wallet's try at one invitation; what it sends can be changed at every step."""

    broker: World
    invitation: dict[str, Any]
    verifier: str = field(default_factory=new_verifier)
    key: SoftwareKey | None = None

    @property
    def issuer_state(self) -> str:
        """What the offer says."""
        offer = self.broker.http.get(f"/openid4vci/offer/{self.invitation['id']}").json()
        return str(offer["grants"]["authorization_code"]["issuer_state"])

    def push(self, **changes: str | None) -> Any:  # noqa: ANN401 (an answer)
        """Push the request; a change of None leaves a field out."""
        fields: dict[str, str | None] = {
            "response_type": "code",
            "client_id": CLIENT,
            "redirect_uri": REDIRECT,
            "scope": "customer_credential",
            "state": "s-1",
            "code_challenge": challenge_of(self.verifier),
            "code_challenge_method": "S256",
            **changes,
        }
        if "issuer_state" not in changes:
            fields["issuer_state"] = self.issuer_state
        form = {name: value for name, value in fields.items() if value is not None}
        return self.broker.http.post("/oauth/par", data=form, headers=self.proof("/oauth/par"))

    def request_uri(self, **changes: str | None) -> str:
        """Push, and have it taken."""
        answer = self.push(**changes)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["request_uri"])

    def page(self, request_uri: str, client_id: str = CLIENT) -> Any:  # noqa: ANN401 (an answer)
        """Open the page."""
        query = urlencode({"client_id": client_id, "request_uri": request_uri})
        return self.broker.http.get(f"/oauth/authorize?{query}")

    def decide(self, page: Any, decision: str = "agree", **more: str) -> Any:  # noqa: ANN401
        """Press a button of the page."""
        fields = {name: html.unescape(value) for name, value in HIDDEN.findall(page.text)}
        return self.broker.http.post(
            "/oauth/authorize",
            data={**fields, "decision": decision, **more},
            headers={"Origin": PUBLIC_URL},
            follow_redirects=False,
        )

    def answer(self, **form: str) -> dict[str, str]:
        """Push, agree, and read where the browser is sent."""
        sent = self.decide(self.page(self.request_uri()), **form)
        assert sent.status_code == 303, sent.text
        return query_of(sent.headers["location"])

    def redeem(self, code: str | None, **changes: str | None) -> Any:  # noqa: ANN401 (an answer)
        """Ask for the token."""
        fields: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "client_id": CLIENT,
            "code_verifier": self.verifier,
            **changes,
        }
        form = {name: value for name, value in fields.items() if value is not None}
        return self.broker.http.post("/oauth/token", data=form, headers=self.proof("/oauth/token"))

    def proof(self, path: str) -> dict[str, str]:
        """The DPoP header of a POST, where this wallet has a key."""
        if self.key is None:
            return {}
        now = self.broker.time[0]
        return {"DPoP": make_dpop_proof(self.key, method="POST", url=PUBLIC_URL + path, now=now)}


def query_of(address: str) -> dict[str, str]:
    """The parameters of an address, each there once."""
    found = parse_qs(urlsplit(address).query, strict_parsing=True, keep_blank_values=True)
    assert all(len(values) == 1 for values in found.values())
    return {name: values[0] for name, values in found.items()}
