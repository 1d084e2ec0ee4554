"""Answering a presentation request: choosing, showing, signing, or refusing."""

import json
import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeAlias

from credentials.errors import CredentialError
from credentials.sdjwt import bind
from credentials.sdjwt import present as disclose
from wallet_adapters.errors import Malformed, WalletProtocolError
from wallet_adapters.loopback.errors import NothingToPresent, TransactionDataUnknown
from wallet_adapters.loopback.proof import asks_for_a_proof, prove_statements
from wallet_adapters.loopback.request import (
    KNOWN_TRANSACTION_DATA,
    PresentationRequest,
    check_transaction_data,
    fetch_request_object,
    parse_request_link,
    read_request_object,
    read_unsigned_request,
)
from wallet_adapters.loopback.state import Answer, Carry, HeldCredential, Message, Wallet
from wallet_adapters.openid4vp.dcql import SD_JWT_VC, CredentialQuery
from wallet_adapters.openid4vp.encrypted_response import seal_response
from wallet_adapters.openid4vp.errors import (
    ClaimsNotSatisfied,
    InvalidTransactionData,
    RequiredPresentationMissing,
)
from wallet_adapters.openid4vp.evaluation import queries_to_answer, selected_claims
from wallet_adapters.openid4vp.trusted_authorities import is_certified_by
from wallet_adapters.wire import is_url

NONCE_BYTES: Final = 16

Grant: TypeAlias = Callable[[PresentationRequest], Collection[str]]
"""The holder's decision: which query ids to answer."""

Choose: TypeAlias = Callable[[CredentialQuery, Sequence[HeldCredential]], HeldCredential]
"""Which of several matching copies to show."""


def least_used(_query: CredentialQuery, matching: Sequence[HeldCredential]) -> HeldCredential:
    """The copy shown least often, so that answers stay unlinkable as long as copies last."""
    return min(matching, key=lambda held: held.uses)


def answer_request(
    wallet: Wallet,
    link: str,
    *,
    carry: Carry,
    now: int,
    grant: Collection[str] | Grant | None = None,
    choose: Choose = least_used,
    known_types: Collection[str] = KNOWN_TRANSACTION_DATA,
    allow_unsigned: bool = False,
) -> str | None:
    """Follow a request link to its end.

    `grant` names the queries that the holder agrees to, or decides on seeing the request; None
    agrees to all that can be answered. `allow_unsigned` is for development. Returns the address
    that the verifier sends the holder's browser to, if any. A request that is authentic but
    cannot be answered is refused to the verifier, and the cause raised: a leaf of
    `WalletProtocolError`, as for everything else.
    """
    parsed = parse_request_link(link)
    if parsed.request_uri is None and allow_unsigned:
        request = read_unsigned_request(parsed)
    else:
        wallet_nonce = secrets.token_urlsafe(NONCE_BYTES)
        token = carry(fetch_request_object(parsed, wallet_nonce)).text("the request object")
        request = read_request_object(
            token,
            link=parsed,
            wallet_nonce=wallet_nonce,
            anchors=wallet.anchors,
            now=now,
        )
    try:
        check_transaction_data(request, known_types)
        granted = grant(request) if callable(grant) else grant
        if asks_for_a_proof(request):
            if granted is not None and not granted:
                raise NothingToPresent("the holder does not agree to the proof")
            message = prove_statements(wallet, request)
        else:
            message = present(
                wallet, request, now=now, grant=granted, choose=choose, known_types=known_types
            )
    except (NothingToPresent, TransactionDataUnknown, InvalidTransactionData) as problem:
        carry(refuse(request, problem))
        raise
    return read_direct_post_answer(carry(message))


def candidates(wallet: Wallet, request: PresentationRequest) -> dict[str, list[HeldCredential]]:
    """The held credentials that match each query; queries without one are left out."""
    found: dict[str, list[HeldCredential]] = {}
    for query in request.dcql.credentials:
        matching = [held for held in wallet.credentials if _matches(query, held)]
        if matching:
            found[query.id] = matching
    return found


def present(
    wallet: Wallet,
    request: PresentationRequest,
    *,
    now: int,
    grant: Collection[str] | None = None,
    choose: Choose = least_used,
    known_types: Collection[str] = KNOWN_TRANSACTION_DATA,
) -> Message:
    """The direct_post form that answers a request, encrypted where it asks for that.

    Of alternatives that were granted it shows the first that it can. It discloses what each query
    asks for and nothing more, and signs, for each, exactly the transaction data that name it.
    Raises `NothingToPresent` when what is required is not there or not granted, or nothing at all
    would be shown, and what `check_transaction_data` raises.
    """
    check_transaction_data(request, known_types)
    matching = candidates(wallet, request)
    available = [name for name in matching if grant is None or name in grant]
    try:
        answered = queries_to_answer(request.dcql, available)
    except RequiredPresentationMissing as problem:
        raise NothingToPresent(str(problem)) from problem
    if not answered:
        raise NothingToPresent("no query is both granted and answerable by what is held")
    ids = {query.id for query in answered}
    vp_token: dict[str, list[str]] = {}
    for query in answered:
        shown = [choose(query, alike) for alike in _alternatives(query, matching[query.id])]
        vp_token[query.id] = [_presentation(held, query, request, ids, now) for held in shown]
        for held in shown:
            held.uses += 1
    state = {} if request.state is None else {"state": request.state}
    if request.response_key is not None:
        sealed = seal_response(
            {"vp_token": vp_token, **state}, request.response_key, enc=request.content_encryption
        )
        return Message.post_form(request.response_uri, {"response": sealed})
    fields = {"vp_token": json.dumps(vp_token, separators=(",", ":")), **state}
    return Message.post_form(request.response_uri, fields)


def refuse(request: PresentationRequest, problem: WalletProtocolError) -> Message:
    """The direct_post form that says no, with the protocol's error value of `problem`."""
    fields = problem.body()
    if request.state is not None:
        fields["state"] = request.state
    return Message.post_form(request.response_uri, fields)


def read_direct_post_answer(answer: Answer) -> str | None:
    """The address that the verifier wants the browser sent to, or None.

    Raises `PeerRefused` when the verifier did not take the response.
    """
    address = answer.json("the direct_post answer").get("redirect_uri")
    if address is None:
        return None
    if not isinstance(address, str) or not is_url(address):
        raise Malformed("redirect_uri in the direct_post answer is no address")
    return address


def _matches(query: CredentialQuery, held: HeldCredential) -> bool:
    if query.format != SD_JWT_VC or held.vct not in query.vct_values:
        return False
    try:
        selected_claims(query, held.claims())
    except ClaimsNotSatisfied:
        return False
    return is_certified_by(query.trusted_authorities, held.chain())


def _alternatives(
    query: CredentialQuery, matching: Sequence[HeldCredential]
) -> list[list[HeldCredential]]:
    """Of which copies one each is shown: of all, or for `multiple` of every batch."""
    if not query.multiple:
        return [list(matching)]
    batches: dict[str, list[HeldCredential]] = {}
    for held in matching:
        batches.setdefault(held.batch, []).append(held)
    return list(batches.values())


def _presentation(
    held: HeldCredential,
    query: CredentialQuery,
    request: PresentationRequest,
    answered: Collection[str],
    now: int,
) -> str:
    # Where an entry may be signed by one of several queries, the first answered one does it.
    entries = [
        entry.encoded
        for entry in request.transaction_data
        if query.id == next((name for name in entry.credential_ids if name in answered), None)
    ]
    paths = [claim.path for claim in selected_claims(query, held.claims())]
    try:
        return bind(
            disclose(held.credential, paths),
            held.key,
            nonce=request.nonce,
            audience=request.client_id,
            now=now,
            transaction_data=entries,
        )
    except CredentialError as problem:
        raise Malformed("a held credential cannot be presented") from problem
