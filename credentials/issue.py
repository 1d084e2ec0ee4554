"""Issuing SD-JWT VC (draft-ietf-oauth-sd-jwt-vc-24)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from credentials.errors import DisclosureInvalid, Malformed
from credentials.json_reader import JsonObject
from credentials.jws import Signer
from credentials.model import StatusReference
from credentials.sdjwt import ClaimPath, issue_sd_jwt
from credentials.suites import public_part

CREDENTIAL_TYPE = "dc+sd-jwt"

ALWAYS_OPEN = ("iss", "nbf", "exp", "cnf", "vct", "vct#integrity", "status")
"""Claims that must not be selectively disclosable (draft-24, section 2.2.2.3)."""

_SET_BY_ARGUMENTS = frozenset({*ALWAYS_OPEN, "iat", "_sd_alg"})


def issue_sd_jwt_vc(
    *,
    signer: Signer,
    x5c: Sequence[str],
    issuer: str | None,
    vct: str,
    claims: Mapping[str, Any],
    disclosable: Collection[ClaimPath],
    holder_jwk: Mapping[str, Any] | None,
    status: StatusReference | None,
    issued_at: int,
    expires_at: int | None,
    not_before: int | None = None,
    vct_integrity: str | None = None,
    key_id: str | None = None,
    decoys: int = 0,
) -> str:
    """Issue a credential as `dc+sd-jwt`; the result ends in a tilde.

    `x5c` is the issuer's chain (`pki.x5c`), left out of the header if empty; `claims` are the
    type's own claims, those at `disclosable` become selectively disclosable; `holder_jwk` goes
    into `cnf.jwk` with its public members only; times are Unix seconds; `vct_integrity` is
    W3C integrity metadata of the type metadata document; `key_id` becomes `kid`.

    Raises `DisclosureInvalid` if `claims` holds a registered claim that has an argument of its
    own or `disclosable` names one, `KeyInvalid`, `Malformed`.
    """
    if taken := sorted(_SET_BY_ARGUMENTS.intersection(claims)):
        raise DisclosureInvalid(f"{', '.join(taken)} are set by arguments, not among the claims")
    first_steps = {path if isinstance(path, str) else path[0] for path in disclosable if path}
    if closed := sorted(_SET_BY_ARGUMENTS.intersection(map(str, first_steps))):
        raise DisclosureInvalid(f"{', '.join(closed)} must not be selectively disclosable")
    payload: JsonObject = {
        "iss": issuer,
        "iat": issued_at,
        "nbf": not_before,
        "exp": expires_at,
        "vct": vct,
        "vct#integrity": vct_integrity,
        "cnf": None if holder_jwk is None else {"jwk": public_part(holder_jwk)},
        "status": None if status is None else status_claim(status),
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    if not vct:
        raise Malformed("vct must not be empty")
    header: JsonObject = {"typ": CREDENTIAL_TYPE}
    if key_id is not None:
        header["kid"] = key_id
    if x5c:
        header["x5c"] = x5c
    return issue_sd_jwt(payload | dict(claims), disclosable, signer, header, decoys=decoys)


def status_claim(status: StatusReference) -> JsonObject:
    """Give the `status` claim of a referenced token (Token Status List draft-21, section 6.2)."""
    return {"status_list": {"idx": status.index, "uri": status.uri}}
