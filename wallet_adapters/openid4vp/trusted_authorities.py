"""By whom issuers are certified, as a query says it: authority key identifiers (section 6.1.1.1).

It helps a wallet to choose, and to show nothing that would be refused; what came is verified by its
chain all the same.
"""

import binascii
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from credentials.certificate import read_certificate
from credentials.errors import CredentialError
from credentials.jcs import b64url
from wallet_adapters.openid4vp.dcql import TrustedAuthority

AUTHORITY_KEY_ID: Final = "aki"


@lru_cache(maxsize=16)
def authorities_of(anchors: tuple[bytes, ...]) -> tuple[TrustedAuthority, ...]:
    """What a query says of root certificates (DER); nothing where one names no key identifier.

    Raises `credentials.CredentialError` for what is no certificate.
    """
    names = [read_certificate(anchor).key_id for anchor in anchors]
    found = tuple(b64url(name) for name in names if name is not None)
    return (TrustedAuthority(AUTHORITY_KEY_ID, found),) if len(found) == len(names) > 0 else ()


def is_certified_by(authorities: Sequence[TrustedAuthority], x5c: Sequence[object]) -> bool:
    """Whether a credential with this chain matches one of the authorities, or there are none.

    One of a type that is unknown here may match: it is the verifier's to refuse then.
    """
    if not authorities or any(one.type != AUTHORITY_KEY_ID for one in authorities):
        return True
    wanted = {value for one in authorities for value in one.values}
    return not wanted.isdisjoint(_authority_key_ids(x5c))


def _authority_key_ids(x5c: Sequence[object]) -> set[str]:
    found = set()
    for encoded in x5c:
        try:
            der = binascii.a2b_base64(encoded if isinstance(encoded, str) else "", strict_mode=True)
            name = read_certificate(der).authority_key_id
        except (CredentialError, ValueError):
            continue
        if name is not None:
            found.add(b64url(name))
    return found
