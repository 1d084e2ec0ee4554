"""Keys in a PKCS#11 device sign like keys in memory, and a device that fails says so."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pkcs11
import pytest

from broker.domain.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from broker.domain.errors import KeyDeviceUnavailable
from broker.domain.note import Ed25519Signer, Ed25519Verifier
from broker.outbound.pkcs11 import KeyAddress, Pkcs11Key
from broker.settings import SettingsError
from credentials.errors import SignatureInvalid
from credentials.issue import issue_sd_jwt_vc
from credentials.keys import verify_signature
from credentials.pki import create_root, issue_leaf, x5c
from tests.credentials.world import CLAIMS, ISSUER, NOW, VCT, World
from tests.faults.soft_hsm import PIN, Device


@pytest.fixture
def key(device: Device) -> Iterator[Pkcs11Key]:
    opened = device.key()
    yield opened
    opened.close()


def test_its_signatures_verify_under_its_public_key(key: Pkcs11Key) -> None:
    assert key.alg == "ES256"
    for data in (b"", b"data", bytes(100_000)):
        verify_signature(key.public_jwk(), "ES256", data, key.sign(data))
    with pytest.raises(SignatureInvalid):
        verify_signature(key.public_jwk(), "ES256", b"other", key.sign(b"data"))


def test_it_issues_credentials_below_a_root_in_the_device(device: Device, key: Pkcs11Key) -> None:
    root_key = device.key("object=other")
    root = create_root("Device Root", root_key, now=NOW)
    leaf = issue_leaf(
        root,
        root_key,
        key.public_jwk(),
        name="Device Issuer",
        now=NOW,
        uri=["https://issuer.example"],
    )
    world = replace(World.make(), root=root)
    credential = issue_sd_jwt_vc(
        signer=key,
        x5c=x5c([leaf]),
        issuer=ISSUER,
        vct=VCT,
        claims=CLAIMS,
        disclosable=(),
        holder_jwk=world.holder.public_jwk(),
        status=None,
        issued_at=NOW,
        expires_at=NOW + 60,
    )
    assert world.accept(credential).claims["jti"] == "copy-1"
    root_key.close()


def test_an_ed25519_key_named_by_its_id_signs_checkpoints(device: Device) -> None:
    key = device.key("id=%01%ff")
    signer = Ed25519Signer.from_key("log.example", key)
    note = sign_checkpoint(Checkpoint("log.example", 1, bytes(32)), [signer])
    assert open_checkpoint(note, Ed25519Verifier(signer.verifier_key)).size == 1
    key.close()


def test_many_threads_sign_with_two_keys_at_once(device: Device, key: Pkcs11Key) -> None:
    other = device.key("object=other")
    failures: list[BaseException] = []

    def work(signer: Pkcs11Key) -> None:
        try:
            for number in range(50):
                data = b"%d" % number
                verify_signature(signer.public_jwk(), "ES256", data, signer.sign(data))
        except (KeyDeviceUnavailable, SignatureInvalid) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(signer,)) for signer in (key, other) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert failures == []


def test_a_key_that_was_logged_out_by_another_signs_again(device: Device, key: Pkcs11Key) -> None:
    other = device.key("object=other")
    key.close()  # which logs the process out of the token
    other.sign(b"data")
    key.sign(b"data")
    other.close()
    key.sign(b"data")


def test_the_private_key_cannot_be_taken_out(device: Device, key: Pkcs11Key) -> None:
    assert not hasattr(key, "private_jwk")
    with device.library.get_token(token_label="broker").open() as session:
        private = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label="issuer")
        with pytest.raises(pkcs11.AttributeSensitive):
            private[pkcs11.Attribute.VALUE]


def test_a_device_that_fails_while_signing_says_so_and_recovers(
    device: Device, key: Pkcs11Key
) -> None:
    key.close()
    device.pin_file.write_text("wrong-pin\n")
    with pytest.raises(KeyDeviceUnavailable, match="PinIncorrect") as failed:
        key.sign(b"data")
    assert "wrong-pin" not in str(failed.value)
    assert isinstance(failed.value, OSError)
    device.pin_file.unlink()
    with pytest.raises(KeyDeviceUnavailable, match="cannot be read"):
        key.sign(b"data")
    device.pin_file.write_text(f"{PIN}\n")
    verify_signature(key.public_jwk(), "ES256", b"data", key.sign(b"data"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("object=issuer", "object=nobody"), "NoSuchKey"),
        (("token=broker", "token=elsewhere"), "NoSuchToken"),
        (("object=issuer", "object=large"), "neither P-256 nor Ed25519"),
        (("module-path=", "module-path=/nowhere"), "PKCS11Error"),
    ],
)
def test_what_is_not_there_is_named(device: Device, change: tuple[str, str], message: str) -> None:
    with pytest.raises(KeyDeviceUnavailable, match=message):
        Pkcs11Key(KeyAddress.parse(device.uri().replace(*change)))


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "file:/key.pem",
        "pkcs11:",
        "pkcs11:object=issuer?module-path=/m&pin-value=1",
        "pkcs11:token=t;object=issuer?pin-value=1",
        "pkcs11:token=t?module-path=/m&pin-value=1",
        "pkcs11:token=t;object=o?module-path=/m",
        "pkcs11:token=t;object=o?module-path=/m&pin-value=1&pin-source=file:/p",
        "pkcs11:token=t;object=o;type=cert?module-path=/m&pin-value=1",
        "pkcs11:token=t;object=o;serial=1?module-path=/m&pin-value=1",
        "pkcs11:token=t;token=u;object=o?module-path=/m&pin-value=1",
        "pkcs11:token=%ff;object=o?module-path=/m&pin-value=1",
        "pkcs11:token=;object=o?module-path=/m&pin-value=1",
    ],
)
def test_an_address_that_does_not_name_one_key_is_refused(uri: str) -> None:
    with pytest.raises(SettingsError):
        KeyAddress.parse(uri)


def test_an_address_is_percent_decoded_and_does_not_show_its_pin() -> None:
    address = KeyAddress.parse(
        "pkcs11:token=my%20token;id=%01%02;type=private?module-path=/m.so&pin-value=se%26cret"
    )
    assert (address.token, address.identifier, address.label) == ("my token", b"\x01\x02", None)
    assert address.read_pin() == "se&cret"
    assert "cret" not in repr(address)
