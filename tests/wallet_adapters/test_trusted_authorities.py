"""A query that says by whom issuers are certified, and the wallet that heeds it."""

from cryptography import x509

from credentials.certificate import read_certificate
from credentials.jcs import b64url
from credentials.pki import x5c
from tests.wallet_adapters.parties import Authority
from wallet_adapters.openid4vp.dcql import TrustedAuthority
from wallet_adapters.openid4vp.trusted_authorities import authorities_of, is_certified_by

OURS, ANOTHER = Authority(), Authority("Another root")


def test_the_key_identifiers_are_those_of_the_certificates() -> None:
    root = x509.load_der_x509_certificate(OURS.root)
    named = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert authorities_of((OURS.root,)) == (TrustedAuthority("aki", (b64url(named),)),)
    assert read_certificate(OURS.leaf).authority_key_id == named
    assert authorities_of(()) == ()


def test_a_credential_matches_by_any_certificate_of_its_chain() -> None:
    both = authorities_of((ANOTHER.root, OURS.root))
    assert is_certified_by(both, x5c([OURS.leaf]))
    assert is_certified_by(authorities_of((OURS.root,)), x5c([OURS.leaf]))
    assert not is_certified_by(authorities_of((ANOTHER.root,)), x5c([OURS.leaf]))
    assert not is_certified_by(both, [])
    assert not is_certified_by(both, ["not base64!", 7, "AAAA"])


def test_without_authorities_or_of_an_unknown_type_nothing_is_left_out() -> None:
    assert is_certified_by((), [])
    assert is_certified_by((TrustedAuthority("etsi_tl", ("https://lotl.example",)),), [])
