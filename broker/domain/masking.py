"""Which masking an attribute is given out in, by the role of who sees it at the partner.

A tenant says of an attribute, for everybody ("*") or for a role, by which of the maskings of
`wallet_adapters.masking` it is masked; "none" leaves it as it is. A role that nothing is said of,
and a request that names none, have what holds for everybody. Where nothing at all is said, nothing
has to be masked.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from broker.domain.errors import InvalidRequest
from wallet_adapters.envelope import UNMASKED
from wallet_adapters.masking import MASKINGS

EVERYBODY: Final = "*"
MOST_ROLES: Final = 32
ROLE: Final = re.compile(r"^[a-z][a-z0-9_-]{0,31}$")


def read_maskings(value: Mapping[str, str]) -> dict[str, str]:
    """Maskings by role, as somebody wrote them; raises `InvalidRequest`."""
    if len(value) > MOST_ROLES:
        raise InvalidRequest(f"maskings are told for at most {MOST_ROLES} roles")
    for role, name in value.items():
        if role != EVERYBODY and ROLE.fullmatch(role) is None:
            raise InvalidRequest("a role is written like support or call_center, or is *")
        if name not in {UNMASKED, *MASKINGS}:
            raise InvalidRequest(f"a masking is one of: {', '.join((UNMASKED, *MASKINGS))}")
    if value and EVERYBODY not in value:
        # Otherwise whoever left the role out would get what the role does not.
        raise InvalidRequest("say first what holds for everybody: the role *")
    return dict(value)


def stored_maskings(text: str | None) -> tuple[tuple[str, str], ...]:
    """Maskings by role, of an attribute's row."""
    if text is None:
        return ()
    found: dict[str, str] = orjson.loads(text)
    return tuple(sorted(found.items()))


def masking_for(maskings: Sequence[tuple[str, str]], role: str | None) -> str | None:
    """The masking for a role; None where nothing has to be masked."""
    found = dict(maskings)
    name = found.get(role or EVERYBODY, found.get(EVERYBODY, UNMASKED))
    return None if name == UNMASKED else name
