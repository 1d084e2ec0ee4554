"""Wire types of proof requests and proofs."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from broker.api.consent_schemas import Name, SubjectRef
from broker.usecases.proof_request import OpenedProof

_KEY = "o" * 128
_EXAMPLE: dict[str, Any] = {
    "template": "loyalty-churn",
    "subject_ref": "crm-000381",
    "credentials": {
        "id": {
            "schema": "person/1",
            "issuers": [{"issuer": "https://registry.example", "key": _KEY}],
        }
    },
    "statements": [
        {
            "type": "older_than",
            "credential": "id",
            "attribute": "birth_date",
            "years": 18,
            "on": "2026-11-26",
        }
    ],
}

Text = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
CredentialName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class TrustedIssuerIn(BaseModel):
    """Whose credentials may prove it."""

    model_config = ConfigDict(extra="forbid")
    issuer: Text = Field(description="The issuer's address, as its credentials name it.")
    key: str = Field(
        pattern=r"^[A-Za-z0-9_-]{128}$", description="A BBS key of it: 96 bytes, base64url."
    )


class AskedCredentialIn(BaseModel):
    """A kind of credential and who may have issued it."""

    model_config = ConfigDict(extra="forbid")
    schema_id: Text = Field(alias="schema", description="The id of the credentials' schema.")
    issuers: list[TrustedIssuerIn] = Field(min_length=1, max_length=16)


class ProofRequestIn(BaseModel):
    """What a partner asks to be proven."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})
    template: Name = Field(
        description="The consent template for whose purpose it is asked: the proof is kept as long "
        "as that template's evidence."
    )
    subject_ref: SubjectRef | None = Field(
        default=None, description="Your own opaque contact, where decisions are to rest on it."
    )
    credentials: dict[CredentialName, AskedCredentialIn] = Field(
        min_length=1, max_length=8, description="By the names that the statements give them."
    )
    statements: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=32,
        description="As in /schemas/proof-request/1.json. None may show an attribute.",
    )
    of_contact: list[CredentialName] = Field(
        default=[],
        max_length=8,
        description="Credentials that have to be issued for this contact, of kinds with the "
        "attribute contact_id; a statement that says so is added.",
    )

    def meta(self) -> dict[str, Any]:
        """As the wallet's query has it."""
        asked = self.model_dump(by_alias=True, include={"credentials", "statements"})
        return {"version": "consent-broker-proof/1", **asked}


class ProofIn(BaseModel):
    """A proof that a partner has received."""

    model_config = ConfigDict(extra="forbid")
    request: str = Field(max_length=64, description="The proof request that it answers, yours.")
    presentation: dict[str, Any] = Field(
        description="As docs/zk.md has it: version, request, credentials, proof."
    )


class ProofRequestOut(BaseModel):
    """A proof request, and what came of it."""

    id: str
    state: str = Field(description="open, proven, refused, expired or closed")
    template: str
    credentials: dict[str, Any]
    statements: list[dict[str, Any]]
    request_hash: str = Field(description="What every proof of it is bound to, base64url.")
    proof_request: dict[str, Any] = Field(
        description="What a prover answers: for holders whom you reach without a wallet link."
    )
    wallet_link: str | None = Field(
        description="Starts a wallet, or shown as a QR code; null when nothing can be answered."
    )
    development_link: str | None = Field(
        description="The same request unsigned, for wallets in development; null in production."
    )
    entry: str | None = Field(description="The log entry that tells that it was proven.")
    created_at: int = Field(description="Unix seconds.")
    expires_at: int = Field(description="Unix seconds.")
    proven_at: int | None = Field(description="Unix seconds, by the broker's clock.")
    kept_until: int | None = Field(description="Until when the sealed proof is kept.")


def proof_request_out(opened: OpenedProof, now: int) -> ProofRequestOut:
    """The wire form of a proof request."""
    row, asked, meta = opened.row, opened.asked, opened.query.meta()
    return ProofRequestOut.model_validate(
        {
            "id": row.id,
            "state": row.state_at(now),
            "template": f"{row.template_id}@{row.template_version}",
            "credentials": meta["credentials"],
            "statements": meta["statements"],
            "request_hash": row.request_hash,
            "proof_request": opened.request.to_json(),
            "wallet_link": None if asked is None else asked.wallet_link,
            "development_link": None if asked is None else asked.development_link,
            "entry": row.entry_id,
            "created_at": row.created_at,
            "expires_at": row.expires_at,
            "proven_at": row.proven_at,
            "kept_until": row.kept_until,
        }
    )
