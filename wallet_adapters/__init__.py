"""Wallet protocols without input or output: bytes and dicts in, values and messages out.

`openid4vci` issues credentials, `openid4vp` requests presentations and checks the answers,
`loopback` is a careful wallet that speaks both. The caller carries the messages, passes the time
in Unix seconds, keeps nonces and codes, and decides what happens once. Nothing raises anything but
`WalletProtocolError`, except that `openid4vp.verify_response` also passes on the verdicts of
`credentials`.
"""

from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.protocol import SPECIFICATIONS, Specification, specification

__all__ = ["SPECIFICATIONS", "Specification", "WalletProtocolError", "specification"]
