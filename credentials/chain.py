"""Verifying an `x5c` chain against trust anchors (RFC 5280, section 6; RFC 7515, 4.1.6).

The path is the one the header gives, in its order; nothing is searched for or fetched. Every
failure says which certificate and why, since this is what operators meet first.
"""

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from credentials.certificate import Certificate, read_certificate
from credentials.errors import (
    AlgorithmNotAllowed,
    CredentialError,
    IssuerMismatch,
    Malformed,
    SignatureInvalid,
    UntrustedChain,
)
from credentials.jws import PublicKey
from credentials.suite import Jwk
from credentials.suites import suites

MAX_CERTIFICATES = 5
MAX_CERTIFICATE_CHARACTERS = 8_192


@dataclass(frozen=True, slots=True)
class TrustedChain:
    """A chain that led to a trust anchor at the time asked about."""

    key: PublicKey
    leaf: bytes
    subject: str
    dns_names: tuple[str, ...]
    uris: tuple[str, ...]
    anchor: bytes
    validity: tuple[tuple[str, int, int], ...]
    """Per certificate, leaf first, anchor last: subject, not before, not after."""

    @property
    def public_jwk(self) -> Jwk:
        """The leaf's public key."""
        return dict(self.key.jwk)

    @property
    def names(self) -> tuple[str, ...]:
        """The leaf's subject alternative names: hosts and URIs."""
        return self.dns_names + self.uris

    def check_issuer(self, issuer: str) -> None:
        """Check that the leaf may speak for an `iss` value. Raises `IssuerMismatch`.

        SD-JWT VC leaves the relation open. Here a leaf that carries names speaks only for them:
        for a URI, itself and what lies below it; for a host, its URLs, unless a URI names a part
        of that host: tenants share one, and none speaks for its neighbour. A leaf without names
        speaks for whatever its anchor lets it sign.
        """
        for uri in self.uris:
            if issuer == uri or issuer.startswith(uri.rstrip("/") + "/"):
                return
        if not self.names:
            return
        host = _host(issuer)
        if host not in self.dns_names or host in map(_host, self.uris):
            raise IssuerMismatch(f"iss is not a name of its certificate ({', '.join(self.names)})")


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def verify_chain(x5c: Sequence[str], anchors: Sequence[bytes], now: int) -> TrustedChain:
    """Verify an `x5c` header value and return the trusted leaf.

    `x5c` is standard base64 DER, leaf first, without the root; `anchors` are DER roots; `now` is
    Unix seconds. Everything but the validity periods is remembered per chain, since it does not
    change and costs far more than the signature that it is needed for.

    1. The list holds 1 to 5 certificates within their size, each parses, none has an unknown
       critical extension.
    2. None is self-signed or itself an anchor.
    3. The leaf is no authority and may sign data.
    4. Every other certificate is an authority that may sign certificates, within its path length.
    5. Each certificate names the next as its issuer and carries its signature; the last is
       signed by an anchor that may sign certificates.
    6. All validity periods, the anchor's included, contain `now`.

    Revocation of certificates (CRL, OCSP) is not looked up here; the caller removes anchors.
    Raises `UntrustedChain`, or `Malformed` if `x5c` is no list of strings.
    """
    if not isinstance(x5c, (list, tuple)):
        raise Malformed("x5c is not a list")
    for entry in x5c:
        if not isinstance(entry, str):
            raise Malformed("x5c is not a list of strings")
    chain = _verify_path(tuple(x5c), tuple(anchors))

    # 6. Validity periods.
    for position, (subject, not_before, not_after) in enumerate(chain.validity):
        name = f"{subject}, the trust anchor" if position == len(x5c) else subject
        if now < not_before:
            raise UntrustedChain("not valid yet", position=position, subject=name)
        if now > not_after:
            raise UntrustedChain("expired", position=position, subject=name)
    return chain


@lru_cache(maxsize=1024)
def _verify_path(x5c: tuple[str, ...], anchors: tuple[bytes, ...]) -> TrustedChain:
    # 1. Size and form.
    if not 0 < len(x5c) <= MAX_CERTIFICATES:
        raise UntrustedChain(f"x5c holds {len(x5c)} certificates, not 1 to {MAX_CERTIFICATES}")
    chain = [_decode(position, entry) for position, entry in enumerate(x5c)]

    for position, certificate in enumerate(chain):
        # 2. No roots.
        if certificate.encoded in anchors or certificate.subject_der == certificate.issuer_der:
            raise _fault(position, certificate, "is self-signed or a root; x5c must leave it out")
        # 3. and 4. Roles.
        if position == 0 and (certificate.is_authority or not certificate.may_sign_data):
            raise _fault(position, certificate, "is not a certificate for signing data")
        if position > 0:
            _check_authority(position, certificate, below=position - 1)

    # 5. Signatures.
    for position, certificate in enumerate(chain[:-1]):
        if certificate.issuer_der != chain[position + 1].subject_der:
            raise _fault(position, certificate, "was not issued by the next certificate in x5c")
        _check_signature(position, certificate, chain[position + 1])
    anchor = _find_anchor(len(chain) - 1, chain[-1], anchors)

    leaf = chain[0]
    if leaf.key is None:
        raise _fault(0, leaf, "has a key of an unsupported kind")
    validity = tuple((view.subject, view.not_before, view.not_after) for view in (*chain, anchor))
    return TrustedChain(
        key=leaf.key,
        leaf=leaf.encoded,
        subject=leaf.subject,
        dns_names=leaf.dns_names,
        uris=leaf.uris,
        anchor=anchor.encoded,
        validity=validity,
    )


def _decode(position: int, entry: str) -> Certificate:
    if len(entry) > MAX_CERTIFICATE_CHARACTERS:
        raise UntrustedChain(
            f"exceeds {MAX_CERTIFICATE_CHARACTERS} characters", position=position, subject="unread"
        )
    try:
        # RFC 7515, section 4.1.6: base64, not base64url.
        view = read_certificate(binascii.a2b_base64(entry.encode("ascii"), strict_mode=True))
    except (binascii.Error, UnicodeEncodeError, CredentialError):
        raise UntrustedChain(
            "is not a base64 DER certificate", position=position, subject="unread"
        ) from None
    if view.unknown_critical:
        raise _fault(position, view, f"has critical extensions {', '.join(view.unknown_critical)}")
    return view


def _find_anchor(
    position: int, certificate: Certificate, anchors: tuple[bytes, ...]
) -> Certificate:
    roots = [read_certificate(anchor) for anchor in anchors]
    named = [root for root in roots if root.subject_der == certificate.issuer_der]
    if not named:
        raise _fault(
            position,
            certificate,
            f"was issued by {certificate.issuer}, which is none of the {len(roots)} trust anchors",
        )
    for root in named:
        try:
            _check_signature(position, certificate, root)
        except UntrustedChain:
            continue
        _check_authority(position + 1, root, below=position)
        return root
    raise _fault(
        position,
        certificate,
        f"names {certificate.issuer} as issuer but is not signed by the trust anchor of that name",
    )


def _check_authority(position: int, certificate: Certificate, *, below: int) -> None:
    """Check that a certificate may sign others, `below` of which are authorities themselves."""
    if not certificate.is_authority or not certificate.may_sign_certificates:
        raise _fault(position, certificate, "may not sign certificates")
    if certificate.path_length is not None and below > certificate.path_length:
        raise _fault(position, certificate, f"allows {certificate.path_length} levels below it")


def _check_signature(position: int, certificate: Certificate, issuer: Certificate) -> None:
    if issuer.key is None:
        raise _fault(position, certificate, "is signed with an unsupported algorithm")
    for suite in suites():
        if suite.signature_algorithm == certificate.signature_algorithm:
            try:
                signature = suite.signature_from_x509(certificate.signature)
                issuer.key.verify(suite.alg, certificate.signed_part, signature)
            except (SignatureInvalid, AlgorithmNotAllowed):
                break
            return
    raise _fault(position, certificate, f"is not signed by {issuer.subject}")


def _fault(position: int, certificate: Certificate, reason: str) -> UntrustedChain:
    return UntrustedChain(reason, position=position, subject=certificate.subject)
