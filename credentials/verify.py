"""Verification of SD-JWT VCs: the only place that turns what a stranger sent into a value.

One procedure (RFC 9901, section 7; draft-ietf-oauth-sd-jwt-vc-24, section 2.4). A credential as
issued goes through steps 1 to 8 and 17; a presentation goes through all of them.

The credential
 1. Form: within its caps, strict separators; as issued it has no KB-JWT. (`sdjwt.parse`)
 2. Header: type `dc+sd-jwt`, an allowed algorithm, no key or extension of its own.
 3. Issuer key: of the `x5c` leaf whose chain leads to an anchor, else of the issuer's key set
    that the caller supplied.
 4. Issuer signature.
 5. Payload: JSON within its depth, a known hash function, registered claims of their types.
 6. Disclosures: each well formed, each referenced exactly once, none repeating a claim, no
    digest twice; none of the claims that must be open is concealed.
 7. Issuer and type: `iss` is a name of the certificate and the expected one, `vct` is expected.
 8. Times: `nbf` and `iat` are not in the future beyond the skew, `exp` is.
The key binding
 9. There is a KB-JWT and the credential names the key of its holder in `cnf.jwk`.
10. KB-JWT header: type `kb+jwt`, an allowed algorithm, no key or extension of its own.
11. KB-JWT signature under the holder's key.
12. `iat` lies within `max_age` seconds before now, or `skew` after.
13. `aud` is this verifier.
14. `nonce` is the one of this request.
15. `sd_hash` covers exactly the credential and disclosures presented.
16. `transaction_data_hashes` are exactly those of the request's transaction data.
The status
17. The status list at `status.status_list.uri` is fresh and authentic and says valid; if the
    list cannot be had, the answer is no. Last, since it alone may need the network.

The caller owes: anchors chosen for this kind of credential, a nonce that was never accepted
before (it must be consumed), and the meaning of the claims.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from credentials.chain import TrustedChain, verify_chain
from credentials.disclosures import open_disclosures, resolve
from credentials.errors import (
    AlgorithmNotAllowed,
    AudienceMismatch,
    DisclosureInvalid,
    IssuerMismatch,
    KeyBindingExpired,
    KeyBindingInFuture,
    KeyBindingMissing,
    KeyBindingUnexpected,
    KeyInvalid,
    Malformed,
    NonceMismatch,
    SdHashMismatch,
    SignatureInvalid,
    TransactionDataMismatch,
    TypeMismatch,
    UntrustedChain,
)
from credentials.issue import ALWAYS_OPEN, CREDENTIAL_TYPE
from credentials.json_reader import JsonObject, read_json_object
from credentials.jws import PublicKey, UnverifiedJws, parse_jws
from credentials.model import VerifiedCredential, VerifiedPresentation
from credentials.registered_claims import check_times, holder_jwk, status_reference
from credentials.sdjwt import (
    KEY_BINDING_TYPE,
    UnverifiedPresentation,
    parse,
    sd_hash,
    transaction_data_hash,
)
from credentials.status import StatusCheck, StatusResolver, check_status
from credentials.suite import Jwk

__all__ = ["VerifiedCredential", "VerifiedPresentation", "verify_credential", "verify_presentation"]

MAX_AGE_SECONDS = 300
SKEW_SECONDS = 60


class _Expectation(NamedTuple):
    """What the caller of either function expects of the credential itself."""

    anchors: Sequence[bytes]
    issuer_keys: Mapping[str, Sequence[Jwk]]
    issuer: str | None
    vct: str | Collection[str] | None
    algs: Collection[str] | None
    now: int
    skew: int


def verify_credential(
    text: str | bytes | UnverifiedPresentation,
    *,
    anchors: Sequence[bytes],
    now: int,
    issuer: str | None = None,
    vct: str | Collection[str] | None = None,
    status: StatusResolver | StatusCheck | None = None,
    issuer_keys: Mapping[str, Sequence[Jwk]] | None = None,
    algs: Collection[str] | None = None,
    skew: int = SKEW_SECONDS,
) -> VerifiedCredential:
    """Verify a credential as issued: steps 1 to 8 and 17 of the procedure above.

    `anchors` are DER root certificates; `issuer` and `vct` are expected values, any if `None`;
    `status` gives status lists (`None`: a credential that has a status is refused);
    `issuer_keys` are JWKs by `iss`, for issuers whose keys the caller resolved from their
    metadata or DID; `algs` are the allowed JOSE algorithms, all registered ones if `None`; `now`
    and `skew` are Unix seconds and seconds.

    Raises a leaf of `CredentialError`, `KeyBindingUnexpected` for a presentation.
    """
    # 1. Form.
    held = text if isinstance(text, UnverifiedPresentation) else parse(text)
    if held.kb_jwt is not None:
        raise KeyBindingUnexpected("a credential as issued carries no KB-JWT; this is presented")
    expected = _Expectation(anchors, issuer_keys or {}, issuer, vct, algs, now, skew)
    credential, _ = _verify_issued(held, expected)
    _verify_status(credential, status, now)
    return credential


def verify_presentation(
    presentation: str | bytes | UnverifiedPresentation,
    *,
    anchors: Sequence[bytes],
    audience: str,
    nonce: str,
    now: int,
    transaction_data: Sequence[str] = (),
    vct: str | Collection[str] | None = None,
    issuer: str | None = None,
    status: StatusResolver | StatusCheck | None = None,
    issuer_keys: Mapping[str, Sequence[Jwk]] | None = None,
    algs: Collection[str] | None = None,
    max_age: int = MAX_AGE_SECONDS,
    skew: int = SKEW_SECONDS,
) -> VerifiedPresentation:
    """Verify a key-bound presentation: all steps of the procedure above.

    `audience` and `nonce` are those of the request, `transaction_data` its base64url strings as
    sent for this credential, `max_age` how many seconds ago the KB-JWT may have been signed;
    the rest is as in `verify_credential`.

    Raises a leaf of `CredentialError`.
    """
    # 1. Form.
    shown = (
        presentation if isinstance(presentation, UnverifiedPresentation) else parse(presentation)
    )
    expected = _Expectation(anchors, issuer_keys or {}, issuer, vct, algs, now, skew)
    credential, payload = _verify_issued(shown, expected)

    # 9. Presence of key binding.
    if shown.kb_jwt is None:
        raise KeyBindingMissing("the presentation has no KB-JWT; the wallet must sign the request")
    if credential.holder_jwk is None:
        raise KeyBindingMissing("the credential is bound to no key (cnf.jwk is missing)")

    # 10. KB-JWT header.
    kb_jwt = parse_jws(shown.kb_jwt, typ=KEY_BINDING_TYPE, algs=algs)

    # 11. KB-JWT signature.
    holder_key = PublicKey(credential.holder_jwk)
    kb_jwt.verify(holder_key)
    binding = read_json_object(kb_jwt.payload)

    # 12. Time of signing. RFC 9901 leaves the window to the verifier (section 7.3, 5.e).
    signed_at, _ = check_times(binding, now, skew, KeyBindingInFuture)
    if signed_at is None:
        raise Malformed("KB-JWT has no iat")
    if signed_at < now - max_age:
        raise KeyBindingExpired(f"KB-JWT was signed {now - signed_at} s ago, over {max_age} s")

    # 13. Audience. RFC 9901, section 4.3: a single string.
    if not audience or binding.get("aud") != audience:
        raise AudienceMismatch("KB-JWT is not addressed to this verifier")

    # 14. Nonce.
    if not nonce or binding.get("nonce") != nonce:
        raise NonceMismatch("KB-JWT does not answer this request")

    # 15. Hash of what is presented.
    if binding.get("sd_hash") != sd_hash(shown, payload):
        raise SdHashMismatch("KB-JWT was signed over other disclosures or another credential")

    # 16. Transaction data.
    hashes = _verify_transaction_data(binding, transaction_data)

    _verify_status(credential, status, now)
    return VerifiedPresentation(
        credential=credential,
        holder_jwk=holder_key.jwk,
        holder_thumbprint=holder_key.thumbprint(),
        nonce=nonce,
        audience=audience,
        signed_at=signed_at,
        transaction_data_hashes=hashes,
        raw=shown.raw,
    )


def _verify_issued(
    shown: UnverifiedPresentation, expected: _Expectation
) -> tuple[VerifiedCredential, JsonObject]:
    # 2. Header.
    jws = parse_jws(shown.issuer_jwt, typ=CREDENTIAL_TYPE, algs=expected.algs)

    # 3. and 4. Issuer key and signature.
    chain = _verify_issuer_signature(jws, expected)

    # 5. Payload.
    payload = read_json_object(jws.payload)

    # 6. Disclosures.
    claims = resolve(payload, open_disclosures(shown.disclosures, payload))
    for name in ALWAYS_OPEN:
        if name in claims and claims[name] != payload.get(name):
            raise DisclosureInvalid(f"{name} must not be selectively disclosable")

    # 5. Registered claims, once they are known to be open.
    issuer, vct = claims.get("iss"), claims.get("vct")
    if issuer is not None and not isinstance(issuer, str):
        raise Malformed("iss is not a string")
    if not isinstance(vct, str) or not vct:
        raise TypeMismatch("the credential has no vct")

    # 7. Issuer and type.
    if chain is not None and issuer is not None:
        chain.check_issuer(issuer)
    if expected.issuer is not None and issuer != expected.issuer:
        raise IssuerMismatch("the credential is not from the expected issuer")
    wanted = (expected.vct,) if isinstance(expected.vct, str) else expected.vct
    if wanted is not None and vct not in wanted:
        raise TypeMismatch("the credential is not of an expected type (vct)")

    # 8. Times.
    issued_at, expires_at = check_times(claims, expected.now, expected.skew)

    credential = VerifiedCredential(
        issuer=issuer,
        vct=vct,
        claims=claims,
        holder_jwk=holder_jwk(claims.get("cnf")),
        issued_at=issued_at,
        expires_at=expires_at,
        status=status_reference(claims.get("status")),
        issuer_chain=chain,
    )
    return credential, payload


def _verify_issuer_signature(jws: UnverifiedJws, expected: _Expectation) -> TrustedChain | None:
    """Steps 3 and 4; gives the chain if the key came from one."""
    x5c = jws.header.get("x5c")
    if x5c is not None:
        chain = verify_chain(x5c, expected.anchors, expected.now)
        jws.verify(chain.key)
        return chain
    # The issuer is read before its signature is checked, only to choose among trusted keys.
    issuer = read_json_object(jws.payload).get("iss")
    keys = expected.issuer_keys.get(issuer, ()) if isinstance(issuer, str) else ()
    key_id = jws.header.get("kid")
    candidates = [key for key in keys if key_id is None or key.get("kid", key_id) == key_id]
    if not candidates:
        raise UntrustedChain("the header has no x5c, and no key of this issuer is known")
    for key in candidates:
        try:
            jws.verify(PublicKey(key))
        except (SignatureInvalid, KeyInvalid, AlgorithmNotAllowed):
            continue
        return None
    raise SignatureInvalid("issuer signature does not verify under any key of the issuer")


def _verify_transaction_data(
    binding: JsonObject, transaction_data: Sequence[str]
) -> tuple[str, ...]:
    """Step 16 (OpenID4VP 1.0, appendix B.3.3.1). The order of the hashes is the wallet's."""
    if not transaction_data and "transaction_data_hashes" not in binding:
        return ()
    given = binding.get("transaction_data_hashes", [])
    if not isinstance(given, list) or not all(isinstance(entry, str) for entry in given):
        raise TransactionDataMismatch("transaction_data_hashes is not an array of strings")
    if given and binding.get("transaction_data_hashes_alg", "sha-256") != "sha-256":
        raise TransactionDataMismatch("transaction data is not hashed with sha-256 as requested")
    wanted = [transaction_data_hash(entry) for entry in transaction_data]
    if sorted(given) != sorted(wanted):
        raise TransactionDataMismatch(
            f"the wallet signed {len(given)} transaction data hashes, not the {len(wanted)} of "
            "this request"
        )
    return tuple(given)


def _verify_status(
    credential: VerifiedCredential, status: StatusResolver | StatusCheck | None, now: int
) -> None:
    # 17. Status.
    if credential.status is not None and status is not StatusCheck.BY_CALLER:
        check_status(
            credential.status,
            status,
            now,
            issuer=credential.issuer,
            chain=credential.issuer_chain,
        )
