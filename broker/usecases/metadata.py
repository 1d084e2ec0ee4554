"""What the broker says about itself: metadata documents for wallets and verifiers."""

from collections.abc import Sequence
from typing import Any

import orjson

from broker.domain.addresses import tenant_url
from broker.domain.credential_types import CREDENTIAL_TYPES, CUSTOMER, MEMBERSHIP, CredentialType
from broker.domain.errors import NotFound
from broker.domain.membership import ALGORITHMS as NODE_ALGORITHMS
from broker.domain.membership import CONFIGURATION as MEMBERSHIP_CONFIGURATION
from broker.store import registry
from broker.usecases.attribute_keys import published_keys
from broker.usecases.attribute_type import attribute_types
from broker.usecases.context import Context
from broker.usecases.invitation import CUSTOMER_CONFIGURATION
from broker.usecases.issuance import BATCH_SIZE, PROOF_ALGORITHMS
from credentials import did
from wallet_adapters.oauth.dpop import ALGORITHMS as DPOP_ALGORITHMS
from wallet_adapters.openid4vci import (
    CredentialConfiguration,
    authorization_server_metadata,
    issuer_metadata,
)
from wallet_adapters.openid4vci.attributes import AttributesConfiguration, configuration_id


def issuer(ctx: Context, tenant_id: str) -> dict[str, Any]:
    """The credential issuer metadata of a tenant (OpenID4VCI 1.0, section 12.2.4)."""
    base = _base(ctx, tenant_id)
    with ctx.db.reading() as tx:
        party = registry.tenant_party(tx, tenant_id)
    return issuer_metadata(
        issuer_url=base,
        credential_endpoint=f"{base}/openid4vci/credential",
        nonce_endpoint=f"{base}/openid4vci/nonce",
        deferred_credential_endpoint=f"{base}/openid4vci/deferred_credential",
        notification_endpoint=f"{base}/openid4vci/notification",
        credential_configurations={
            CUSTOMER_CONFIGURATION: _configuration(
                ctx, tenant_id, CUSTOMER, CUSTOMER_CONFIGURATION, PROOF_ALGORITHMS
            ),
            MEMBERSHIP_CONFIGURATION: _configuration(
                ctx, tenant_id, MEMBERSHIP, MEMBERSHIP_CONFIGURATION, NODE_ALGORITHMS
            ),
            **_attributes(ctx, tenant_id),
        },
        names={"zh-CN": party.name.zh, "en": party.name.en},
        batch_size=BATCH_SIZE,
    )


def _configuration(
    ctx: Context,
    tenant_id: str,
    kind: CredentialType,
    scope: str,
    proof_algorithms: Sequence[str],
) -> CredentialConfiguration:
    """A kind of SD-JWT VC on offer.

    Each has a scope (HAIP 1.0, section 4.1). Which ones may be asked for by it is what the
    authorization server says: a membership comes by pre-authorized code alone.
    """
    return CredentialConfiguration(
        vct=_base(ctx, tenant_id) + kind.path,
        scope=scope,
        names={"zh-CN": kind.label.zh, "en": kind.label.en},
        description=kind.description.en,
        claims={name: {"zh-CN": label.zh, "en": label.en} for name, label in kind.claims.items()},
        signing_algorithms=(ctx.keys.issuer(tenant_id).signer.alg,),
        proof_algorithms=proof_algorithms,
    )


def _attributes(ctx: Context, tenant_id: str) -> dict[str, AttributesConfiguration]:
    """The credentials of attributes that a tenant issues, with the keys whose signatures stand."""
    kinds = attribute_types(ctx, tenant_id)
    keys = published_keys(ctx, tenant_id) if kinds else ()
    return {
        configuration_id(kind.schema.id): AttributesConfiguration(kind.header, keys)
        for kind in kinds
    }


def authorization_server(ctx: Context, tenant_id: str) -> dict[str, Any]:
    """The authorization server metadata of a tenant (RFC 8414)."""
    base = _base(ctx, tenant_id)
    return authorization_server_metadata(
        issuer_url=base,
        token_endpoint=f"{base}/oauth/token",
        scopes=(CUSTOMER_CONFIGURATION,),
        dpop_algorithms=DPOP_ALGORITHMS,
        authorization_endpoint=f"{base}/oauth/authorize",
        pushed_request_endpoint=f"{base}/oauth/par",
        revocation_endpoint=f"{base}/oauth/revoke",
    )


def jwt_vc_issuer(ctx: Context, tenant_id: str) -> dict[str, Any]:
    """The keys of a tenant's credentials (SD-JWT VC draft-24, JWT VC issuer metadata).

    Retired ones too, whose signatures stand; none that somebody else may hold. The newest first.
    """
    jwks = [
        orjson.loads(row.public_jwk) | {"kid": row.id, "use": "sig", "alg": row.alg}
        for row in ctx.keys.issuers(tenant_id)
    ]
    return {"issuer": _base(ctx, tenant_id), "jwks": {"keys": jwks}}


def did_document(ctx: Context, tenant_id: str) -> dict[str, Any]:
    """The did:web document of a tenant, with the same keys of its credentials."""
    name = did.did_web(_base(ctx, tenant_id))
    keys = {row.id: orjson.loads(row.public_jwk) for row in ctx.keys.issuers(tenant_id)}
    return did.did_document(name, keys)


def credential_type(ctx: Context, tenant_id: str, name: str, version: str) -> dict[str, Any]:
    """The type metadata of a tenant's credentials; raises `NotFound`."""
    kind = CREDENTIAL_TYPES.get(f"/vct/{name}/{version}")
    if kind is None:
        raise NotFound("no such credential type")
    return kind.metadata(_base(ctx, tenant_id))


def _base(ctx: Context, tenant_id: str) -> str:
    return tenant_url(ctx.settings.public_url, tenant_id)
