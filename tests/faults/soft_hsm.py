"""A PKCS#11 device of one's own: a token of SoftHSM2 in a folder."""

import gc
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pkcs11
import pytest
from pkcs11.util.ec import encode_named_curve_parameters

from broker.outbound.pkcs11 import KeyAddress, Pkcs11Key
from tests.programs import missing, require

PIN = "1234-secret"
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)


class Device:
    """A token of SoftHSM2 with keys of both kinds and one of a kind that is not for us."""

    def __init__(self, folder: Path, initialize: Callable[..., None]) -> None:
        module = next((path for path in MODULES if Path(path).is_file()), None)
        if module is None:
            missing("SoftHSM2's PKCS#11 module is in none of its known places")
        self.module = module
        self.pin_file = folder / "pin"
        self.pin_file.write_text(f"{PIN}\n")
        initialize("--init-token", "--free", "--label", "broker", "--pin", PIN, "--so-pin", "0000")
        self.library = pkcs11.lib(module)
        with self.library.get_token(token_label="broker").open(rw=True, user_pin=PIN) as session:
            for name in ("issuer", "other", "issuer-demo", "newer-demo", "issuer-two"):
                self._curve(session, name, encode_named_curve_parameters("secp256r1"))
            self._curve(session, "large", encode_named_curve_parameters("secp384r1"))
            edwards = encode_named_curve_parameters("1.3.101.112")  # id-Ed25519
            session.create_domain_parameters(
                pkcs11.KeyType.EC_EDWARDS, {pkcs11.Attribute.EC_PARAMS: edwards}, local=True
            ).generate_keypair(
                mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                label="log",
                id=b"\x01\xff",
                store=True,
            )

    def _curve(self, session: pkcs11.Session, name: str, curve: bytes) -> None:
        session.create_domain_parameters(
            pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: curve}, local=True
        ).generate_keypair(label=name, id=name.encode(), store=True)

    def uri(self, key: str = "object=issuer", token: str = "broker") -> str:
        where = f"module-path={self.module}&pin-source=file:{self.pin_file}"
        return f"pkcs11:token={token};{key}?{where}"

    def key(self, key: str = "object=issuer") -> Pkcs11Key:
        return Pkcs11Key(KeyAddress.parse(self.uri(key)))


@contextmanager
def soft_hsm(folder: Path) -> Iterator[Device]:
    """A device below `folder`; programs started meanwhile find it by their environment."""
    program = require("softhsm2-util", "make a PKCS#11 token")
    (folder / "tokens").mkdir()
    configuration = folder / "configuration"
    configuration.write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(configuration))

        def initialize(*arguments: str) -> None:
            subprocess.run([program, *arguments], check=True, capture_output=True, timeout=60)

        yield Device(folder, initialize)
        gc.collect()
