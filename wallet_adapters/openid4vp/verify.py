"""Verification of an authorization response (OpenID4VP 1.0, section 8.6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from credentials.status import StatusCheck, StatusResolver
from credentials.verify import VerifiedPresentation, verify_presentation
from wallet_adapters.openid4vp.dcql import SD_JWT_VC, DcqlQuery
from wallet_adapters.openid4vp.errors import (
    DuplicatePresentation,
    InvalidQuery,
    NoPresentation,
    StateMismatch,
    UnknownQuery,
)
from wallet_adapters.openid4vp.evaluation import require_sets, selected_claims
from wallet_adapters.openid4vp.response import AuthorizationResponse
from wallet_adapters.openid4vp.transaction_data import transaction_data_for


@dataclass(frozen=True)
class ExpectedResponse:
    """What the request said, as kept by the caller; never taken from the response.

    `client_id` has its prefix: the whole of it is the audience of key-binding JWTs.
    `transaction_data` are the strings as sent.
    """

    client_id: str
    nonce: str
    state: str
    dcql: DcqlQuery
    transaction_data: tuple[str, ...] = field(default=())


def verify_response(
    response: AuthorizationResponse,
    *,
    expected: ExpectedResponse,
    anchors: Sequence[bytes],
    now: int,
    status: StatusResolver | StatusCheck | None = None,
    max_age: int = 300,
    skew: int = 60,
) -> dict[str, VerifiedPresentation]:
    """Verify a whole response; one bad presentation spoils it.

    1. `state` is the one of the request.
    2. There is at least one presentation, each answers a query of the request, and each query has
       exactly one.
    3. The presented queries satisfy every required credential set; optional ones may be absent.
    4. Each presentation verifies by `credentials.verify_presentation`: issuer's signature and
       chain to `anchors`, type among the query's, validity, status, holder's key-binding JWT with
       this audience, nonce and time, and hashes of exactly the transaction data that name this
       query: one meant for another query does not count.
    5. Each presentation discloses the claims that its query asks for, with the values asked for.
    6. Owed by the caller: that the request is still open (one answer to a nonce), and who may
       issue which claims.

    `anchors` are DER root certificates, `status` gives status lists, as in
    `credentials.verify_credential`; `max_age` and `skew` are in seconds. Returns the
    verified presentations by query id. Raises leaves of `WalletProtocolError`, and
    `credentials.CredentialError` from step 4.
    """
    if any(query.multiple for query in expected.dcql.credentials):
        raise InvalidQuery("a query that takes several presentations has its own verification")
    found = verify_several(
        response,
        expected=expected,
        anchors=anchors,
        now=now,
        status=status,
        max_age=max_age,
        skew=skew,
    )
    return {query_id: presentations[0] for query_id, presentations in found.items()}


def verify_several(
    response: AuthorizationResponse,
    *,
    expected: ExpectedResponse,
    anchors: Sequence[bytes],
    now: int,
    status: StatusResolver | StatusCheck | None = None,
    max_age: int = 300,
    skew: int = 60,
) -> dict[str, tuple[VerifiedPresentation, ...]]:
    """`verify_response` where a query may allow `multiple` presentations (section 6.1).

    One or more by query id, each verified by all the same steps. A query without `multiple` has
    exactly one.
    """
    # 1.
    if response.state != expected.state:
        raise StateMismatch("the response's state is not the request's")
    # 2.
    _check_answered(response, expected.dcql)
    # 3.
    require_sets(expected.dcql, response.vp_token.keys())
    verified: dict[str, tuple[VerifiedPresentation, ...]] = {}
    for query in expected.dcql.credentials:
        if query.id not in response.vp_token:
            continue
        # 4.
        found = tuple(
            verify_presentation(
                presentation,
                anchors=anchors,
                audience=expected.client_id,
                nonce=expected.nonce,
                transaction_data=transaction_data_for(expected.transaction_data, query.id),
                now=now,
                vct=query.vct_values,
                status=status,
                max_age=max_age,
                skew=skew,
            )
            for presentation in response.vp_token[query.id]
        )
        # 5.
        for presentation in found:
            claims: Mapping[str, object] = presentation.credential.claims
            selected_claims(query, claims)
        verified[query.id] = found
    return verified


def _check_answered(response: AuthorizationResponse, dcql: DcqlQuery) -> None:
    """Step 2."""
    if not response.vp_token:
        raise NoPresentation("the response holds no presentation")
    for query_id, presentations in response.vp_token.items():
        query = dcql.query(query_id)
        if query is None:
            raise UnknownQuery("the response answers a query that the request does not have")
        if query.format != SD_JWT_VC or not query.require_holder_binding:
            raise InvalidQuery(f"query {query_id} must ask for key-bound {SD_JWT_VC}")
        if not presentations:
            raise NoPresentation(f"query {query_id} is answered by nothing")
        if len(presentations) > 1 and not query.multiple:
            raise DuplicatePresentation(f"query {query_id} allows one presentation, not more")
