"""The public keys of a member in one round of secure aggregation, signed by its receipt key.

A compact JWS (RFC 7515) of type `secure-keys+jwt`, `kid` the thumbprint of the member's key:

    iss         the member
    campaign    the campaign's hash
    stage       of the rollout
    round       from 1
    seal        X25519 key by which others seal shares for it, 32 bytes, base64url
    mask        X25519 key of the masks that it shares with others

Signed, so that a coordinator, who carries them from member to member, can put none of its own in
their place. How it may evolve: a reader refuses claims that it does not know; new ones mean a new
type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from credentials.errors import CredentialError
from credentials.jws import PublicKey, Signer, parse_jws, sign_jws
from credentials.keys import thumbprint
from federation import reading
from federation.errors import MaskingFailed

KEYS_TYPE: Final = "secure-keys+jwt"
LONGEST_TOKEN: Final = 4_096
_CLAIMS: Final = frozenset({"iss", "campaign", "stage", "round", "seal", "mask"})


@dataclass(frozen=True)
class Of:
    """Which round: hash of the campaign, stage, number."""

    campaign: str
    stage: str
    number: int

    def context(self, *parts: str) -> bytes:
        """What a key is bound to; names hold no line feed."""
        return "\n".join((self.campaign, self.stage, str(self.number), *parts)).encode()


@dataclass(frozen=True)
class PublicKeys:
    """A member's public keys of one round, 32 bytes each."""

    seal: bytes
    mask: bytes

    def signed(self, of: Of, member: str, signer: Signer) -> str:
        """They as a compact JWS by the member's receipt key."""
        header = {"typ": KEYS_TYPE, "kid": thumbprint(signer.public_jwk())}
        claims = {
            "iss": member,
            "campaign": of.campaign,
            "stage": of.stage,
            "round": of.number,
            "seal": reading.encoded(self.seal),
            "mask": reading.encoded(self.mask),
        }
        return sign_jws(signer, header, claims)

    @classmethod
    def read(cls, token: object, of: Of, member: str, key: Mapping[str, Any]) -> Self:
        """Read and verify them. Raises `MaskingFailed`, `Malformed`, `TooLarge`."""
        try:
            jws = parse_jws(str(token), typ=KEYS_TYPE, max_characters=LONGEST_TOKEN)
            if jws.header.get("kid") != thumbprint(key):
                raise MaskingFailed(f"the keys of {member} are signed by another key than its own")
            jws.verify(PublicKey(key))
        except CredentialError as error:
            raise MaskingFailed(f"the keys of {member} are not signed by it: {error}") from None
        told = reading.members(
            reading.json_object(jws.payload, largest=LONGEST_TOKEN), "keys of a round", _CLAIMS
        )
        given = (told["iss"], told["campaign"], told["stage"], told["round"])
        if given != (member, of.campaign, of.stage, of.number):
            raise MaskingFailed(f"the keys of {member} are of another round or member")
        return cls(*(reading.hash_bytes(told[name], name) for name in ("seal", "mask")))
