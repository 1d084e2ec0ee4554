"""An issuer of typed credentials, wallets that hold them, and partners that ask for proofs."""

import secrets
from dataclasses import dataclass
from typing import Any

from credentials.jcs import b64url
from tests.broker.flow_world import TEMPLATE, World
from wallet_adapters.loopback import HeldAttributes, PresentationRequest, Wallet, answer_request
from wallet_adapters.loopback.proof import asked_of, proven
from wallet_adapters.openid4vp.proof import write_proof
from zkp import TYPED, Attribute, HeldCredential, Schema, SecretKey, Value, sign

ISSUER = "https://registry.example"
BORN, ADULT_ON = "1987-03-29", "2026-11-22"
PERSON = Schema(
    "person/1",
    (
        Attribute("birth_date", "date"),
        Attribute("city", "code", codes=("Beijing", "Shanghai", "Berlin", "Paris")),
        Attribute("income", "number", 0, 65_535, "CNY"),
    ),
)
LI: dict[str, Value] = {"birth_date": BORN, "city": "Berlin", "income": 30_000}
ADULT: dict[str, Any] = {
    "type": "older_than",
    "credential": "id",
    "attribute": "birth_date",
    "years": 18,
    "on": ADULT_ON,
}


@dataclass(frozen=True)
class Registry:
    """Somebody who attests attributes, with a key of their own."""

    key: SecretKey
    issuer: str = ISSUER

    def issue(self, values: dict[str, Value], schema: Schema = PERSON) -> HeldAttributes:
        """A credential in its holder's hands."""
        header = schema.header(self.issuer)
        signature = sign(self.key, header, schema.scalars(values), TYPED)
        return HeldAttributes.of(HeldCredential(self.key.public, header, signature, values))

    def trusted(self) -> dict[str, str]:
        """As a partner names it."""
        return {"issuer": self.issuer, "key": b64url(self.key.public.data)}


def registry() -> Registry:
    """A new one."""
    return Registry(SecretKey.generate())


def holder(world: World, *held: HeldAttributes) -> Wallet:
    """A wallet with credentials of attributes."""
    return Wallet(anchors=list(world.ctx.keys.anchors()), attributes=list(held))


def asking(*statements: dict[str, Any], by: Registry, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """The body of a proof request."""
    return {
        "template": TEMPLATE,
        "credentials": {"id": {"schema": PERSON.id, "issuers": [by.trusted()]}},
        "statements": list(statements or (ADULT,)),
        **more,
    }


def ask(
    world: World,
    *statements: dict[str, Any],
    by: Registry,
    caller: str | None = None,
    **more: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Open a proof request."""
    answer = world.api(
        "POST",
        "/v1/proof-requests",
        caller,
        json=asking(*statements, by=by, **more),
        headers={"Idempotency-Key": secrets.token_hex(8)},
    )
    assert answer.status_code == 201, answer.text
    world.advance()
    opened: dict[str, Any] = answer.json()
    return opened


def show(world: World, wallet: Wallet, link: str, **how: Any) -> str | None:  # noqa: ANN401
    """Have a wallet answer a request."""
    return answer_request(wallet, link, carry=world.carry, now=world.time[0], **how)


def follow(world: World, asked: dict[str, Any], caller: str | None = None) -> dict[str, Any]:
    """The proof request as it is now."""
    found: dict[str, Any] = world.api("GET", f"/v1/proof-requests/{asked['id']}", caller).json()
    return found


def presentation(wallet: Wallet, request: PresentationRequest) -> dict[str, Any]:
    """The proof that a wallet would send, for somebody who carries it another way."""
    asked = asked_of(request)
    return write_proof(asked, proven(wallet, request, asked))


def verify(
    world: World,
    request_id: str,
    shown: dict[str, Any],
    caller: str | None = None,
    *,
    key: str = "",
    turn: bool = True,
) -> Any:  # noqa: ANN401 (an answer)
    """Hand in a proof as a partner; `turn` the log afterwards, which one thread does."""
    answer = world.api(
        "POST",
        "/v1/proofs/verify",
        caller,
        json={"request": request_id, "presentation": shown},
        headers={"Idempotency-Key": key or secrets.token_hex(8)},
    )
    if turn:
        world.advance()
    return answer
