"""A small certificate authority, and `x5c` headers.

One root signs issuer leaves; wallets get the leaf in `x5c` and the root by other means. HAIP 1.0
demands it so: the leaf is not self-signed and the trust anchor is not in `x5c`.
"""

import binascii
import ipaddress
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from credentials import der
from credentials.certificate import Certificate, read_certificate
from credentials.chain import TrustedChain, verify_chain
from credentials.errors import KeyInvalid, Malformed
from credentials.jws import Signer
from credentials.suites import suite_named, suite_of

__all__ = ["TrustedChain", "create_root", "issue_leaf", "verify_chain", "x5c"]

BACKDATE_SECONDS = 300
"""How far a validity starts before `now`: a wallet's clock may be behind."""

_SECONDS_PER_DAY = 86_400
_DAYS_PER_YEAR = 365
_VERSION_3 = der.explicit(0, der.integer(2))


def create_root(name: str, signer: Signer, now: int, years: int = 10) -> bytes:
    """Make a self-signed root certificate; DER.

    `name` becomes the common name, `now` is Unix seconds. The root may sign one further level.
    Raises `Malformed` if the name does not fit a certificate.
    """
    public_jwk = signer.public_jwk()
    spki = _spki(public_jwk)
    identifier = x509.SubjectKeyIdentifier(_key_identifier(spki))
    subject = _name(name)
    return _sign(
        signer,
        issuer=subject,
        subject=subject,
        spki=spki,
        not_before=now - BACKDATE_SECONDS,
        not_after=now + years * _DAYS_PER_YEAR * _SECONDS_PER_DAY,
        extensions=[
            (x509.BasicConstraints(ca=True, path_length=1), True),
            (_key_usage(certificates=True), True),
            (identifier, False),
        ],
    )


def issue_leaf(
    root_cert: bytes,
    root_signer: Signer,
    public_jwk: Mapping[str, Any],
    *,
    name: str,
    now: int,
    dns: Iterable[str] = (),
    uri: Iterable[str] = (),
    days: int = 365,
) -> bytes:
    """Sign a leaf certificate for a public key; DER.

    `dns` and `uri` become subject alternative names (a literal IP address among `dns` becomes an
    iPAddress name). The leaf never outlives the root.
    Raises `KeyInvalid` if `root_signer` is not the key of `root_cert` or `public_jwk` is no key,
    `Malformed` if a name does not fit a certificate.
    """
    root = read_certificate(root_cert)
    root_spki = _spki(root_signer.public_jwk())
    if root.key is None or _spki(root.key.jwk) != root_spki:
        raise KeyInvalid("the signer does not hold the key of the root certificate")
    spki = _spki(public_jwk)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(certificates=False), True),
        (x509.SubjectKeyIdentifier(_key_identifier(spki)), False),
        (x509.AuthorityKeyIdentifier(_key_identifier(root_spki), None, None), False),
    ]
    names = [*map(_host_name, dns), *map(_uri_name, uri)]
    if names:
        extensions.append((x509.SubjectAlternativeName(names), False))
    return _sign(
        root_signer,
        issuer=root.subject_der,
        subject=_name(name),
        spki=spki,
        not_before=now - BACKDATE_SECONDS,
        not_after=min(now + days * _SECONDS_PER_DAY, root.not_after),
        extensions=extensions,
    )


def x5c(chain: Sequence[bytes]) -> list[str]:
    """Give the `x5c` header value of a DER chain, leaf first, without the root.

    Raises `Malformed` if a certificate in it is self-signed or the chain is empty.
    """
    if not chain:
        raise Malformed("a certificate chain has at least a leaf")
    if any(_is_self_issued(read_certificate(certificate)) for certificate in chain):
        raise Malformed("x5c holds the chain without its root; leave self-signed certificates out")
    return [binascii.b2a_base64(cert, newline=False).decode("ascii") for cert in chain]


def _is_self_issued(certificate: Certificate) -> bool:
    return certificate.issuer_der == certificate.subject_der


def _spki(public_jwk: Mapping[str, Any]) -> bytes:
    suite = suite_of(public_jwk)
    return suite.encode_spki(suite.load_public(public_jwk))


def _key_identifier(spki: bytes) -> bytes:
    # RFC 7093, section 2, method 1, over the bits of the key.
    key_bits = der.children(spki)[1]
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key_bits[3:])
    return digest.finalize()[:20]


def _name(common_name: str) -> bytes:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]).public_bytes()
    except ValueError:
        raise Malformed("a certificate's common name has 1 to 64 characters") from None


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise Malformed("a DNS name in a certificate is ASCII (use the A-label)") from None


def _uri_name(uri: str) -> x509.GeneralName:
    try:
        return x509.UniformResourceIdentifier(uri)
    except ValueError:
        raise Malformed("a URI in a certificate is ASCII") from None


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(
    signer: Signer,
    *,
    issuer: bytes,
    subject: bytes,
    spki: bytes,
    not_before: int,
    not_after: int,
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> bytes:
    """Assemble and sign a version 3 certificate (RFC 5280, section 4.1)."""
    suite = suite_named(signer.alg)
    # RFC 5280, section 4.1.2.2: positive, at most 20 bytes; 159 random bits.
    serial = secrets.randbits(159) | 1
    body = der.sequence(
        _VERSION_3,
        der.integer(serial),
        suite.signature_algorithm,
        issuer,
        der.sequence(der.time(not_before), der.time(not_after)),
        subject,
        spki,
        der.explicit(3, der.sequence(*(_extension(extension) for extension in extensions))),
    )
    signature = suite.signature_to_x509(signer.sign(body))
    return der.sequence(body, suite.signature_algorithm, der.bit_string(signature))


def _extension(entry: tuple[x509.ExtensionType, bool]) -> bytes:
    extension, critical = entry
    flag = der.element(0x01, b"\xff") if critical else b""
    value = der.element(0x04, extension.public_bytes())
    return der.sequence(_object_identifier(extension.oid), flag, value)


def _object_identifier(oid: x509.ObjectIdentifier) -> bytes:
    first, second, *rest = (int(arc) for arc in oid.dotted_string.split("."))
    encoded = bytearray()
    for arc in (40 * first + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        encoded += bytes(reversed(groups))
    return der.element(0x06, bytes(encoded))
