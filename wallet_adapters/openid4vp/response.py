"""Authorization responses by `direct_post` (OpenID4VP 1.0, section 8): read, and answered."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlsplit

from credentials.errors import CredentialError
from credentials.sdjwt import UnverifiedPresentation, parse
from wallet_adapters.errors import ConflictingParameters, Malformed, TooLarge
from wallet_adapters.openid4vp.errors import (
    DuplicatePresentation,
    EncryptedResponse,
    NoPresentation,
)
from wallet_adapters.openid4vp.proof import ReceivedProof, answered_proof
from wallet_adapters.wire import (
    MAX_FORM_BYTES,
    is_url,
    is_url_safe,
    optional_text,
    parse_json_object,
    require_text,
)

MAX_PRESENTATION: Final = 65_536
MAX_PRESENTATIONS: Final = 64
MAX_STATE: Final = 512
_WHAT: Final = "the authorization response"
_ERROR_VALUE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class AuthorizationResponse:
    """Presentations by credential query id, in the order sent; none of them verified."""

    vp_token: Mapping[str, tuple[UnverifiedPresentation, ...]] = field(repr=False)
    state: str | None


@dataclass(frozen=True)
class ProofResponse:
    """The answer to a request for a proof, not verified."""

    proof: ReceivedProof = field(repr=False)
    state: str | None


@dataclass(frozen=True)
class WalletRefusal:
    """A wallet's error answer (section 8.5): a value, not a fault.

    `error` is for instance `access_denied`, or `invalid_transaction_data` when the wallet does
    not know the type; `description` is the wallet's text and must be shown escaped, if at all.
    """

    error: str
    description: str
    state: str | None

    @property
    def transaction_data_unknown(self) -> bool:
        """Whether a request without transaction data may be worth a try."""
        return self.error == "invalid_transaction_data"


def parse_authorization_response(
    form: Mapping[str, str],
    *,
    max_bytes: int = MAX_FORM_BYTES,
    max_presentations: int = MAX_PRESENTATIONS,
) -> AuthorizationResponse | WalletRefusal:
    """Read the form that a wallet posted to the `response_uri`; nothing in it is trusted yet.

    Sizes are checked before anything is parsed. Unknown fields are ignored. Raises leaves of
    `WalletProtocolError`.
    """
    found = _token(form, max_bytes)
    if isinstance(found, WalletRefusal):
        return found
    token, state = found
    if len(token) > max_presentations:
        raise TooLarge(f"vp_token answers more than {max_presentations} queries")
    presentations = {query_id: _presentations(value) for query_id, value in token.items()}
    if sum(map(len, presentations.values())) > max_presentations:
        raise TooLarge(f"vp_token holds more than {max_presentations} presentations")
    return AuthorizationResponse(vp_token=presentations, state=state)


def parse_proof_response(
    form: Mapping[str, str], *, max_bytes: int = MAX_FORM_BYTES
) -> ProofResponse | WalletRefusal:
    """Read the form by which a wallet answered a request for a proof; nothing is trusted yet.

    Raises leaves of `WalletProtocolError`.
    """
    found = _token(form, max_bytes)
    if isinstance(found, WalletRefusal):
        return found
    token, state = found
    return ProofResponse(answered_proof(token), state)


def direct_post_answer(
    redirect_uri: str | None = None, response_code: str | None = None
) -> dict[str, str]:
    """The JSON body that answers a direct_post (section 8.2), sent with status 200.

    With `redirect_uri` the wallet sends the customer's browser there, on the device where the
    wallet is; the random `response_code` proves that it is the browser that answered, against
    session fixation. Raises `Malformed`.
    """
    if redirect_uri is None:
        return {}
    if not is_url(redirect_uri) or response_code is None or not is_url_safe(response_code):
        raise Malformed("redirect_uri is an address and comes with a random response_code")
    parts = urlsplit(redirect_uri)
    query = f"{parts.query}&" if parts.query else ""
    query += f"response_code={quote(response_code, safe='')}"
    return {"redirect_uri": parts._replace(query=query).geturl()}


def _token(
    form: Mapping[str, str], max_bytes: int
) -> tuple[dict[str, object], str | None] | WalletRefusal:
    """The `vp_token`, not empty, and the state; or what the wallet says instead."""
    if sum(len(name) + len(value) for name, value in form.items()) > max_bytes:
        raise TooLarge(f"{_WHAT} has more than {max_bytes} characters")
    state = optional_text(form, "state", what=_WHAT, max_length=MAX_STATE)
    if "error" in form:
        return _refusal(form, state)
    if "response" in form:
        raise EncryptedResponse("the request asked for direct_post; post vp_token unencrypted")
    text = require_text(form, "vp_token", what=_WHAT, max_length=max_bytes)
    token = parse_json_object(text, what="vp_token", max_bytes=max_bytes)
    if not token:
        raise NoPresentation("vp_token is empty; answer with an error to refuse")
    return token, state


def _refusal(form: Mapping[str, str], state: str | None) -> WalletRefusal:
    if "vp_token" in form:
        raise ConflictingParameters(f"{_WHAT} holds an error and a vp_token; it may hold one")
    error = require_text(form, "error", what=_WHAT, max_length=64)
    if _ERROR_VALUE.fullmatch(error) is None:
        raise Malformed("error is a word of letters, digits and _ . : -")
    text = form.get("error_description", "")[:500]
    printable = "".join(letter for letter in text if letter.isprintable())
    return WalletRefusal(error=error, description=printable, state=state)


def _presentations(value: object) -> tuple[UnverifiedPresentation, ...]:
    if not isinstance(value, list):
        # Section 8.1: always an array, also for one presentation.
        raise Malformed("each member of vp_token is an array of presentations")
    if not value:
        raise NoPresentation("a member of vp_token is empty; leave out queries not answered")
    if len(value) > MAX_PRESENTATIONS:
        raise TooLarge(f"a member of vp_token has more than {MAX_PRESENTATIONS} presentations")
    found: dict[str, UnverifiedPresentation] = {}
    for item in value:
        if not isinstance(item, str):
            raise Malformed("a presentation of dc+sd-jwt is a string")
        if len(item) > MAX_PRESENTATION:
            raise TooLarge(f"a presentation has more than {MAX_PRESENTATION} characters")
        if item in found:
            raise DuplicatePresentation("vp_token holds the same presentation twice")
        try:
            found[item] = parse(item)
        except CredentialError as problem:
            raise Malformed(f"a presentation is no SD-JWT: {problem}") from problem
    return tuple(found.values())
