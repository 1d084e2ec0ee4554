"""Nothing verifies by chance: whatever a stranger invents is refused.

That arbitrary bytes raise typed errors only is for `tests/fuzzing` to show.
"""

import json

from hypothesis import given
from hypothesis import strategies as st

from credentials.errors import CredentialError
from credentials.keys import SoftwareKey
from tests.wallet_adapters.parties import NOW, VCT, Authority
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp import (
    AuthorizationResponse,
    CredentialQuery,
    DcqlQuery,
    ExpectedResponse,
    parse_authorization_response,
    verify_response,
)

AUTHORITY = Authority()
KEY = SoftwareKey.generate()
EXPECTED = ExpectedResponse("x509_hash:a", "n", "s", DcqlQuery((CredentialQuery("q", (VCT,)),)))


@given(text=st.text(alphabet="ab.~-_", max_size=40), honest_credential=st.booleans())
def test_no_invented_presentation_verifies(text: str, *, honest_credential: bool) -> None:
    presented = AUTHORITY.issue(KEY.public_jwk()) + text if honest_credential else text
    try:
        response = parse_authorization_response(
            {"vp_token": json.dumps({"q": [presented]}), "state": "s"}
        )
        assert isinstance(response, AuthorizationResponse)
        verified = verify_response(response, expected=EXPECTED, anchors=[AUTHORITY.root], now=NOW)
    except (WalletProtocolError, CredentialError):
        return
    raise AssertionError(f"verified: {verified}")
