"""The two built-in suites: ES256 and Ed25519, on `cryptography`."""

from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from credentials.errors import KeyInvalid, SignatureInvalid
from credentials.jcs import b64url
from credentials.suite import Jwk, jwk_bytes


class Es256:
    """ECDSA on P-256 with SHA-256 (RFC 7518, section 3.4)."""

    alg = "ES256"
    accepted = frozenset({"ES256"})
    jwk_type = ("EC", "P-256")
    thumbprint_members = ("crv", "kty", "x", "y")
    multicodec = b"\x80\x24"  # p256-pub, 0x1200
    signature_algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256

    _spki_prefix = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
    _compressed_spki_prefix = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    _curve = ec.SECP256R1()
    _algorithm = ec.ECDSA(hashes.SHA256())

    def generate(self) -> Jwk:
        """Make a new private JWK."""
        private_key = ec.generate_private_key(self._curve)
        scalar = private_key.private_numbers().private_value.to_bytes(32, "big")
        return {**self.public_jwk(private_key.public_key()), "d": b64url(scalar)}

    def load_private(self, jwk: Mapping[str, Any]) -> ec.EllipticCurvePrivateKey:
        """Load a private JWK; `x` and `y` must be the point that belongs to `d`."""
        scalar = int.from_bytes(jwk_bytes(jwk, "d", 32), "big")
        try:
            private_key = ec.derive_private_key(scalar, self._curve)
        except ValueError:
            raise KeyInvalid("EC private key: d is out of range") from None
        if self.encode_uncompressed(private_key.public_key()) != self._point(jwk):
            raise KeyInvalid("EC private key: x and y do not belong to d")
        return private_key

    def load_public(self, jwk: Mapping[str, Any]) -> ec.EllipticCurvePublicKey:
        """Load `x` and `y`, checking that they are a point on the curve."""
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(self._curve, self._point(jwk))
        except ValueError:
            raise KeyInvalid("EC key: x and y are not a point on P-256") from None

    def public_jwk(self, public_key: ec.EllipticCurvePublicKey) -> Jwk:
        """Give `kty`, `crv`, `x` and `y` (RFC 7518, section 6.2.1)."""
        point = self.encode_uncompressed(public_key)
        return {"kty": "EC", "crv": "P-256", "x": b64url(point[1:33]), "y": b64url(point[33:])}

    def sign(self, private_key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
        """Sign; 32 bytes r, 32 bytes s."""
        return self.signature_from_x509(private_key.sign(data, self._algorithm))

    def verify(self, public_key: ec.EllipticCurvePublicKey, data: bytes, signature: bytes) -> None:
        """Verify 32 bytes r, 32 bytes s. Raises `SignatureInvalid`."""
        try:
            public_key.verify(self.signature_to_x509(signature), data, self._algorithm)
        except InvalidSignature:
            raise SignatureInvalid("ES256 signature does not verify under this key") from None

    def encode_point(self, public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Give the compressed point, which did:key uses."""
        return public_key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    def decode_point(self, data: bytes) -> ec.EllipticCurvePublicKey:
        """Load a compressed point. Raises `KeyInvalid`."""
        if len(data) != 33 or data[0] not in {2, 3}:  # noqa: PLR2004  SEC 1, section 2.3.4
            raise KeyInvalid("P-256 key: not a compressed point of 33 bytes")
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(self._curve, data)
        except ValueError:
            raise KeyInvalid("P-256 key: not a point on the curve") from None

    def encode_uncompressed(self, public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Give the uncompressed point, 65 bytes (SEC 1, section 2.3.3)."""
        return public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def encode_spki(self, public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Give the DER SubjectPublicKeyInfo with a named curve (RFC 5480)."""
        return self._spki_prefix + self.encode_uncompressed(public_key)

    def decode_spki(self, spki: bytes) -> ec.EllipticCurvePublicKey | None:
        """Load a named-curve P-256 key; `None` for anything else. Raises `KeyInvalid`."""
        for prefix in (self._spki_prefix, self._compressed_spki_prefix):
            if spki.startswith(prefix):
                try:
                    return ec.EllipticCurvePublicKey.from_encoded_point(
                        self._curve, spki[len(prefix) :]
                    )
                except ValueError:
                    raise KeyInvalid("certificate key is not a point on P-256") from None
        return None

    def signature_to_x509(self, signature: bytes) -> bytes:
        """Convert r and s to the DER sequence ECDSA-Sig-Value (RFC 3279, section 2.2.3)."""
        if len(signature) != 64:  # noqa: PLR2004  RFC 7518, section 3.4
            raise SignatureInvalid("ES256 signature is not 64 bytes")
        return encode_dss_signature(
            int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        )

    def signature_from_x509(self, signature: bytes) -> bytes:
        """Convert ECDSA-Sig-Value to r and s. Raises `SignatureInvalid`."""
        try:
            r, s = decode_dss_signature(signature)
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        except (ValueError, OverflowError):
            raise SignatureInvalid("not a DER sequence of r and s on P-256") from None

    def _point(self, jwk: Mapping[str, Any]) -> bytes:
        return b"\x04" + jwk_bytes(jwk, "x", 32) + jwk_bytes(jwk, "y", 32)


class Ed25519:
    """EdDSA on edwards25519 (RFC 8037), under its fully-specified name of RFC 9864.

    The older polymorphic name `EdDSA` is accepted, since wallets still send it, never emitted.
    """

    alg = "Ed25519"
    accepted = frozenset({"Ed25519", "EdDSA"})
    jwk_type = ("OKP", "Ed25519")
    thumbprint_members = ("crv", "kty", "x")
    multicodec = b"\xed\x01"  # ed25519-pub, 0xed
    signature_algorithm = bytes.fromhex("300506032b6570")  # id-Ed25519

    _spki_prefix = bytes.fromhex("302a300506032b6570032100")
    _prime = 2**255 - 19
    # The y coordinates of the eight points of small order. Under such a key one signature verifies
    # for many messages, or for all: whoever holds it can deny whatever "it" has signed.
    _small_order = frozenset(
        {
            0,
            1,
            _prime - 1,
            0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
            0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        }
    )

    def generate(self) -> Jwk:
        """Make a new private JWK."""
        private_key = ed25519.Ed25519PrivateKey.generate()
        return {
            **self.public_jwk(private_key.public_key()),
            "d": b64url(private_key.private_bytes_raw()),
        }

    def load_private(self, jwk: Mapping[str, Any]) -> ed25519.Ed25519PrivateKey:
        """Load a private JWK; `x` must belong to `d`."""
        private_key = ed25519.Ed25519PrivateKey.from_private_bytes(jwk_bytes(jwk, "d", 32))
        if private_key.public_key().public_bytes_raw() != jwk_bytes(jwk, "x", 32):
            raise KeyInvalid("OKP private key: x does not belong to d")
        return private_key

    def load_public(self, jwk: Mapping[str, Any]) -> ed25519.Ed25519PublicKey:
        """Load `x`."""
        return self.decode_point(jwk_bytes(jwk, "x", 32))

    def public_jwk(self, public_key: ed25519.Ed25519PublicKey) -> Jwk:
        """Give `kty`, `crv` and `x` (RFC 8037, section 2)."""
        return {"kty": "OKP", "crv": "Ed25519", "x": b64url(public_key.public_bytes_raw())}

    def sign(self, private_key: ed25519.Ed25519PrivateKey, data: bytes) -> bytes:
        """Sign; 64 bytes."""
        return private_key.sign(data)

    def verify(self, public_key: ed25519.Ed25519PublicKey, data: bytes, signature: bytes) -> None:
        """Verify 64 bytes. Raises `SignatureInvalid`."""
        try:
            public_key.verify(signature, data)
        except InvalidSignature:
            raise SignatureInvalid("Ed25519 signature does not verify under this key") from None

    def encode_point(self, public_key: ed25519.Ed25519PublicKey) -> bytes:
        """Give the 32 bytes of the encoded point."""
        return public_key.public_bytes_raw()

    def decode_point(self, data: bytes) -> ed25519.Ed25519PublicKey:
        """Load 32 bytes: a point of large order, in its one encoding. Raises `KeyInvalid`."""
        y = int.from_bytes(data, "little") & (1 << 255) - 1
        if y >= self._prime:
            raise KeyInvalid("Ed25519 key: not the canonical encoding (RFC 8032, section 5.1.3)")
        if y in self._small_order:
            raise KeyInvalid("Ed25519 key: a point of small order binds nobody to a signature")
        try:
            return ed25519.Ed25519PublicKey.from_public_bytes(data)
        except ValueError:
            raise KeyInvalid("Ed25519 key: not 32 bytes of an encoded point") from None

    def encode_spki(self, public_key: ed25519.Ed25519PublicKey) -> bytes:
        """Give the DER SubjectPublicKeyInfo (RFC 8410, section 4)."""
        return self._spki_prefix + public_key.public_bytes_raw()

    def decode_spki(self, spki: bytes) -> ed25519.Ed25519PublicKey | None:
        """Load an Ed25519 key; `None` for anything else. Raises `KeyInvalid`."""
        if not spki.startswith(self._spki_prefix):
            return None
        return self.decode_point(spki[len(self._spki_prefix) :])

    def signature_to_x509(self, signature: bytes) -> bytes:
        """Both forms are the same 64 bytes (RFC 8410, section 6)."""
        return signature

    def signature_from_x509(self, signature: bytes) -> bytes:
        """Both forms are the same 64 bytes (RFC 8410, section 6)."""
        return signature
