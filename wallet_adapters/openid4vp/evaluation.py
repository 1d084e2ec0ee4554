"""What a query selects in a credential (OpenID4VP 1.0, sections 6.4 and 7).

Used twice: by the wallet to choose, and by the verifier to check what came, since section 6.4.1
forbids to rely on the wallet for it.
"""

from collections.abc import Collection, Mapping, Sequence

from wallet_adapters.openid4vp.dcql import (
    ClaimsQuery,
    ClaimValue,
    CredentialQuery,
    DcqlQuery,
    PathElement,
)
from wallet_adapters.openid4vp.errors import ClaimsNotSatisfied, RequiredPresentationMissing


def select(claims: object, path: Sequence[PathElement]) -> list[object]:
    """The elements that a claims path pointer selects (section 7.1.1), none when it fails."""
    selected: list[object] = [claims]
    for element in path:
        following: list[object] = []
        for item in selected:
            if isinstance(element, str):
                if not isinstance(item, Mapping):
                    return []
                if element in item:
                    following.append(item[element])
            elif not isinstance(item, list | tuple):
                return []
            elif element is None:
                following.extend(item)
            elif element < len(item):
                following.append(item[element])
        selected = following
    return selected


def claim_matches(query: ClaimsQuery, claims: Mapping[str, object]) -> bool:
    """Whether the claim is there and, if values are asked for, has one of them."""
    found = select(claims, query.path)
    if not query.values:
        return bool(found)
    return any(_equal(value, wanted) for value in found for wanted in query.values)


def selected_claims(
    query: CredentialQuery, claims: Mapping[str, object]
) -> tuple[ClaimsQuery, ...]:
    """The claims to disclose for a query: all of them, or the first claim set that can be met.

    Raises `ClaimsNotSatisfied` when the claims cannot satisfy the query.
    """
    by_id = {claim.id: claim for claim in query.claims}
    options = (
        [tuple(by_id[name] for name in option) for option in query.claim_sets]
        if query.claim_sets
        else [query.claims]
    )
    for option in options:
        if all(claim_matches(claim, claims) for claim in option):
            return option
    raise ClaimsNotSatisfied(
        f"query {query.id} asks for claims or values that the credential does not show"
    )


def require_sets(query: DcqlQuery, presented: Collection[str]) -> None:
    """Check that the presented queries satisfy what is required (section 6.4.2).

    Raises `RequiredPresentationMissing`, naming what is missing.
    """
    if not query.credential_sets:
        missing = [item.id for item in query.credentials if item.id not in presented]
        if missing:
            raise RequiredPresentationMissing(f"required but not presented: {', '.join(missing)}")
        return
    for credential_set in query.credential_sets:
        satisfied = any(set(option) <= set(presented) for option in credential_set.options)
        if credential_set.required and not satisfied:
            options = " or ".join(" with ".join(option) for option in credential_set.options)
            raise RequiredPresentationMissing(f"required but not presented: {options}")


def queries_to_answer(query: DcqlQuery, available: Collection[str]) -> tuple[CredentialQuery, ...]:
    """What a wallet shows of what is available: for each set the first option it can meet.

    Without sets that is every query. Raises `RequiredPresentationMissing` when something required
    is not available; then nothing at all may be shown (section 6.4.2).
    """
    require_sets(query, available)
    options = [
        next((option for option in item.options if set(option) <= set(available)), ())
        for item in query.credential_sets
    ]
    chosen = {name for option in options for name in option}
    return tuple(
        item
        for item in query.credentials
        if item.id in chosen or (not query.credential_sets and item.id in available)
    )


def _equal(value: object, wanted: ClaimValue) -> bool:
    # Type and value both match (section 6.3); in Python True == 1, in JSON it does not.
    return type(value) is type(wanted) and value == wanted
