"""A request fits what its wallet says that it can, or is refused with what does not fit."""

from typing import Any

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey

from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp.errors import WalletLacks
from wallet_adapters.openid4vp.wallet_metadata import Agreed, agree, encrypt_request

FORMATS = {"dc+sd-jwt": {"sd-jwt_alg_values": ["ES256"], "kb-jwt_alg_values": ["ES256"]}}
EVERYTHING: dict[str, Any] = {
    "vp_formats_supported": FORMATS | {"mso_mdoc": {}},
    "response_types_supported": ["vp_token", "code"],
    "response_modes_supported": ["direct_post", "direct_post.jwt", "fragment"],
    "client_id_prefixes_supported": ["x509_san_dns", "x509_hash"],
    "request_object_signing_alg_values_supported": ["ES256", "ES384"],
    "authorization_encryption_alg_values_supported": ["ECDH-ES"],
    "authorization_encryption_enc_values_supported": ["A128GCM", "A256GCM"],
    "unheard-of": 1,
}
ENCRYPTS = {
    name: EVERYTHING[name] for name in EVERYTHING if name.startswith("authorization_encryption")
}


def _agree(metadata: dict[str, Any] | None, *, encrypted: bool = False) -> Agreed:
    return agree(metadata, signing_algorithm="ES256", encrypted=encrypted)


@pytest.mark.parametrize(
    ("metadata", "plain", "demanded"),
    [
        (None, False, True),
        ({}, False, True),
        ({"vp_formats_supported": FORMATS}, False, True),
        ({"vp_formats_supported": {"dc+sd-jwt": {}}}, False, True),
        (EVERYTHING, True, True),
        (ENCRYPTS, True, True),
        ({"response_modes_supported": ["direct_post", "direct_post.jwt"]}, False, True),
        ({"response_modes_supported": ["direct_post.jwt"]}, True, True),
        (ENCRYPTS | {"response_modes_supported": ["direct_post"]}, False, None),
    ],
)
def test_an_answer_is_encrypted_where_demanded_and_where_the_wallet_can(
    metadata: dict[str, Any] | None, plain: bool, demanded: bool | None
) -> None:
    assert _agree(metadata).encrypted is plain
    if demanded is None:
        with pytest.raises(WalletLacks, match=r"lacks direct_post\.jwt"):
            _agree(metadata, encrypted=True)
    else:
        assert _agree(metadata, encrypted=True).encrypted is demanded


@pytest.mark.parametrize(
    ("change", "named", "error"),
    [
        ({"response_types_supported": ["code"]}, "vp_token", "invalid_request"),
        ({"client_id_prefixes_supported": ["x509_san_dns"]}, "x509_hash", "invalid_request"),
        (
            {"request_object_signing_alg_values_supported": ["ES384"]},
            "request_object_signing_alg_values_supported",
            "invalid_request",
        ),
        ({"vp_formats_supported": {"mso_mdoc": {}}}, "dc", "vp_formats_not_supported"),
        (
            {"vp_formats_supported": {"dc+sd-jwt": {"sd-jwt_alg_values": ["ES384"]}}},
            "sd-jwt_alg_values",
            "vp_formats_not_supported",
        ),
        (
            {"vp_formats_supported": {"dc+sd-jwt": {"kb-jwt_alg_values": ["ES512"]}}},
            "kb-jwt_alg_values",
            "vp_formats_not_supported",
        ),
        (
            {"authorization_encryption_alg_values_supported": ["RSA-OAEP"]},
            "ECDH-ES",
            "invalid_request",
        ),
        (
            {"authorization_encryption_enc_values_supported": ["A128CBC-HS256"]},
            "A128GCM or A256GCM",
            "invalid_request",
        ),
        ({"response_modes_supported": ["fragment"]}, "direct_post", "invalid_request"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], named: str, error: str) -> None:
    for encrypted in (True, False):
        with pytest.raises(WalletLacks, match=named) as refused:
            _agree(EVERYTHING | change, encrypted=encrypted)
        assert (refused.value.code, refused.value.error) == ("wallet_lacks", error)


@pytest.mark.parametrize(
    "metadata",
    [
        {"response_modes_supported": "direct_post"},
        {"response_modes_supported": []},
        {"client_id_prefixes_supported": [7]},
        {"vp_formats_supported": ["dc+sd-jwt"]},
        {"vp_formats_supported": {"dc+sd-jwt": None}},
        {"jwks": {"keys": "none"}},
        {"jwks": {"keys": [{}] * 17}},
        {"jwks": []},
    ],
)
def test_metadata_that_are_none(metadata: dict[str, Any]) -> None:
    with pytest.raises(WalletProtocolError):
        _agree(metadata)


def _wallet_key() -> dict[str, Any]:
    key = ECKey.generate_key("P-256", private=True).as_dict(private=True)
    return {name: str(key[name]) for name in ("kty", "crv", "x", "y", "d")}


@pytest.mark.parametrize(
    ("more", "enc"),
    [
        ({}, "A256GCM"),
        ({"request_object_encryption_enc_values_supported": ["A128GCM"]}, "A128GCM"),
        ({"request_object_encryption_alg_values_supported": ["ECDH-ES"]}, "A256GCM"),
    ],
)
def test_a_request_object_is_encrypted_to_the_wallets_key(more: dict[str, Any], enc: str) -> None:
    private = _wallet_key()
    public = {name: value for name, value in private.items() if name != "d"}
    signing = public | {"use": "sig"}
    jwks = {"keys": [signing, {"kty": "RSA"}, public | {"kid": "w-1", "use": "enc"}]}
    agreed = _agree({"jwks": jwks} | more)
    told = encrypt_request("a.b.c", agreed)
    opened = jwe.decrypt_compact(
        told, ECKey.import_key(private), algorithms=["ECDH-ES", "A128GCM", "A256GCM"]
    )
    assert opened.plaintext == b"a.b.c"
    header = opened.protected
    assert (header["enc"], header["kid"], header["cty"]) == (enc, "w-1", "JWT")
    assert encrypt_request("a.b.c", _agree(None)) == "a.b.c"


@pytest.mark.parametrize(
    "more",
    [
        {"jwks": {"keys": []}},
        {"jwks": {"keys": [{"kty": "RSA"}]}},
        {"jwks": {"keys": [{"kty": "EC", "crv": "P-384"}]}},
        {"jwks": {"keys": [{"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A128KW"}]}},
        {
            "jwks": {"keys": [{"kty": "EC", "crv": "P-256"}]},
            "request_object_encryption_alg_values_supported": ["RSA-OAEP"],
        },
        {
            "jwks": {"keys": [{"kty": "EC", "crv": "P-256"}]},
            "request_object_encryption_enc_values_supported": ["A128CBC-HS256"],
        },
        {"jwks": {"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}},
        {"jwks": {"keys": [{"kty": "EC", "crv": "P-256"}]}},
    ],
)
def test_a_key_that_cannot_be_encrypted_to_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(WalletLacks):
        encrypt_request("a.b.c", _agree(more))
