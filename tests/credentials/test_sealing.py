import pytest
from hypothesis import given
from hypothesis import strategies as st

from credentials.errors import KeyInvalid, SealBroken
from credentials.keys import SoftwareKey
from credentials.sealing import MasterKey

CONTEXT = "signing-key:tenant-1"


@given(st.binary(max_size=300), st.text(max_size=30))
def test_what_is_sealed_opens_in_its_context(plaintext: bytes, context: str) -> None:
    master = MasterKey.generate()
    assert master.open(master.seal(plaintext, context), context) == plaintext


def test_every_changed_byte_breaks_the_seal() -> None:
    master = MasterKey.generate()
    sealed = master.seal(b"secret", CONTEXT)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SealBroken):
            master.open(bytes(changed), CONTEXT)


@pytest.mark.parametrize(
    "context", ["signing-key:tenant-2", "evidence:tenant-1", "", "signing-key"]
)
def test_another_context_does_not_open(context: str) -> None:
    master = MasterKey.generate()
    with pytest.raises(SealBroken):
        master.open(master.seal(b"secret", CONTEXT), context)


def test_a_rotated_key_opens_what_its_predecessor_sealed_and_seals_anew() -> None:
    old, new = MasterKey.generate(), MasterKey.generate()
    sealed = old.seal(b"secret", CONTEXT)
    with pytest.raises(SealBroken, match="previous keys"):
        new.open(sealed, CONTEXT)
    rotated = MasterKey.from_bytes(new.to_bytes(), previous=[old.to_bytes()])
    assert rotated.open(sealed, CONTEXT) == b"secret"
    assert new.open(rotated.seal(b"again", CONTEXT), CONTEXT) == b"again"


def test_equal_plaintexts_have_unequal_seals() -> None:
    master = MasterKey.generate()
    assert master.seal(b"same", CONTEXT) != master.seal(b"same", CONTEXT)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_master_key_is_32_bytes(length: int) -> None:
    with pytest.raises(KeyInvalid):
        MasterKey.from_bytes(bytes(length))


@given(st.binary(max_size=100))
def test_any_bytes_raise_only_the_family(data: bytes) -> None:
    with pytest.raises(SealBroken):
        MasterKey.from_bytes(bytes(32)).open(data, CONTEXT)


@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
def test_software_keys_rest_sealed(alg: str) -> None:
    master = MasterKey.generate()
    key = SoftwareKey.generate(alg)
    sealed = key.sealed(master, CONTEXT)
    private = key.private_jwk()["d"]
    assert private.encode() not in sealed
    assert private not in repr(key)
    assert SoftwareKey.from_sealed(master, sealed, CONTEXT).public_jwk() == key.public_jwk()
    with pytest.raises(SealBroken):
        SoftwareKey.from_sealed(master, sealed, "signing-key:tenant-2")


def test_secrets_do_not_show_in_a_representation() -> None:
    master = MasterKey.generate()
    assert master.to_bytes().hex() not in repr(master)
