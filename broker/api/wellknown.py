"""Metadata for wallets and verifiers: the issuer, its keys, the types of its credentials."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from broker.api.deps import Ctx, TenantId
from broker.usecases import metadata

router = APIRouter(tags=["metadata"])

DID_DOCUMENT = "application/did+json"
PUBLIC = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}


@router.get("/.well-known/openid-credential-issuer")
def get_issuer(ctx: Ctx, tenant_id: TenantId) -> JSONResponse:
    """What credentials are issued here, and how (OpenID4VCI 1.0, section 12.2)."""
    return JSONResponse(metadata.issuer(ctx, tenant_id), headers=PUBLIC)


@router.get("/.well-known/oauth-authorization-server")
def get_authorization_server(ctx: Ctx, tenant_id: TenantId) -> JSONResponse:
    """How tokens are had here (RFC 8414)."""
    return JSONResponse(metadata.authorization_server(ctx, tenant_id), headers=PUBLIC)


@router.get("/.well-known/jwt-vc-issuer")
def get_jwt_vc_issuer(ctx: Ctx, tenant_id: TenantId) -> JSONResponse:
    """The keys that credentials are signed by (SD-JWT VC draft-24, JWT VC issuer metadata)."""
    return JSONResponse(metadata.jwt_vc_issuer(ctx, tenant_id), headers=PUBLIC)


@router.get(
    "/.well-known/did.json",
    response_class=Response,
    responses={200: {"content": {DID_DOCUMENT: {}}}},
)
@router.get("/did.json", include_in_schema=False)  # did:web with a path has no well-known part
def get_did_document(ctx: Ctx, tenant_id: TenantId) -> JSONResponse:
    """The same keys as a did:web document."""
    return JSONResponse(
        metadata.did_document(ctx, tenant_id), headers=PUBLIC, media_type=DID_DOCUMENT
    )


@router.get("/vct/{name}/{version}")
def get_type_metadata(ctx: Ctx, tenant_id: TenantId, name: str, version: str) -> JSONResponse:
    """What a type of credential holds and how to show it (SD-JWT VC draft-24, type metadata)."""
    return JSONResponse(metadata.credential_type(ctx, tenant_id, name, version), headers=PUBLIC)
