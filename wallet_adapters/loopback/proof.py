"""Answering a request for a proof: choosing credentials of attributes, proving, sending."""

import json
from itertools import islice, product
from typing import Final

from wallet_adapters.loopback.errors import NothingToPresent
from wallet_adapters.loopback.request import PresentationRequest
from wallet_adapters.loopback.state import HeldAttributes, Message, Wallet
from wallet_adapters.openid4vp.encrypted_response import seal_response
from wallet_adapters.openid4vp.proof import (
    FORMAT,
    QUERY,
    AskedCredential,
    ProofQuery,
    proof_request,
    write_proof,
)
from zkp import Presentation, ProofRequest, ZkpError, prove

MOST_TRIED: Final = 64
"""How many combinations of held credentials are tried, where several would do."""


def asks_for_a_proof(request: PresentationRequest) -> bool:
    """Whether a request asks for statements to be proven, and for nothing else."""
    return [query.format for query in request.dcql.credentials] == [FORMAT]


def asked_of(request: PresentationRequest) -> ProofRequest:
    """What the prover answers. Raises leaves of `WalletProtocolError`."""
    return proof_request(
        client_id=request.client_id,
        response_uri=request.response_uri,
        nonce=request.nonce,
        state=request.state,
        dcql=request.dcql,
    )


def prove_statements(wallet: Wallet, request: PresentationRequest) -> Message:
    """The direct_post form with the proof that a request asks for, encrypted where it asks so.

    Nothing of the attributes is in it but what follows from the statements. Raises
    `NothingToPresent`, and other leaves of `WalletProtocolError`.
    """
    asked = asked_of(request)
    answer = {QUERY: [write_proof(asked, proven(wallet, request, asked))]}
    state = {} if request.state is None else {"state": request.state}
    if request.response_key is not None:
        sealed = seal_response(
            {"vp_token": answer, **state}, request.response_key, enc=request.content_encryption
        )
        return Message.post_form(request.response_uri, {"response": sealed})
    fields = {"vp_token": json.dumps(answer, separators=(",", ":")), **state}
    return Message.post_form(request.response_uri, fields)


def proven(wallet: Wallet, request: PresentationRequest, asked: ProofRequest) -> Presentation:
    """The proof itself, by the first of the wallet's credentials of which all statements hold."""
    query = ProofQuery.of(request.dcql)
    alike = [_matching(wallet, query.credentials[name]) for name in asked.credentials]
    for chosen in islice(product(*alike), MOST_TRIED):
        held = {name: one.opened() for name, one in zip(asked.credentials, chosen, strict=True)}
        try:
            return prove(asked, held)
        except ZkpError:
            continue
    # The verifier is told the same whatever is missing: that a statement is false is an answer too.
    raise NothingToPresent("nothing held by this wallet proves what is asked for")


def _matching(wallet: Wallet, asked: AskedCredential) -> list[HeldAttributes]:
    trusted = {(one.issuer, one.as_dict()["key"]) for one in asked.issuers}
    return [
        held
        for held in wallet.attributes
        if held.kind[0] == asked.schema and (held.kind[1], held.key) in trusted
    ]
