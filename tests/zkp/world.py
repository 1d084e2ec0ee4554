"""An issuer of typed credentials, a holder, status tokens: what these tests start from."""

import secrets
from dataclasses import dataclass, field
from typing import Self

from zkp.batch import Issuers, ProvenPresentation, verify
from zkp.bbs import sign
from zkp.keys import SecretKey
from zkp.predicates import STATUS_TOKEN
from zkp.presentation import HeldCredential, Presentation, prove
from zkp.request import ProofRequest
from zkp.schema import TYPED, Attribute, Schema, Value
from zkp.statements import Place, Statement

ISSUER = "https://issuer.example"
AUDIENCE = "https://verifier.example"
TODAY = "2026-11-26"
EPOCH = 7
CITIES = ("Beijing", "Shanghai", "Berlin", "Paris")
PERSON = Schema(
    "person/1",
    (
        Attribute("birth_date", "date"),
        Attribute("name", "text"),
        Attribute("city", "code", codes=CITIES),
        Attribute("income", "number", 0, 65_535, "CNY"),
        Attribute("balance", "number", -500, 500, "EUR"),
        Attribute("revocation_id", "identifier"),
        Attribute("employer", "text"),
        Attribute("country", "code", codes=("CN", "DE")),
    ),
)
LI: dict[str, Value] = {
    "birth_date": "2008-11-26",
    "name": "李雷",
    "city": "Berlin",
    "income": 30_000,
    "balance": -20,
    "revocation_id": "91823640172364019283640198236409123",
    "employer": "Example GmbH",
    "country": "DE",
}


@dataclass(frozen=True)
class World:
    """One issuer's key, a credential named `id` and a status token named `st`."""

    key: SecretKey
    held: dict[str, HeldCredential] = field(default_factory=dict)

    @classmethod
    def make(cls, **changed: Value) -> Self:
        made = cls(SecretKey.generate())
        made.held["id"] = made.issue(PERSON, LI | changed)
        made.held["st"] = made.token(EPOCH)
        return made

    def issue(
        self, schema: Schema, values: dict[str, Value], issuer: str = ISSUER
    ) -> HeldCredential:
        header = schema.header(issuer)
        signature = sign(self.key, header, schema.scalars(values), TYPED)
        return HeldCredential(self.key.public, header, signature, values)

    def token(self, epoch: int, revocation_id: Value = LI["revocation_id"]) -> HeldCredential:
        return self.issue(STATUS_TOKEN, {"epoch": epoch, "revocation_id": revocation_id})

    @property
    def issuers(self) -> Issuers:
        return dict.fromkeys(("id", "st", "other"), frozenset({self.key.public.data}))

    def show(self, *statements: Statement) -> tuple[ProofRequest, Presentation]:
        asked = request(*statements)
        return asked, prove(asked, self.held)

    def accept(self, asked: ProofRequest, shown: Presentation) -> ProvenPresentation:
        return verify(asked, shown, self.issuers)


def request(*statements: Statement) -> ProofRequest:
    names = sorted({name for statement in statements for name in statement.credentials})
    return ProofRequest(tuple(names), statements, secrets.token_bytes(16), AUDIENCE, b"h" * 32)


def of(attribute: str, credential: str = "id") -> Place:
    return Place(credential, attribute)
