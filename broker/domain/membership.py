"""What a node signs to join a training consortium: whose it is, and by which key it signs receipts.

    {"type": "urn:consent-broker:membership:1", "credential_ids": ["membership"],
     "transaction_data_hashes_alg": ["sha-256"], "consortium": the issuer's address,
     "member": the partner's client id, "receipt_key": JWK}

The membership credential is bound to the node's own key (`cnf`), so the signature over this is the
node's, and neither node nor receipts can be another's.
"""

from collections.abc import Mapping
from typing import Any, Final

TYPE: Final = "urn:consent-broker:membership:1"
QUERY: Final = "membership"
CONFIGURATION: Final = "federation_membership"
ALGORITHMS: Final = ("ES256",)
"""Of nodes that join by credential: on P-256, as `federation.flower` makes their keys."""


def statement(consortium: str, member: str, receipt_key: Mapping[str, str]) -> dict[str, Any]:
    """The content of the transaction data that a node signs."""
    return {
        "type": TYPE,
        "credential_ids": [QUERY],
        "transaction_data_hashes_alg": ["sha-256"],
        "consortium": consortium,
        "member": member,
        "receipt_key": dict(receipt_key),
    }
