import base64
from collections.abc import Callable
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given
from hypothesis import strategies as st

from credentials import der
from credentials.certificate import read_certificate
from credentials.errors import (
    CredentialError,
    IssuerMismatch,
    KeyInvalid,
    Malformed,
    UntrustedChain,
)
from credentials.keys import SoftwareKey
from credentials.pki import _sign as sign_certificate  # to forge what a CA must not sign
from credentials.pki import create_root, issue_leaf, verify_chain, x5c
from tests.credentials.world import NOW

DAY = 86_400
ROOT_KEY, LEAF_KEY, OTHER_KEY = (SoftwareKey.generate() for _ in range(3))
ROOT = create_root("Root A", ROOT_KEY, NOW, years=2)
OTHER_ROOT = create_root("Root B", OTHER_KEY, NOW)


def leaf(**changes: object) -> bytes:
    arguments: dict[str, object] = {
        "name": "Issuer",
        "now": NOW,
        "dns": ["issuer.example", "127.0.0.1"],
        "uri": ["https://issuer.example/t/1"],
        "days": 90,
    }
    arguments.update(changes)
    return issue_leaf(ROOT, ROOT_KEY, LEAF_KEY.public_jwk(), **arguments)  # type: ignore[arg-type]


LEAF = leaf()


def forge(
    *,
    issuer: bytes = ROOT,
    signer: SoftwareKey = ROOT_KEY,
    key: SoftwareKey = LEAF_KEY,
    subject: str = "Forged",
    authority: bool = False,
    path_length: int | None = None,
    extra: list[tuple[x509.ExtensionType, bool]] | None = None,
) -> bytes:
    """Sign a certificate that `issue_leaf` would not."""
    view = read_certificate(create_root(subject, key, NOW))
    return sign_certificate(
        signer,
        issuer=read_certificate(issuer).subject_der,
        subject=view.subject_der,
        spki=der.children(view.signed_part)[6],
        not_before=NOW,
        not_after=NOW + DAY,
        extensions=[
            (x509.BasicConstraints(ca=authority, path_length=path_length), True),
            *(extra or []),
        ],
    )


def refusal(call: Callable[[], object]) -> UntrustedChain:
    with pytest.raises(UntrustedChain) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("root_alg", ["ES256", "Ed25519"])
@pytest.mark.parametrize("leaf_alg", ["ES256", "Ed25519"])
def test_a_leaf_leads_to_its_root(root_alg: str, leaf_alg: str) -> None:
    root_key, key = SoftwareKey.generate(root_alg), SoftwareKey.generate(leaf_alg)
    root = create_root("Root", root_key, NOW)
    certificate = issue_leaf(root, root_key, key.public_jwk(), name="Issuer", now=NOW)
    chain = verify_chain(x5c([certificate]), [OTHER_ROOT, root], NOW)
    assert chain.public_jwk == key.public_jwk()
    assert (chain.leaf, chain.anchor) == (certificate, root)
    # What is made here is what another library calls a certificate.
    parsed, anchor = map(x509.load_der_x509_certificate, (certificate, root))
    parsed.verify_directly_issued_by(anchor)
    anchor.verify_directly_issued_by(anchor)
    assert parsed.serial_number.bit_length() <= 159
    assert parsed.not_valid_before_utc.timestamp() == NOW - 300


def test_the_webpki_verifier_of_cryptography_accepts_the_chain() -> None:
    certificate, root = map(x509.load_der_x509_certificate, (leaf(dns=["issuer.example"]), ROOT))
    builder = PolicyBuilder().store(Store([root])).time(certificate.not_valid_before_utc)
    verifier = builder.build_server_verifier(x509.DNSName("issuer.example"))
    assert verifier.verify(certificate, []) == [certificate, root]


def test_names_are_read() -> None:
    chain = verify_chain(x5c([leaf()]), [ROOT], NOW)
    assert chain.names == ("issuer.example", "127.0.0.1", "https://issuer.example/t/1")
    assert chain.subject == "CN=Issuer"


@pytest.mark.parametrize(
    ("issuer", "allowed"),
    [
        ("https://issuer.example/t/1", True),
        ("https://issuer.example/t/1/x", True),
        ("https://issuer.example", False),
        ("https://issuer.example/t/2", False),
        ("https://issuer.example:8443/t/2", False),
        ("http://127.0.0.1:8000", True),
        ("https://other.example/t/1", False),
        ("https://issuer.example.other.example", False),
        ("did:web:issuer.example", False),
        ("https://[issuer.example", False),
        ("", False),
    ],
)
def test_a_leaf_speaks_for_its_names_only(issuer: str, *, allowed: bool) -> None:
    chain = verify_chain(x5c([leaf()]), [ROOT], NOW)
    if allowed:
        chain.check_issuer(issuer)
    else:
        with pytest.raises(IssuerMismatch):
            chain.check_issuer(issuer)
    verify_chain(x5c([leaf(dns=[], uri=[])]), [ROOT], NOW).check_issuer(issuer)


@pytest.mark.parametrize("uri", [[], ["https://elsewhere.example/contact"]])
def test_a_host_speaks_for_its_addresses_where_no_uri_names_a_part_of_it(uri: list[str]) -> None:
    chain = verify_chain(x5c([leaf(dns=["issuer.example"], uri=uri)]), [ROOT], NOW)
    for address in ("https://issuer.example", "https://issuer.example:8443/t/2"):
        chain.check_issuer(address)
    with pytest.raises(IssuerMismatch):
        chain.check_issuer("https://other.example")


def test_a_uri_name_does_not_cover_its_neighbours() -> None:
    chain = verify_chain(x5c([leaf(dns=[])]), [ROOT], NOW)
    chain.check_issuer("https://issuer.example/t/1/below")
    for neighbour in ("https://issuer.example/t/10", "https://issuer.example/t"):
        with pytest.raises(IssuerMismatch):
            chain.check_issuer(neighbour)


def test_validity_is_checked_at_every_use_of_a_known_chain() -> None:
    chain = x5c([leaf()])
    verify_chain(chain, [ROOT], NOW)
    early = refusal(lambda: verify_chain(chain, [ROOT], NOW - 301))
    assert (early.position, early.reason) == (0, "not valid yet")
    late = refusal(lambda: verify_chain(chain, [ROOT], NOW + 91 * DAY))
    assert str(late) == "certificate 0 (CN=Issuer): expired"


def test_a_leaf_does_not_outlive_its_root_and_an_expired_root_is_named() -> None:
    certificate = leaf(days=10_000)
    assert read_certificate(certificate).not_after == read_certificate(ROOT).not_after
    old = create_root("Old Root", ROOT_KEY, NOW - 20 * 365 * DAY)
    chain = x5c([forge(issuer=old)])
    error = refusal(lambda: verify_chain(chain, [old], NOW))
    assert (error.position, error.reason) == (1, "expired")
    assert "trust anchor" in str(error)


def test_untrusted_roots_are_named() -> None:
    error = refusal(lambda: verify_chain(x5c([leaf()]), [OTHER_ROOT], NOW))
    assert "was issued by CN=Root A" in str(error)
    # A root of the same name and another key.
    impostor = create_root("Root A", OTHER_KEY, NOW)
    error = refusal(lambda: verify_chain(x5c([leaf()]), [impostor], NOW))
    assert "not signed by the trust anchor of that name" in str(error)
    # A renewed root beside the old one: whichever signed is found.
    assert verify_chain(x5c([leaf()]), [impostor, ROOT], NOW).anchor == ROOT


def test_roots_do_not_belong_into_x5c() -> None:
    with pytest.raises(Malformed):
        x5c([leaf(), ROOT])
    with pytest.raises(Malformed):
        x5c([])
    encoded = [*x5c([leaf()]), _base64(ROOT)]
    error = refusal(lambda: verify_chain(encoded, [ROOT], NOW))
    assert (error.position, "self-signed or a root" in error.reason) == (1, True)
    alone = refusal(lambda: verify_chain([_base64(ROOT)], [ROOT], NOW))
    assert "self-signed or a root" in alone.reason


def test_an_intermediate_needs_authority() -> None:
    middle_key = SoftwareKey.generate()
    for authority, length, reason in (
        (True, 0, None),
        (True, None, None),
        (False, None, "may not sign certificates"),
    ):
        middle = forge(key=middle_key, subject="Middle", authority=authority, path_length=length)
        end = forge(issuer=middle, signer=middle_key, subject="End")
        if reason is None:
            assert verify_chain(x5c([end, middle]), [ROOT], NOW).subject == "CN=End"
        else:
            error = refusal(lambda e=end, m=middle: verify_chain(x5c([e, m]), [ROOT], NOW))  # type: ignore[misc]
            assert (error.position, error.reason) == (1, reason)


def test_path_lengths_and_order_are_kept() -> None:
    keys = [SoftwareKey.generate() for _ in range(2)]
    upper = forge(key=keys[0], subject="Upper", authority=True)
    lower = forge(issuer=upper, signer=keys[0], key=keys[1], subject="Lower", authority=True)
    end = forge(issuer=lower, signer=keys[1], subject="End")
    # The root allows one level of authorities below it, not two.
    error = refusal(lambda: verify_chain(x5c([end, lower, upper]), [ROOT], NOW))
    assert error.reason == "allows 1 levels below it"
    error = refusal(lambda: verify_chain(x5c([end, upper]), [ROOT], NOW))
    assert error.reason == "was not issued by the next certificate in x5c"


def test_an_authority_is_no_signer_of_data() -> None:
    chain = x5c([forge(authority=True)])
    assert (
        "not a certificate for signing data"
        in refusal(lambda: verify_chain(chain, [ROOT], NOW)).reason
    )


def test_unknown_critical_extensions_are_refused() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
    verify_chain(x5c([forge(extra=[(unknown, False)])]), [ROOT], NOW)
    error = refusal(lambda: verify_chain(x5c([forge(extra=[(unknown, True)])]), [ROOT], NOW))
    assert "critical extensions 1.2.3.4.5" in error.reason
    constraints = x509.NameConstraints([x509.DNSName("a.example")], None)
    chain = x5c([forge(extra=[(constraints, True)])])
    assert "critical" in refusal(lambda: verify_chain(chain, [ROOT], NOW)).reason


def test_a_changed_certificate_does_not_verify() -> None:
    for position in range(0, len(LEAF), 7):
        changed = bytearray(LEAF)
        changed[position] ^= 1
        with pytest.raises(UntrustedChain):
            verify_chain([_base64(bytes(changed))], [ROOT], NOW)


def test_caps_and_forms() -> None:
    many = [*x5c([leaf()]) * 6]
    assert "not 1 to 5" in refusal(lambda: verify_chain(many, [ROOT], NOW)).reason
    assert "exceeds" in refusal(lambda: verify_chain(["A" * 9000], [ROOT], NOW)).reason
    for text in ("", "AAAA", "é", x5c([leaf()])[0][:-4], x5c([leaf()])[0] + "AAAA", "-_"):
        with pytest.raises(UntrustedChain):
            verify_chain([text], [ROOT], NOW)
    with pytest.raises(Malformed):
        verify_chain([5], [ROOT], NOW)  # type: ignore[list-item]


@given(st.binary(max_size=120))
def test_any_bytes_raise_only_the_family(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_certificate(data)
    with pytest.raises(Malformed):
        der.children(data + b"\x00\x84")


@given(st.data())
def test_mutated_certificates_raise_only_the_family(data: st.DataObject) -> None:
    certificate = bytearray(LEAF)
    for _ in range(data.draw(st.integers(1, 4))):
        certificate[data.draw(st.integers(0, len(certificate) - 1))] = data.draw(
            st.integers(0, 255)
        )
    with suppress(CredentialError):
        read_certificate(bytes(certificate))


def test_issuing_is_refused_without_the_roots_key_or_with_a_broken_one() -> None:
    with pytest.raises(KeyInvalid):
        issue_leaf(ROOT, OTHER_KEY, LEAF_KEY.public_jwk(), name="Issuer", now=NOW)
    with pytest.raises(KeyInvalid):
        issue_leaf(ROOT, ROOT_KEY, {"kty": "EC", "crv": "P-256"}, name="Issuer", now=NOW)
    for name in ("", "x" * 65):
        with pytest.raises(Malformed):
            leaf(name=name)
    with pytest.raises(Malformed):
        leaf(dns=["bücher.example"])


def test_times_beyond_2049_are_written_as_generalized_time() -> None:
    far = create_root("Far", ROOT_KEY, NOW, years=40)
    assert x509.load_der_x509_certificate(far).not_valid_after_utc.year == 2066


def _base64(certificate: bytes) -> str:
    return base64.b64encode(certificate).decode()
