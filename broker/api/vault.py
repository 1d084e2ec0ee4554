"""Customers' vaults: the key to seal to, what wallets put there, what there is and was."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Header, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import Ctx, OfficerCaller, PartnerCaller, TenantId
from broker.api.idempotency import Answer, IdempotencyKey, canonical, run
from broker.store.vault import EnvelopeRow
from broker.usecases import sealing_key, vault
from wallet_adapters.envelope import CONTENT, ENVELOPE_TYPE, KEY_AGREEMENT, MEDIA_TYPE
from wallet_adapters.key_jwt import MAX_CHARACTERS

router = APIRouter(tags=["vault"])

_COORDINATE = Field(default=None, max_length=43, description="32 bytes, base64url.")


class SealingKeyIn(BaseModel):
    """A public JWK; other members are left out."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "kty": "EC",
                    "crv": "P-256",
                    "x": "dtcb2cvdgdej9HrjqroQenWAsaNi2YWnZ7ODLsb6CxY",
                    "y": "E9g5HjkxXt5B71hzFdL8L5xbHkoM6i1iL6MIT0M5lsE",
                }
            ]
        },
    )
    kty: str = Field(description="`EC` or `OKP`.", max_length=8)
    crv: str = Field(description="`P-256` or `X25519`.", max_length=16)
    x: str | None = _COORDINATE
    y: str | None = _COORDINATE


class SealingKeyOut(BaseModel):
    """The key as wallets get it; `kid` is its thumbprint (RFC 7638)."""

    kty: str
    crv: str
    x: str
    y: str | None = None
    kid: str


class PlaceOut(BaseModel):
    """What a wallet needs to seal an attribute to a partner."""

    partner: str
    vaults: list[str] = Field(description="Names of vaults, the usual one first.")
    sealing_key: SealingKeyOut
    algorithm: str = Field(description="`alg` of an envelope.")
    encryption: str = Field(description="`enc` of an envelope.")
    type: str = Field(description="`typ` of an envelope.")
    audience: str = Field(description="`aud` of a vault reference.")
    max_bytes: int
    maskings: dict[str, list[str]] = Field(
        description=(
            "In which maskings (`none` for as it is) attributes are asked for: put an envelope for "
            "each. Attributes that are not here are asked for as they are."
        )
    )


class EnvelopeOut(BaseModel):
    """A sealed attribute in a vault, or that it was deleted."""

    id: str
    consent: str
    attribute: str
    masking: str
    vault: str
    kid: str = Field(description="Thumbprint of the partner's key that it is sealed to.")
    digest: str = Field(description="SHA-256, base64url.")
    size: int
    state: str = Field(description="`stored`, `ending` (the consent has ended) or `deleted`.")
    created_at: int
    deleted_at: int | None = Field(description="When it was gone from the vault, Unix seconds.")
    entry: str | None = Field(description="The entry in the log that says so.")


class EnvelopesOut(BaseModel):
    """Envelopes, oldest first."""

    envelopes: list[EnvelopeOut]


@router.put("/v1/sealing-key", response_model=SealingKeyOut, response_model_exclude_none=True)
def put_sealing_key(
    ctx: Ctx, caller: PartnerCaller, body: SealingKeyIn, key: IdempotencyKey = None
) -> Response:
    """Register the public key that wallets seal data to for you; keep the private one.

    It takes the place of the one before, whose envelopes stay yours to open. The log has its
    thumbprint, so that a key that you did not register can be found there.
    """
    jwk = body.model_dump(exclude_none=True)

    def work() -> Answer:
        made = sealing_key.set_sealing_key(ctx, caller.tenant_id, caller.client_id, jwk)
        return Answer(200, orjson.dumps(made))

    answer = run(ctx, caller, b"PUT /v1/sealing-key\n" + canonical(jwk), key, work)
    return Response(answer.body, status_code=answer.status, media_type="application/json")


@router.get("/v1/vaults/{partner_id}", response_model=PlaceOut, response_model_exclude_none=True)
def get_place(ctx: Ctx, tenant_id: TenantId, partner_id: str) -> JSONResponse:
    """For wallets: where envelopes for a partner may be put, and the key to seal them to."""
    found = sealing_key.place_of(ctx, tenant_id, partner_id)
    told = {
        "partner": found.partner_id,
        "vaults": list(found.vaults),
        "sealing_key": dict(found.key),
        "algorithm": KEY_AGREEMENT,
        "encryption": CONTENT,
        "type": ENVELOPE_TYPE,
        "audience": found.audience,
        "max_bytes": ctx.settings.max_body_bytes,
        "maskings": {name: list(wanted) for name, wanted in found.maskings.items()},
    }
    return JSONResponse(
        told, headers={"Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"}
    )


@router.put("/v1/envelopes/{consent_id}/{attribute}", status_code=201)
def put_envelope(
    ctx: Ctx,
    tenant_id: TenantId,
    consent_id: Annotated[str, Path(max_length=64)],
    attribute: Annotated[str, Path(max_length=200)],
    body: Annotated[bytes, Body(media_type=MEDIA_TYPE, description="A JWE in compact form.")],
    reference: Annotated[
        str,
        Header(
            alias="Vault-Reference",
            max_length=MAX_CHARACTERS,
            description=(
                "A compact JWS of type `vault-reference+jwt` by a key of the customer's credential "
                "copies, with that key as `jwk` in its header. Its claims, all of them and no "
                "other: `aud`, `iat`, `consent`, `attribute`, `masking`, `vault`, `kid`, `digest`, "
                "`size`."
            ),
        ),
    ],
) -> EnvelopeOut:
    """For wallets: put an attribute, sealed to the partner of a consent, into a vault.

    The wallet's signed reference is all the authority there is; the same reference again
    changes nothing. It takes the place of an older envelope of the attribute in the same masking.
    """
    return envelope_out(vault.put_envelope(ctx, tenant_id, consent_id, attribute, reference, body))


@router.get("/v1/envelopes")
def get_envelopes(
    ctx: Ctx,
    caller: OfficerCaller,
    consent: Annotated[str, Query(min_length=1, max_length=64)],
) -> EnvelopesOut:
    """For officers: which envelopes there are under a consent, and which were deleted, when."""
    found = vault.envelopes(ctx, caller.tenant_id, consent)
    return EnvelopesOut(envelopes=[envelope_out(row) for row in found])


def envelope_out(row: EnvelopeRow) -> EnvelopeOut:
    """The wire form of an envelope's row."""
    names = ("id", "attribute", "masking", "vault", "kid", "digest", "size", "created_at")
    values: dict[str, Any] = {name: getattr(row, name) for name in (*names, "deleted_at")}
    return EnvelopeOut(
        consent=row.consent_id,
        state="stored" if row.state == "writing" else row.state,
        entry=row.entry_id,
        **values,
    )
