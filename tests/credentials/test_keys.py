import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from credentials import suites
from credentials.did import assertion_keys, did_key, resolve
from credentials.elliptic import Es256
from credentials.errors import AlgorithmNotAllowed, KeyInvalid, SignatureInvalid
from credentials.issue import issue_sd_jwt_vc
from credentials.jcs import b64url, b64url_decode
from credentials.keys import SoftwareKey, register, thumbprint, verify_signature
from credentials.pki import create_root, issue_leaf, verify_chain, x5c
from credentials.sdjwt import bind, present
from credentials.verify import verify_presentation
from tests.credentials.world import AUDIENCE, NONCE, NOW, VCT

# RFC 8037, appendix A.1 to A.4.
RFC_8037_KEY = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
RFC_8037_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
RFC_8037_SIGNED = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
RFC_8037_SIGNATURE = (
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)
# RFC 7515, appendix A.3.
RFC_7515_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC_7515_SIGNED = (
    b"eyJhbGciOiJFUzI1NiJ9."
    b"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
    b"cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
RFC_7515_SIGNATURE = (
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)


def test_ed25519_matches_rfc_8037() -> None:
    key = SoftwareKey.from_private_jwk(RFC_8037_KEY)
    assert b64url(key.sign(RFC_8037_SIGNED)) == RFC_8037_SIGNATURE
    assert thumbprint(RFC_8037_KEY) == RFC_8037_THUMBPRINT
    signature = b64url_decode(RFC_8037_SIGNATURE)
    for alg in ("Ed25519", "EdDSA"):
        verify_signature(key.public_jwk(), alg, RFC_8037_SIGNED, signature)


def test_es256_matches_rfc_7515() -> None:
    signature = b64url_decode(RFC_7515_SIGNATURE)
    verify_signature(RFC_7515_KEY, "ES256", RFC_7515_SIGNED, signature)


@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
def test_signatures_verify_only_unchanged(alg: str) -> None:
    key = SoftwareKey.generate(alg)
    signature = key.sign(b"data")
    verify_signature(key.public_jwk(), alg, b"data", signature)
    changed = bytes([signature[0] ^ 1]) + signature[1:]
    for data, wrong in ((b"Data", signature), (b"data", changed), (b"data", signature[:-1])):
        with pytest.raises(SignatureInvalid):
            verify_signature(key.public_jwk(), alg, data, wrong)
    with pytest.raises(SignatureInvalid):
        verify_signature(key.public_jwk(), alg, b"data", b"")
    with pytest.raises(SignatureInvalid):
        verify_signature(key.public_jwk(), alg, b"data", bytes(64))


def test_a_key_verifies_only_its_own_algorithm() -> None:
    key = SoftwareKey.generate("ES256")
    for alg in ("Ed25519", "EdDSA", "none", "HS256", "RS256", ""):
        with pytest.raises(AlgorithmNotAllowed):
            verify_signature(key.public_jwk(), alg, b"data", key.sign(b"data"))


@pytest.mark.parametrize(
    "change",
    [
        {"x": "AA"},
        {"y": RFC_7515_KEY["x"]},
        {"x": 5},
        {"kty": "oct"},
        {"kty": ["EC"]},
        {"crv": None},
        {"crv": "P-384"},
    ],
)
def test_broken_public_keys_are_refused(change: dict[str, object]) -> None:
    jwk = RFC_7515_KEY | change
    with pytest.raises(KeyInvalid):
        verify_signature(jwk, "ES256", RFC_7515_SIGNED, b64url_decode(RFC_7515_SIGNATURE))


def test_private_keys_whose_halves_do_not_match_are_refused() -> None:
    for alg in ("ES256", "Ed25519"):
        one, other = SoftwareKey.generate(alg).private_jwk(), SoftwareKey.generate(alg)
        with pytest.raises(KeyInvalid):
            SoftwareKey.from_private_jwk(one | other.public_jwk())


# y of the points of small order, and the encodings beyond the prime that stand for some of them.
PRIME = 2**255 - 19
WEAK = (
    0,
    1,
    PRIME - 1,
    2707385501144840649318225287225658788936804267575313519463743609750303402022,
    55188659117513257062467267217118295137698188065244968500265048394206261417927,
    PRIME,
    PRIME + 1,
    2**255 - 1,
)


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", WEAK)
def test_an_ed25519_key_that_would_verify_anything_is_refused(y: int, sign: int) -> None:
    encoded = (y | sign << 255).to_bytes(32, "little")
    key = {"kty": "OKP", "crv": "Ed25519", "x": b64url(encoded)}
    one_for_all = bytes([1]) + bytes(63)  # R is the neutral element, S is zero
    with pytest.raises(KeyInvalid):
        verify_signature(key, "Ed25519", b"whatever", one_for_all)


def test_a_thumbprint_ignores_optional_members() -> None:
    jwk = SoftwareKey.generate().private_jwk()
    assert thumbprint(jwk | {"kid": "1", "use": "sig"}) == thumbprint(jwk)
    for broken in ({}, {"kty": "EC", "crv": "P-256", "x": "AA"}, jwk | {"y": 3}):
        with pytest.raises(KeyInvalid):
            thumbprint(broken)


class ToySuite:
    """A suite as a national one would join: its own names, shapes and key encoding.

    Only its arithmetic is a toy: a keyed hash whose key is public.
    """

    alg = "TOY1"
    accepted = frozenset({"TOY1"})
    jwk_type = ("TOY", "T-1")
    thumbprint_members = ("crv", "kty", "x")
    multicodec = b"\x99\x7f"
    signature_algorithm = bytes.fromhex("300606042a030405")

    spki_prefix = bytes.fromhex("302b300606042a030406032100")

    def generate(self) -> dict[str, Any]:
        secret = b64url(secrets.token_bytes(32))
        return {"kty": "TOY", "crv": "T-1", "x": secret, "d": secret}

    def load_private(self, jwk: Mapping[str, Any]) -> bytes:
        return b64url_decode(jwk["d"])

    def load_public(self, jwk: Mapping[str, Any]) -> bytes:
        return b64url_decode(jwk["x"])

    def public_jwk(self, public_key: bytes) -> dict[str, Any]:
        return {"kty": "TOY", "crv": "T-1", "x": b64url(public_key)}

    def sign(self, private_key: bytes, data: bytes) -> bytes:
        return hmac.digest(private_key, data, "sha512")

    def verify(self, public_key: bytes, data: bytes, signature: bytes) -> None:
        if not hmac.compare_digest(self.sign(public_key, data), signature):
            raise SignatureInvalid("toy signature does not verify")

    def encode_point(self, public_key: bytes) -> bytes:
        return public_key

    def decode_point(self, data: bytes) -> bytes:
        return data

    def encode_spki(self, public_key: bytes) -> bytes:
        return self.spki_prefix + public_key

    def decode_spki(self, spki: bytes) -> bytes | None:
        return spki[-32:] if spki.startswith(self.spki_prefix) else None

    def signature_to_x509(self, signature: bytes) -> bytes:
        return signature

    def signature_from_x509(self, signature: bytes) -> bytes:
        return signature


@pytest.fixture
def toy_suite(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(suites, "_BY_JWK_TYPE", dict(suites._BY_JWK_TYPE))  # noqa: SLF001
    before = dict(suites.ALGORITHMS)
    register(ToySuite())
    suites.DIGESTS["sha-512"] = hashlib.sha512
    yield "TOY1"
    suites.ALGORITHMS.clear()
    suites.ALGORITHMS.update(before)
    del suites.DIGESTS["sha-512"]


def test_a_further_suite_joins_without_a_change_elsewhere(toy_suite: str) -> None:
    root_key, issuer, holder = (SoftwareKey.generate(toy_suite) for _ in range(3))
    root = create_root("Toy Root", root_key, NOW)
    chain = x5c([issue_leaf(root, root_key, issuer.public_jwk(), name="Toy Issuer", now=NOW)])
    assert verify_chain(chain, [root], NOW).public_jwk == issuer.public_jwk()
    assert assertion_keys(resolve(did_key(holder.public_jwk()))) == [holder.public_jwk()]

    credential = issue_sd_jwt_vc(
        signer=issuer,
        x5c=chain,
        issuer="https://toy.example",
        vct=VCT,
        claims={"given_name": "Ann"},
        disclosable=["given_name"],
        holder_jwk=holder.public_jwk(),
        status=None,
        issued_at=NOW,
        expires_at=None,
    )
    shown = bind(present(credential), holder, nonce=NONCE, audience=AUDIENCE, now=NOW)
    verified = verify_presentation(shown, anchors=[root], audience=AUDIENCE, nonce=NONCE, now=NOW)
    assert verified.credential.claims["given_name"] == "Ann"
    with pytest.raises(AlgorithmNotAllowed):
        verify_presentation(
            shown, anchors=[root], audience=AUDIENCE, nonce=NONCE, now=NOW, algs=["ES256"]
        )


def test_a_suite_cannot_take_another_ones_name(toy_suite: str) -> None:
    with pytest.raises(ValueError, match="collides"):
        register(ToySuite())
    with pytest.raises(ValueError, match="collides"):
        register(Es256())
