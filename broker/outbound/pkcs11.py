"""Signing keys in a PKCS#11 device: an HSM, a smart card, or SoftHSM.

A key is named by a PKCS#11 URI (RFC 7512):
`pkcs11:token=broker;object=issuer?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/secrets/pin`.
The private key never leaves the device. This module needs the extra `hsm`.
"""

import contextlib
import hashlib
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import unquote_to_bytes

import pkcs11
from pkcs11.exceptions import PinIncorrect, PinLocked, PKCS11Error, UserAlreadyLoggedIn
from pkcs11.types import SignMixin

from broker.domain.errors import KeyDeviceUnavailable
from broker.settings import SettingsError
from credentials.errors import CredentialError
from credentials.jcs import b64url
from credentials.keys import Jwk, verify_signature

_PATH_NAMES = frozenset({"token", "object", "id", "type"})
_QUERY_NAMES = frozenset({"module-path", "pin-source", "pin-value"})
_OCTET_STRING = 0x04
_POINT_BYTES = {"ES256": 65, "Ed25519": 32}
_CURVES = {
    bytes.fromhex("06082a8648ce3d030107"): "ES256",  # OID prime256v1
    bytes.fromhex("06032b6570"): "Ed25519",  # OID id-Ed25519
    bytes.fromhex("130c656477617264733235353139"): "Ed25519",  # "edwards25519", PKCS#11 2.40 draft
}
_CHECK = b"consent-broker: is this the private half of that public key?"
# python-pkcs11 initializes a module without telling it that there are threads (CKF_OS_LOCKING_OK),
# so two keys that sign at once crash the process: whatever enters a module holds this.
_DEVICE = threading.Lock()

T = TypeVar("T")


@dataclass(frozen=True)
class KeyAddress:
    """Where a key is. `identifier` is CKA_ID; one of `label` and `identifier` is given."""

    module: str
    token: str
    label: str | None
    identifier: bytes | None
    read_pin: Callable[[], str] = field(repr=False)

    @classmethod
    def parse(cls, uri: str, *, pin: str = "") -> Self:
        """Read a PKCS#11 URI. Raises `SettingsError`, whose message never holds the PIN.

        Of RFC 7512, section 2.3, what names one key: token, object, id, module-path (needed),
        pin-source (a file) and pin-value. Other attributes are refused, not ignored. `pin` stands
        for a PIN that the address does not hold.
        """
        scheme, _, rest = uri.partition(":")
        path, _, query = rest.partition("?")
        found = _attributes(path, ";", _PATH_NAMES)
        asked = _attributes(query, "&", _QUERY_NAMES)
        message = None
        if scheme != "pkcs11" or "token" not in found or "module-path" not in asked:
            message = "a key's address is pkcs11:token=...;object=...?module-path=..."
        elif not {"object", "id"} & found.keys() or found.get("type", b"private") != b"private":
            message = "a key's PKCS#11 address names a private key by object or id"
        elif ["pin-source" in asked, "pin-value" in asked, bool(pin)].count(True) != 1:
            message = (
                "a key's PKCS#11 address has either pin-source or pin-value, or neither and the "
                "PIN is in BROKER_PKCS11_PIN"
            )
        if message is not None:
            raise SettingsError(message)
        given = pin or _text(asked.get("pin-value", b""))
        return cls(
            module=_text(asked["module-path"]),
            token=_text(found["token"]),
            label=_text(found["object"]) if "object" in found else None,
            identifier=found.get("id"),
            read_pin=_pin_in_file(_text(asked["pin-source"])) if not given else lambda: given,
        )


class Pkcs11Key:
    """A `Signer` whose private key is in a device.

    Safe from several threads; the keys of a process sign one at a time. A session that the device
    has dropped is opened again once.
    """

    def __init__(self, address: KeyAddress) -> None:
        """Open the key and check that its halves belong together.

        Raises `KeyDeviceUnavailable` when the device, its key or its PIN fails, or the key is of
        another kind than P-256 and Ed25519.
        """
        self._address = address
        self._session: pkcs11.Session | None = None
        self._private: SignMixin | None = None
        self._public_jwk: Jwk | None = None
        with _DEVICE:
            self._alg, self._public_jwk = self._in_device(self._read_public)
        try:
            verify_signature(self._public_jwk, self._alg, _CHECK, self.sign(_CHECK))
        except CredentialError as error:
            raise KeyDeviceUnavailable(
                "the private and the public key of this name do not belong together"
            ) from error

    @property
    def alg(self) -> str:
        """The JOSE name of its algorithm: ES256 or Ed25519."""
        return self._alg

    def public_jwk(self) -> Jwk:
        """The public JWK."""
        return dict(self._public_jwk or {})

    def sign(self, data: bytes) -> bytes:
        """Sign in the device; the signature in JOSE form. Raises `KeyDeviceUnavailable`."""
        with _DEVICE:
            return self._in_device(lambda: self._sign(data))

    def close(self) -> None:
        """Leave the device."""
        with _DEVICE:
            self._drop()

    def _sign(self, data: bytes) -> bytes:
        private = self._open()
        # Both mechanisms answer in the form that JOSE takes: r || s, or the 64 bytes of RFC 8032.
        if self._alg == "ES256":
            digest = hashlib.sha256(data).digest()
            return bytes(private.sign(digest, mechanism=pkcs11.Mechanism.ECDSA))
        return bytes(private.sign(data, mechanism=pkcs11.Mechanism.EDDSA))

    def _read_public(self) -> tuple[str, Jwk]:
        self._open()
        if self._session is None:
            raise KeyDeviceUnavailable("the key device is closed")
        return self._held(self._session)

    def _held(self, session: pkcs11.Session) -> tuple[str, Jwk]:
        """The public half that the device has under the name."""
        public = session.get_key(
            object_class=pkcs11.ObjectClass.PUBLIC_KEY,
            label=self._address.label,
            id=self._address.identifier,
        )
        alg = _CURVES.get(bytes(public[pkcs11.Attribute.EC_PARAMS]))
        if alg is None:
            raise KeyDeviceUnavailable("the key in the device is neither P-256 nor Ed25519")
        return alg, _public_jwk(alg, bytes(public[pkcs11.Attribute.EC_POINT]))

    def _open(self) -> SignMixin:
        if self._private is None:
            token = pkcs11.lib(self._address.module).get_token(token_label=self._address.token)
            self._session = _open_session(token, self._read_pin())
            found = self._session.get_key(
                object_class=pkcs11.ObjectClass.PRIVATE_KEY,
                label=self._address.label,
                id=self._address.identifier,
            )
            if not isinstance(found, SignMixin):
                raise KeyDeviceUnavailable("the key in the device may not sign")
            if self._public_jwk is not None and self._held(self._session)[1] != self._public_jwk:
                self._drop()
                raise KeyDeviceUnavailable(
                    "the device holds another key under this name than before: a new key needs a "
                    "name of its own"
                )
            self._private = found
        return self._private

    def _read_pin(self) -> str:
        try:
            return self._address.read_pin()
        except (OSError, UnicodeDecodeError) as error:
            raise KeyDeviceUnavailable(
                f"the PIN of the key device cannot be read ({type(error).__name__})"
            ) from None

    def _in_device(self, act: Callable[[], T]) -> T:
        """Act, once more with a new session if the first has failed. The lock is held."""
        try:
            try:
                return act()
            except (PinIncorrect, PinLocked):
                raise  # devices count wrong PINs and lock themselves
            except PKCS11Error:
                self._drop()
                return act()
        except PKCS11Error as error:
            self._drop()
            # Its text is the device's own; the type is the return value of the standard.
            raise KeyDeviceUnavailable(
                f"the key device does not sign ({type(error).__name__}): check its module, token, "
                "key name and PIN"
            ) from None

    def _drop(self) -> None:
        session, self._session, self._private = self._session, None, None
        if session is not None:
            with contextlib.suppress(PKCS11Error):
                session.close()


def _open_session(token: pkcs11.Token, pin: str) -> pkcs11.Session:
    """A session on a token; a process logs in to a token once, for all of its sessions."""
    try:
        return token.open(user_pin=pin)
    except UserAlreadyLoggedIn:
        return token.open()


def _public_jwk(alg: str, point: bytes) -> Jwk:
    """The JWK of CKA_EC_POINT: a DER OCTET STRING, from some devices without its wrapping."""
    size = _POINT_BYTES[alg]
    if len(point) == size + 2 and point[:2] == bytes([_OCTET_STRING, size]):
        point = point[2:]
    if len(point) != size:
        raise KeyDeviceUnavailable("the device gives a public key in a form that is not known")
    if alg == "Ed25519":
        return {"kty": "OKP", "crv": "Ed25519", "x": b64url(point)}
    return {"kty": "EC", "crv": "P-256", "x": b64url(point[1:33]), "y": b64url(point[33:])}


def _attributes(text: str, separator: str, known: Collection[str]) -> dict[str, bytes]:
    """Attributes by name, percent-decoded. Raises `SettingsError` for one not known, or twice."""
    found: dict[str, bytes] = {}
    for part in filter(None, text.split(separator)):
        name, _, value = part.partition("=")
        if name not in known or name in found or not value:
            message = "a key's PKCS#11 address has an attribute that is not known, empty, or twice"
            raise SettingsError(message)
        found[name] = unquote_to_bytes(value.encode("utf-8", "surrogatepass"))
    return found


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        message = "a key's PKCS#11 address is not UTF-8"
        raise SettingsError(message) from None


def _pin_in_file(source: str) -> Callable[[], str]:
    path = Path(source.removeprefix("file:"))
    return lambda: path.read_text(encoding="utf-8").strip()
