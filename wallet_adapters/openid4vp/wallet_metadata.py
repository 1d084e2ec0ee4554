"""What a wallet says that it can, and what a request becomes by it (OpenID4VP 1.0, section 10).

A wallet that fetches its request by POST may send `wallet_metadata`. The request then fits it, or
is refused with what does not fit: a wallet that would fail later fails now, and says why.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from wallet_adapters.errors import Malformed
from wallet_adapters.openid4vp.dcql import SD_JWT_VC
from wallet_adapters.openid4vp.encrypted_response import CURVE, KEY_AGREEMENT
from wallet_adapters.openid4vp.errors import WalletLacks
from wallet_adapters.openid4vp.request import (
    CONTENT_ENCRYPTION,
    ENCRYPTED_MODE,
    HOLDER_ALGORITHMS,
    ISSUER_ALGORITHMS,
    PLAIN_MODE,
    X509_HASH,
)
from wallet_adapters.wire import require_object, require_strings

MAX_KEYS: Final = 16
_WHAT: Final = "wallet_metadata"
_FORMATS: Final = "vp_formats_not_supported"
_PUBLIC: Final = ("kty", "crv", "x", "y")


@dataclass(frozen=True)
class Agreed:
    """What a request becomes: whether its answer is encrypted, and how the object itself is.

    `key` is the wallet's public JWK that the request object is encrypted to by `enc`; None when
    the wallet asks for none.
    """

    encrypted: bool
    key: Mapping[str, Any] | None = None
    enc: str = CONTENT_ENCRYPTION[-1]


def agree(
    metadata: Mapping[str, object] | None,
    *,
    signing_algorithm: str,
    encrypted: bool,
    format: str = SD_JWT_VC,  # noqa: A002 (the protocol's name)
) -> Agreed:
    """Fit a request to what its wallet says; what it does not say is not held against it.

    1. It takes the response type `vp_token` and client ids by `x509_hash`.
    2. It verifies request objects by `signing_algorithm`.
    3. It has the format asked for; of dc+sd-jwt with algorithms that are verified here.
    4. The answer is encrypted where that is demanded (`encrypted`), and where the wallet names an
       algorithm of it or takes no other mode; then both sides have an algorithm in common.
    5. The request object is encrypted where the wallet sends a key for that.

    Raises `WalletLacks`, which names what does not fit, or another leaf of `WalletProtocolError`.
    """
    if metadata is None:
        return Agreed(encrypted)
    # 1.
    _offers(metadata, "response_types_supported", {"vp_token"})
    _offers(metadata, "client_id_prefixes_supported", {X509_HASH.removesuffix(":")})
    # 2.
    _offers(metadata, "request_object_signing_alg_values_supported", {signing_algorithm})
    # 3.
    _check_format(metadata, format)
    # 4. and 5.
    key, enc = _object_key(metadata)
    return Agreed(_encrypted(metadata, demanded=encrypted), key, enc)


def encrypt_request(signed: str, agreed: Agreed) -> str:
    """The signed request object as the wallet gets it: as it is, or in a JWE (RFC 9101, 6.1).

    Raises `WalletLacks` when the wallet's key is none.
    """
    if agreed.key is None:
        return signed
    header = {"alg": KEY_AGREEMENT, "enc": agreed.enc, "cty": "JWT"}
    if isinstance(agreed.key.get("kid"), str):
        header["kid"] = agreed.key["kid"]
    try:
        key = ECKey.import_key({name: agreed.key[name] for name in _PUBLIC})
        return jwe.encrypt_compact(
            header, signed.encode("ascii"), key, algorithms=[KEY_AGREEMENT, agreed.enc]
        )
    except (JoseError, ValueError, TypeError, KeyError) as problem:
        raise WalletLacks(f"the key in jwks of {_WHAT} is no usable public key") from problem


def _encrypted(metadata: Mapping[str, object], *, demanded: bool) -> bool:
    modes = _strings(metadata, "response_modes_supported")
    named = _strings(metadata, "authorization_encryption_alg_values_supported")
    can = modes is None or ENCRYPTED_MODE in modes
    if not demanded and not (can and named) and (modes is None or PLAIN_MODE in modes):
        return False
    if not can:
        wanted = ENCRYPTED_MODE if demanded else f"{PLAIN_MODE} or {ENCRYPTED_MODE}"
        raise WalletLacks(f"response_modes_supported of {_WHAT} lacks {wanted}")
    _offers(metadata, "authorization_encryption_alg_values_supported", {KEY_AGREEMENT})
    _offers(metadata, "authorization_encryption_enc_values_supported", CONTENT_ENCRYPTION)
    return True


def _check_format(metadata: Mapping[str, object], asked: str) -> None:
    if metadata.get("vp_formats_supported") is None:
        return
    formats = require_object(metadata, "vp_formats_supported", what=_WHAT)
    if asked not in formats:
        raise WalletLacks(f"vp_formats_supported of {_WHAT} lacks {asked}", error=_FORMATS)
    if asked != SD_JWT_VC:
        return
    own = require_object(formats, SD_JWT_VC, what=_WHAT)
    _offers(own, "sd-jwt_alg_values", ISSUER_ALGORITHMS, error=_FORMATS)
    _offers(own, "kb-jwt_alg_values", HOLDER_ALGORITHMS, error=_FORMATS)


def _object_key(metadata: Mapping[str, object]) -> tuple[Mapping[str, Any] | None, str]:
    if metadata.get("jwks") is None:
        return None, CONTENT_ENCRYPTION[-1]
    _offers(metadata, "request_object_encryption_alg_values_supported", {KEY_AGREEMENT})
    named = "request_object_encryption_enc_values_supported"
    content = _strings(metadata, named) or CONTENT_ENCRYPTION
    _offers(metadata, named, CONTENT_ENCRYPTION)
    keys = require_object(metadata, "jwks", what=_WHAT).get("keys")
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise Malformed(f"jwks of {_WHAT} holds at most {MAX_KEYS} keys")
    for key in keys:
        if isinstance(key, dict) and _is_usable(key):
            return key, max(enc for enc in CONTENT_ENCRYPTION if enc in content)
    raise WalletLacks(f"jwks of {_WHAT} lacks a key on {CURVE} for {KEY_AGREEMENT}")


def _is_usable(key: Mapping[str, Any]) -> bool:
    return (
        (key.get("kty"), key.get("crv")) == ("EC", CURVE)
        and key.get("use", "enc") == "enc"
        and key.get("alg", KEY_AGREEMENT) == KEY_AGREEMENT
    )


def _offers(
    metadata: Mapping[str, object], name: str, wanted: Collection[str], *, error: str | None = None
) -> None:
    """Raise `WalletLacks` when the wallet names values of `name`, and none of those wanted."""
    values = _strings(metadata, name)
    if values is not None and not set(wanted).intersection(values):
        raise WalletLacks(f"{name} of {_WHAT} lacks {' or '.join(sorted(wanted))}", error=error)


def _strings(metadata: Mapping[str, object], name: str) -> tuple[str, ...] | None:
    return None if metadata.get(name) is None else require_strings(metadata, name, what=_WHAT)
