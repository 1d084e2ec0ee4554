"""A wallet's messages bound to its key by DPoP (RFC 9449)."""

from dataclasses import replace

from credentials.keys import SoftwareKey
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback.state import Answer, Carry, Message
from wallet_adapters.oauth.dpop import make_dpop_proof
from wallet_adapters.wire import parse_json_object

NONCE_HEADER = "dpop-nonce"
_SCHEME = "Bearer "


def bound_to(key: SoftwareKey, carry: Carry, *, now: int) -> Carry:
    """Carry each message with a proof by `key`, and its token, if it has one, as a bound one.

    A server that wants a nonce of its own gets the message once more with it (sections 8 and 9).
    """
    nonces: list[str] = []

    def send(message: Message) -> Answer:
        answer = carry(_proven(message, key, now, nonces))
        known = answer.headers.get(NONCE_HEADER)
        if known is not None:
            nonces[:] = [known]
            if _wants_nonce(answer):
                return carry(_proven(message, key, now, nonces))
        return answer

    return send


def _proven(message: Message, key: SoftwareKey, now: int, nonces: list[str]) -> Message:
    sent = message.headers.get("authorization", "")
    token = sent.removeprefix(_SCHEME) if sent.startswith(_SCHEME) else None
    proof = make_dpop_proof(
        key,
        method=message.method,
        url=message.url,
        now=now,
        nonce=nonces[0] if nonces else None,
        access_token=token,
    )
    headers = {**message.headers, "dpop": proof}
    if token is not None:
        headers["authorization"] = f"DPoP {token}"
    return replace(message, headers=headers)


def _wants_nonce(answer: Answer) -> bool:
    if answer.status not in {400, 401}:
        return False
    # The token endpoint says so in its body, others in their challenge (sections 8 and 9).
    if 'error="use_dpop_nonce"' in answer.headers.get("www-authenticate", ""):
        return True
    try:
        body = parse_json_object(answer.body, what="the refusal")
    except WalletProtocolError:
        return False
    return body.get("error") == "use_dpop_nonce"
