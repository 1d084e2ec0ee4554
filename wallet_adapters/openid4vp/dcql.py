"""Queries for credentials: the Digital Credentials Query Language (OpenID4VP 1.0, section 6).

The same values serve the verifier, who builds them, and the wallet, which reads them. They cannot
be built wrong: the rules of the specification are checked on construction.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from wallet_adapters.openid4vp.errors import InvalidQuery
from wallet_adapters.wire import optional_text, parse_json_object, require_strings, require_text

SD_JWT_VC: Final = "dc+sd-jwt"
MAX_CREDENTIALS: Final = 64
MAX_CLAIMS: Final = 128
MAX_SETS: Final = 64
MAX_PATH: Final = 16
MAX_VALUES: Final = 256
MAX_QUERY_BYTES: Final = 65_536

ClaimValue: TypeAlias = str | int | bool
PathElement: TypeAlias = str | int | None

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_WHAT: Final = "the DCQL query"


@dataclass(frozen=True)
class ClaimsQuery:
    """One claim asked for (section 6.3).

    `path` leads to it (section 7): a name, an index, or None for all elements of an array.
    `values`, if any, are the only acceptable ones, compared with their type.
    """

    path: tuple[PathElement, ...]
    values: tuple[ClaimValue, ...] = ()
    id: str | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.path) <= MAX_PATH:
            raise InvalidQuery(f"a claim's path has 1 to {MAX_PATH} elements")
        if not all(map(_is_path_element, self.path)):
            raise InvalidQuery("a claim's path holds names, indexes from 0, or null")
        if len(self.values) > MAX_VALUES:
            raise InvalidQuery(f"a claim has at most {MAX_VALUES} values")
        if not all(map(_is_claim_value, self.values)):
            raise InvalidQuery("a claim's values are strings, whole numbers or booleans")
        if self.id is not None:
            _require_id(self.id)

    def as_dict(self) -> dict[str, object]:
        """The JSON object of the query."""
        value: dict[str, object] = {"path": list(self.path)}
        if self.id is not None:
            value = {"id": self.id, **value}
        if self.values:
            value["values"] = list(self.values)
        return value


@dataclass(frozen=True)
class TrustedAuthority:
    """A hint at issuers that will be accepted (section 6.1.1): `aki`, `etsi_tl` and the like.

    It helps the wallet choose; the verifier still checks the chain itself.
    """

    type: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.type or not self.values or not all(self.values):
            raise InvalidQuery("a trusted authority has a type and at least one value")

    def as_dict(self) -> dict[str, object]:
        """The JSON object of the query."""
        return {"type": self.type, "values": list(self.values)}


@dataclass(frozen=True)
class CredentialQuery:
    """One credential asked for (section 6.1); `vct_values` are the types that will do.

    `meta` is that of other formats, as it is. No `claims` asks for nothing that may be withheld.
    `claim_sets` names, by claim ids and in order of preference, the combinations that will do;
    empty means all claims.
    """

    id: str
    vct_values: tuple[str, ...]
    claims: tuple[ClaimsQuery, ...] = ()
    claim_sets: tuple[tuple[str, ...], ...] = ()
    multiple: bool = False
    require_holder_binding: bool = True
    trusted_authorities: tuple[TrustedAuthority, ...] = ()
    format: str = SD_JWT_VC
    meta: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _require_id(self.id)
        if self.format == SD_JWT_VC and not all(self.vct_values or ("",)):
            raise InvalidQuery(f"query {self.id} needs at least one vct value")
        if len(self.claims) > MAX_CLAIMS or len(self.claim_sets) > MAX_SETS:
            raise InvalidQuery(f"query {self.id} asks for too many claims")
        paths = [claim.path for claim in self.claims]
        if len(set(paths)) != len(paths):
            raise InvalidQuery(f"query {self.id} points at one claim twice")
        ids = [claim.id for claim in self.claims if claim.id is not None]
        if len(set(ids)) != len(ids):
            raise InvalidQuery(f"query {self.id} has two claims of one id")
        if self.claim_sets and (not self.claims or len(ids) != len(self.claims)):
            raise InvalidQuery(f"query {self.id} has claim_sets; then each claim needs an id")
        if not all(option and set(option) <= set(ids) for option in self.claim_sets):
            raise InvalidQuery(f"claim_sets of query {self.id} name claims that it does not have")

    def as_dict(self) -> dict[str, object]:
        """The JSON object of the query."""
        meta: dict[str, object] = dict(self.meta)
        if self.vct_values:
            meta["vct_values"] = list(self.vct_values)
        value: dict[str, object] = {"id": self.id, "format": self.format, "meta": meta}
        if self.multiple:
            value["multiple"] = True
        if not self.require_holder_binding:
            value["require_cryptographic_holder_binding"] = False
        if self.trusted_authorities:
            value["trusted_authorities"] = [item.as_dict() for item in self.trusted_authorities]
        if self.claims:
            value["claims"] = [claim.as_dict() for claim in self.claims]
        if self.claim_sets:
            value["claim_sets"] = [list(option) for option in self.claim_sets]
        return value


@dataclass(frozen=True)
class CredentialSet:
    """Which combinations of queries satisfy one purpose (section 6.2), and whether it must be."""

    options: tuple[tuple[str, ...], ...]
    required: bool = True

    def __post_init__(self) -> None:
        if not self.options or not all(self.options):
            raise InvalidQuery("a credential set has at least one option, none of them empty")

    def as_dict(self) -> dict[str, object]:
        """The JSON object of the query; `required` is always written, being easy to misread."""
        return {"options": [list(option) for option in self.options], "required": self.required}


@dataclass(frozen=True)
class DcqlQuery:
    """A whole query. Without `credential_sets` every credential is required."""

    credentials: tuple[CredentialQuery, ...]
    credential_sets: tuple[CredentialSet, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < len(self.credentials) <= MAX_CREDENTIALS:
            raise InvalidQuery(f"a query asks for 1 to {MAX_CREDENTIALS} credentials")
        if len(self.credential_sets) > MAX_SETS:
            raise InvalidQuery(f"a query has at most {MAX_SETS} credential sets")
        ids = {query.id for query in self.credentials}
        if len(ids) != len(self.credentials):
            raise InvalidQuery("two credential queries have the same id")
        for credential_set in self.credential_sets:
            for option in credential_set.options:
                if not set(option) <= ids:
                    raise InvalidQuery("a credential set names a query that is not there")

    def query(self, query_id: str) -> CredentialQuery | None:
        """The credential query of that id, None when there is none."""
        return next((query for query in self.credentials if query.id == query_id), None)

    def as_dict(self) -> dict[str, object]:
        """The JSON object for `dcql_query`."""
        value: dict[str, object] = {"credentials": [query.as_dict() for query in self.credentials]}
        if self.credential_sets:
            value["credential_sets"] = [item.as_dict() for item in self.credential_sets]
        return value


def optional_each(queries: Sequence[CredentialQuery]) -> DcqlQuery:
    """A query whose credentials may each be given or withheld: one for each separate consent."""
    return DcqlQuery(
        credentials=tuple(queries),
        credential_sets=tuple(
            CredentialSet(options=((query.id,),), required=False) for query in queries
        ),
    )


def parse_dcql(data: bytes | str | Mapping[str, object]) -> DcqlQuery:
    """Read a query; unknown members are ignored (section 6).

    Raises `InvalidQuery` or another leaf of `WalletProtocolError`.
    """
    value = parse_json_object(data, what=_WHAT, max_bytes=MAX_QUERY_BYTES)
    return DcqlQuery(
        credentials=tuple(_credential(item) for item in _objects(value, "credentials")),
        credential_sets=tuple(
            CredentialSet(
                options=_string_lists(item, "options"),
                required=_boolean(item, "required", default=True),
            )
            for item in _objects(value, "credential_sets", required=False)
        ),
    )


def _credential(value: Mapping[str, object]) -> CredentialQuery:
    meta = value.get("meta")
    if not isinstance(meta, dict):
        raise InvalidQuery("a credential query needs the object meta")
    kind = require_text(value, "format", what=_WHAT)
    has_types = "vct_values" in meta
    return CredentialQuery(
        id=require_text(value, "id", what=_WHAT),
        format=kind,
        vct_values=require_strings(meta, "vct_values", what=_WHAT) if has_types else (),
        meta={}
        if kind == SD_JWT_VC
        else {name: member for name, member in meta.items() if name != "vct_values"},
        claims=tuple(_claim(item) for item in _objects(value, "claims", required=False)),
        claim_sets=_string_lists(value, "claim_sets") if "claim_sets" in value else (),
        multiple=_boolean(value, "multiple", default=False),
        require_holder_binding=_boolean(
            value, "require_cryptographic_holder_binding", default=True
        ),
        trusted_authorities=tuple(
            TrustedAuthority(
                type=require_text(item, "type", what=_WHAT),
                values=require_strings(item, "values", what=_WHAT),
            )
            for item in _objects(value, "trusted_authorities", required=False)
        ),
    )


def _claim(value: Mapping[str, object]) -> ClaimsQuery:
    path, values = value.get("path"), value.get("values", [])
    if not isinstance(path, list) or not isinstance(values, list):
        raise InvalidQuery("path and values of a claim are arrays")
    if "values" in value and not values:
        raise InvalidQuery("values of a claim is left out or non-empty")
    return ClaimsQuery(
        path=tuple(path), values=tuple(values), id=optional_text(value, "id", what=_WHAT)
    )


def _objects(
    value: Mapping[str, object], name: str, *, required: bool = True
) -> list[dict[str, object]]:
    if name not in value and not required:
        return []
    found = value.get(name)
    if not isinstance(found, list) or not found:
        raise InvalidQuery(f"{name} must be a non-empty array")
    objects = [item for item in found if isinstance(item, dict)]
    if len(objects) != len(found):
        raise InvalidQuery(f"{name} must hold objects")
    return objects


def _string_lists(value: Mapping[str, object], name: str) -> tuple[tuple[str, ...], ...]:
    found = value.get(name)
    if not isinstance(found, list) or not found:
        raise InvalidQuery(f"{name} must be a non-empty array")
    return tuple(require_strings({name: item}, name, what=_WHAT) for item in found)


def _boolean(value: Mapping[str, object], name: str, *, default: bool) -> bool:
    found = value.get(name, default)
    if not isinstance(found, bool):
        raise InvalidQuery(f"{name} is true or false")
    return found


def _is_path_element(element: object) -> bool:
    if isinstance(element, int) and not isinstance(element, bool):
        return element >= 0
    return element is None or isinstance(element, str)


def _is_claim_value(value: object) -> bool:
    return isinstance(value, str | int)  # bool is an int


def _require_id(text: str) -> None:
    if _ID.fullmatch(text) is None:
        raise InvalidQuery("an id has 1 to 64 letters, digits, underscores or hyphens")
