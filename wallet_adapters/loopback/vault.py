"""Sealing an attribute to a partner and putting it into a vault, under a consent that was given."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from credentials.jcs import b64url
from wallet_adapters.envelope import MEDIA_TYPE, UNMASKED, Sealed, read_sealing_key, seal_envelope
from wallet_adapters.errors import Malformed
from wallet_adapters.loopback.errors import NothingToPresent
from wallet_adapters.loopback.state import Carry, Message, Wallet
from wallet_adapters.masking import MASKINGS, masked
from wallet_adapters.vault_reference import VaultReference, sign_vault_reference
from wallet_adapters.wire import require_object, require_text

REFERENCE_HEADER: Final = "vault-reference"
_WHAT: Final = "what the broker says of its vaults"


@dataclass(frozen=True)
class ToSeal:
    """An attribute, and the consent under which it goes to whom. `address` is the broker's.

    `value` is as the customer has it; what is sealed is masked by `masking`, if that is not "none".
    """

    address: str
    partner_id: str
    consent_id: str
    attribute: str
    value: Any = field(repr=False)
    masking: str = UNMASKED


def put_into_vault(
    wallet: Wallet, what: ToSeal, *, carry: Carry, now: int, vault: str = ""
) -> Mapping[str, object]:
    """Seal an attribute to the partner's key, sign where it goes, and have it stored there.

    `vault` is one of those that the broker names, its first when empty. What the broker says that
    it stored is returned. Raises leaves of `WalletProtocolError`; `NothingToPresent` where no
    credential of this broker is held.
    """
    if what.masking not in {UNMASKED, *MASKINGS}:
        raise Malformed(f"a masking is one of: {', '.join((UNMASKED, *MASKINGS))}")
    held = [one for one in wallet.credentials if one.issuer == what.address]
    if not held:
        raise NothingToPresent("no credential of this broker is held, so nothing can be signed")
    signer = min(held, key=lambda one: one.uses).key
    asked = Message.get(f"{what.address}/v1/vaults/{quote(what.partner_id, safe='')}")
    place = carry(asked).json(_WHAT)
    key = read_sealing_key(require_object(place, "sealing_key", what=_WHAT))
    value = what.value if what.masking == UNMASKED else masked(what.masking, what.value)
    data = seal_envelope(Sealed(what.consent_id, what.attribute, what.masking, value), key).encode(
        "ascii"
    )
    named = place.get("vaults")
    usual = str(named[0]) if isinstance(named, list) and named else ""
    reference = VaultReference(
        audience=require_text(place, "audience", what=_WHAT),
        signed_at=now,
        consent_id=what.consent_id,
        attribute=what.attribute,
        masking=what.masking,
        vault=vault or usual,
        kid=key["kid"],
        digest=b64url(hashlib.sha256(data).digest()),
        size=len(data),
    )
    consent, attribute = quote(what.consent_id, safe=""), quote(what.attribute, safe="")
    headers = {
        "accept": "application/json",
        "content-type": MEDIA_TYPE,
        REFERENCE_HEADER: sign_vault_reference(signer, reference),
    }
    message = Message(
        "PUT", f"{what.address}/v1/envelopes/{consent}/{attribute}", headers, body=data
    )
    return carry(message).json("the answer of the vault")
