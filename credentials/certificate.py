"""Reading certificates (RFC 5280): what this package looks at, parsed and not yet trusted."""

from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from credentials import der
from credentials.errors import Malformed
from credentials.jws import PublicKey
from credentials.suites import suites

_E = TypeVar("_E", bound=x509.ExtensionType)

_SHORTEST_ELEMENT = 3  # tag, length and one byte

# Critical extensions whose meaning is enforced here or does not restrict a path of this kind.
# Name constraints are not among them: a chain that carries them is refused, not half-checked.
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What this package reads of a certificate. Parsed, not trusted."""

    encoded: bytes
    subject: str
    subject_der: bytes
    issuer: str
    issuer_der: bytes
    not_before: int
    not_after: int
    key: PublicKey | None
    signed_part: bytes
    signature: bytes
    signature_algorithm: bytes
    is_authority: bool
    path_length: int | None
    may_sign_certificates: bool
    may_sign_data: bool
    dns_names: tuple[str, ...]
    uris: tuple[str, ...]
    unknown_critical: tuple[str, ...]
    key_id: bytes | None = None
    authority_key_id: bytes | None = None


def key_of(encoded: bytes) -> str | None:
    """The thumbprint (RFC 7638) of a certificate's key, None of a kind that is not known here.

    What names a key and not the bytes around it: of an ECDSA signature anybody can make a second
    one, and so a second certificate for the same key. Raises as `read_certificate`.
    """
    key = read_certificate(encoded).key
    return None if key is None else key.thumbprint()


def read_certificate(encoded: bytes) -> Certificate:
    """Parse a DER certificate. Raises `Malformed` or `KeyInvalid` on anything else.

    A key of an unregistered suite leaves `key` empty: the certificate may still be named in an
    error, but it can sign nothing.
    """
    body, algorithm, *_ = _fields(encoded, 3)
    # RFC 5280, section 4.1: version, serial, algorithm, issuer, validity, subject, key.
    fields = _fields(body, 7)
    if len(fields[1]) < _SHORTEST_ELEMENT or fields[1][2] & 0x80:
        raise Malformed("certificate has a negative serial number or none")
    if fields[2] != algorithm:
        # RFC 5280, section 4.1.1.2: what is outside the signature must repeat what is inside.
        raise Malformed("certificate names two signature algorithms")
    try:
        certificate = x509.load_der_x509_certificate(encoded)
        extensions = certificate.extensions
        basic = _extension(extensions, x509.BasicConstraints)
        usage = _extension(extensions, x509.KeyUsage)
        names = _extension(extensions, x509.SubjectAlternativeName)
        own = _extension(extensions, x509.SubjectKeyIdentifier)
        above = _extension(extensions, x509.AuthorityKeyIdentifier)
        if certificate.version is not x509.Version.v3:
            raise Malformed("certificate is not of version 3")
        return Certificate(
            encoded=certificate.public_bytes(Encoding.DER),
            subject=certificate.subject.rfc4514_string(),
            subject_der=fields[5],
            issuer=certificate.issuer.rfc4514_string(),
            issuer_der=fields[3],
            not_before=int(certificate.not_valid_before_utc.timestamp()),
            not_after=int(certificate.not_valid_after_utc.timestamp()),
            key=_read_key(fields[6]),
            signed_part=certificate.tbs_certificate_bytes,
            signature=certificate.signature,
            signature_algorithm=fields[2],
            is_authority=basic is not None and basic.ca,
            path_length=None if basic is None else basic.path_length,
            # RFC 5280, section 4.2.1.3: an absent extension restricts nothing.
            may_sign_certificates=usage is None or usage.key_cert_sign,
            may_sign_data=usage is None or usage.digital_signature,
            dns_names=() if names is None else _host_names(names),
            uris=(
                ()
                if names is None
                else tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
            ),
            unknown_critical=tuple(
                extension.oid.dotted_string
                for extension in extensions
                if extension.critical and extension.oid not in _UNDERSTOOD
            ),
            key_id=None if own is None else own.digest,
            authority_key_id=None if above is None else above.key_identifier,
        )
    except (
        ValueError,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
        Warning,  # about certificates that are nearly well formed, where warnings are errors
    ):
        raise Malformed("not a DER certificate") from None


def _fields(encoded: bytes, least: int) -> list[bytes]:
    fields = der.children(encoded)
    if len(fields) < least:
        raise Malformed("not a DER certificate: it has too few fields")
    return fields


def _extension(extensions: x509.Extensions, kind: type[_E]) -> _E | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _host_names(names: x509.SubjectAlternativeName) -> tuple[str, ...]:
    addresses = names.get_values_for_type(x509.IPAddress)
    return (*names.get_values_for_type(x509.DNSName), *map(str, addresses))


def _read_key(spki: bytes) -> PublicKey | None:
    for suite in suites():
        public_key = suite.decode_spki(spki)
        if public_key is not None:
            return PublicKey(suite.public_jwk(public_key))
    return None
