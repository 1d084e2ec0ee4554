"""A member joins a training consortium: its node presents its membership, and is admitted.

The presentation binds three things together: the membership is of this member, the key that signed
is the node's own (`cnf` of the credential), and it signed by which key the member's receipts are
(transaction data). So nobody joins with another's node, or has its receipts signed by another.
"""

import json
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from broker.domain.addresses import tenant_url
from broker.domain.credential_types import MEMBERSHIP
from broker.domain.errors import Gone, LogUnavailable, NotFound, UnknownPartner
from broker.domain.ids import new_id
from broker.domain.membership import QUERY, statement
from broker.store import federation_members, join_requests, memberships, partners
from broker.store.federation_members import MemberRow
from broker.store.join_requests import JoinRequestRow
from broker.store.memberships import MembershipRow
from broker.usecases import audit
from broker.usecases.answering import REJECTIONS_LOGGED, Accepted, Refused, Rejected
from broker.usecases.context import Context, at_one_moment
from broker.usecases.federation_member import read_receipt_key
from broker.usecases.membership import held_by_another, node_key_of
from broker.usecases.presentation_request import (
    Asked,
    Document,
    Question,
    response_key,
    seal_response_key,
)
from credentials.errors import CredentialError
from credentials.jcs import b64url, canonical
from credentials.keys import thumbprint
from credentials.model import VerifiedPresentation
from credentials.status import StatusCheck
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp import (
    AuthorizationResponse,
    ClaimsQuery,
    CredentialQuery,
    DcqlQuery,
    ExpectedResponse,
    WalletRefusal,
    encode_transaction_data,
    parse_authorization_response,
    parse_dcql,
    transaction_data_hash,
    verify_response,
    x509_hash_client_id,
)
from wallet_adapters.openid4vp.encrypted_response import open_response
from wallet_adapters.wire import parse_form

ANSWER_SECONDS = 600
NONCE_BYTES = 32


@dataclass(frozen=True)
class OpenedJoin:
    """A request to join as its member sees it."""

    row: JoinRequestRow
    asked: Asked


def open_join(ctx: Context, tenant_id: str, partner_id: str, receipt_key: bytes) -> OpenedJoin:
    """Ask a member's node for its membership, in place of the member's earlier requests.

    `receipt_key` is the public JWK that the member's receipts will verify under. Raises
    `InvalidRequest`, `UnknownPartner` (suspended).
    """
    ctx = at_one_moment(ctx)
    receipts = read_receipt_key(receipt_key)
    row = _new(ctx, tenant_id, partner_id, receipts)
    with ctx.db.transaction() as tx:
        # Held: whoever suspends it meanwhile waits, and closes what is opened here.
        if partners.find(tx, tenant_id, partner_id, lock=True).state != "active":
            raise UnknownPartner("the partner is suspended")
        join_requests.close_of_partner(tx, tenant_id, partner_id)
        join_requests.add(tx, row)
        body = {"receipt_key": thumbprint(receipts)}
        _record(ctx, tx, row, "federation.join_asked", **body)
    return OpenedJoin(row, Asked.of(ctx, row))


def answer(ctx: Context, tenant_id: str, request_id: str, body: bytes) -> Accepted | Rejected:
    """Take a node's `direct_post` answer (the form as it came), and admit its member.

    1. The request is open and the log takes entries.
    2. The answer is decrypted and read.
    3. The presentation verifies: chain, issuer, type, times, the node's key-binding JWT with this
       audience, nonce and transaction data (`wallet_adapters.openid4vp.verify`).
    4. One transaction: the credential is one that was issued to this member for this key and
       stands, the member's partner is active, the node's key is no other member's; the first
       answer closes the request, the member is admitted, the log tells.

    Raises `NotFound`, `Gone`, `LogUnavailable`; whatever else is refused is returned, and logged.
    """
    ctx = at_one_moment(ctx)
    with ctx.db.reading() as tx:
        row = join_requests.find(tx, tenant_id, request_id)
    try:
        # 1.
        state = row.state_at(ctx.now())
        if state != "open":
            raise Gone(f"this request to join is {state}: it is answered once, while it is open")
        if not ctx.log.permits(ctx.now()):
            raise LogUnavailable("the audit log takes no answers at the moment; try again soon")
        # 2.
        response = _read(ctx, row, body)
        if isinstance(response, WalletRefusal):
            return _refused(ctx, row)
        # 3.
        verified = _verified(ctx, row, response)
        # 4.
        try:
            with ctx.db.transaction() as tx:
                _admit(ctx, tx, row, verified)
        except IntegrityError:
            raise Gone("the member was admitted by another answer at the same time") from None
        return Accepted((), {})
    except (CredentialError, WalletProtocolError) as error:
        return _reject(ctx, row, error.code, str(error))
    except Refused as error:
        return _reject(ctx, row, error.reason, str(error))
    except Gone as error:
        _reject(ctx, row, error.code, str(error))
        raise


def _new(ctx: Context, tenant_id: str, partner_id: str, receipts: dict[str, str]) -> JoinRequestRow:
    request_id = new_id(join_requests.PREFIX)
    base = tenant_url(ctx.settings.public_url, tenant_id)
    stated = statement(base, partner_id, receipts)
    encoded = encode_transaction_data(stated)
    query = CredentialQuery(
        id=QUERY,
        vct_values=(base + MEMBERSHIP.path,),
        claims=(ClaimsQuery(path=("member",), values=(partner_id,)),),
    )
    question = Question(
        query=QUERY,
        consent_id="",
        terms=canonical(stated).decode(),
        terms_hash=transaction_data_hash(encoded),
        transaction_data=encoded,
    )
    document = Document(
        client_id=x509_hash_client_id(ctx.keys.request(tenant_id).leaf),
        dcql=DcqlQuery(credentials=(query,)).as_dict(),
        questions=(question,),
        grade="",
        random=None,
        response_key=seal_response_key(ctx, request_id),
        clear=not ctx.settings.encrypted_responses,
    )
    return JoinRequestRow(
        id=request_id,
        tenant_id=tenant_id,
        partner_id=partner_id,
        receipt_key=json.dumps(receipts),
        nonce=b64url(secrets.token_bytes(NONCE_BYTES)),
        document=document.dump(),
        state="open",
        expires_at=ctx.now() + ANSWER_SECONDS,
        created_at=ctx.now(),
    )


def _read(ctx: Context, row: JoinRequestRow, body: bytes) -> AuthorizationResponse | WalletRefusal:
    form, key = parse_form(body), response_key(ctx, row)
    in_the_clear = Document.load(row.document).clear and "response" not in form
    return parse_authorization_response(
        form if key is None or in_the_clear else open_response(form, key)
    )


def _verified(
    ctx: Context, row: JoinRequestRow, response: AuthorizationResponse
) -> VerifiedPresentation:
    document = Document.load(row.document)
    expected = ExpectedResponse(
        client_id=document.client_id,
        nonce=row.nonce,
        state=row.id,
        dcql=parse_dcql(document.dcql),
        transaction_data=document.transaction_data,
    )
    # No status list: the row is read in the transaction, fresher than any list.
    found = verify_response(
        response,
        expected=expected,
        anchors=ctx.keys.anchors(),
        now=ctx.now(),
        status=StatusCheck.BY_CALLER,
    )
    return found[QUERY]


def _admit(
    ctx: Context, tx: Connection, row: JoinRequestRow, verified: VerifiedPresentation
) -> None:
    partner = partners.find(tx, row.tenant_id, row.partner_id, lock=True)
    if partner.state != "active" or partner.kill_switch:
        raise Refused("partner_suspended", "the member is suspended or switched off as a partner")
    # Memberships before members, as whoever revokes takes them.
    membership = _membership(ctx, tx, row, verified)
    held = _held(tx, row)
    node_key = node_key_of(verified.holder_jwk)
    if held_by_another(tx, row.tenant_id, row.partner_id, verified.holder_thumbprint, node_key):
        raise Refused("node_key_taken", "this node's key is that of another member")
    since = ctx.now()
    if held is not None and held.state_at(ctx.now()) == "admitted":
        if (held.node_key, json.loads(held.receipt_key)) != (node_key, json.loads(row.receipt_key)):
            raise Refused(
                "member_admitted",
                "the member is admitted with other keys: an officer revokes it before it joins "
                "anew",
            )
        since = held.since
    if not join_requests.answer(tx, row.id, ctx.now()):
        raise Gone("this request to join has been answered: another answer came first")
    federation_members.put(
        tx,
        MemberRow(
            tenant_id=row.tenant_id,
            partner_id=row.partner_id,
            node_key=node_key,
            receipt_key=row.receipt_key,
            state="admitted",
            since=since,
            membership_id=membership.id,
            valid_until=membership.valid_until,
        ),
    )
    told = {
        "membership": membership.id,
        "node": verified.holder_thumbprint,
        "receipt_key": thumbprint(json.loads(row.receipt_key)),
        "signed": verified.transaction_data_hashes[0],
    }
    _record(ctx, tx, row, "federation.admitted", **told)


def _held(tx: Connection, row: JoinRequestRow) -> MemberRow | None:
    try:
        return federation_members.find(tx, row.tenant_id, row.partner_id, lock=True)
    except NotFound:
        return None


def _membership(
    ctx: Context, tx: Connection, row: JoinRequestRow, verified: VerifiedPresentation
) -> MembershipRow:
    """The membership that was presented, issued here for this node, if it stands."""
    base = tenant_url(ctx.settings.public_url, row.tenant_id)
    credential = verified.credential
    if credential.issuer != base:
        raise Refused("issuer_mismatch", "the membership is of another consortium")
    held = memberships.find(tx, row.tenant_id, str(credential.claims.get("jti", "")), lock=True)
    if held is None or held.partner_id != row.partner_id:
        raise Refused("unknown_credential", "the membership is not one that was issued here")
    if held.state != "issued":
        raise Refused("membership_revoked", "the membership was revoked: ask for a new one")
    chain = credential.issuer_chain
    stolen = None if chain is None else ctx.keys.compromised_since(chain.leaf)
    # The row is there since its log entry is: it bears out when the credential was issued.
    if stolen is not None and (held.issued_at or 0) >= stolen:
        raise Refused(
            "issuer_key_compromised",
            "the membership was signed by a key that is no longer trusted: ask for a new one",
        )
    if held.holder_thumbprint != verified.holder_thumbprint:
        raise Refused("holder_mismatch", "the membership is bound to another key")
    return held


def _refused(ctx: Context, row: JoinRequestRow) -> Accepted:
    with ctx.db.transaction() as tx:
        if not join_requests.refuse(tx, row.id):
            raise Gone("this request to join has been answered")
        _record(ctx, tx, row, "federation.join_refused", code="by_the_node")
    return Accepted((), {})


def _reject(ctx: Context, row: JoinRequestRow, code: str, message: str) -> Rejected:
    """Write into the log that an answer did not count, as often as it has to be known."""
    with ctx.db.transaction() as tx:
        if 0 < join_requests.count_rejection(tx, row.id) <= REJECTIONS_LOGGED:
            _record(ctx, tx, row, "federation.join_refused", code=code)
    return Rejected(code, message)


def _record(ctx: Context, tx: Connection, row: JoinRequestRow, kind: str, **more: str) -> None:
    body = {"join_request": row.id, "member": row.partner_id, **more}
    audit.record(ctx, tx, tenant_id=row.tenant_id, type=kind, body=body)
