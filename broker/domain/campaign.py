"""Campaigns as the broker keeps them: who signed, what state follows which, members' node keys.

    draft -> running <-> paused -> stopped; running -> finished

What a campaign is, and which signatures make it one, `federation.campaign` and `federation.board`
say.
"""

from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from broker.domain.errors import InvalidRequest, StateConflict
from credentials.errors import CredentialError
from credentials.jcs import b64url_decode
from credentials.json_reader import read_json_object
from federation import reading
from federation.board import MOST_KEYS, Board, SignedCampaign, verify_campaign
from federation.campaign import LARGEST_CAMPAIGN, Campaign
from federation.errors import FederationError, Malformed

LARGEST_BOARD: Final = 262_144
LARGEST_NODE_KEY: Final = 4_096
CURVES: Final[Mapping[str, ec.EllipticCurve]] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}

BUDGET_SPENT: Final = "privacy_budget_spent"
NO_ROUND_ACCEPTED: Final = "no_round_accepted"
ROUNDS_USED_UP: Final = "rounds_used_up"
"""Why a campaign is in its state where nobody chose that: finished, paused."""

_NEXT: Final[Mapping[str, frozenset[str]]] = {
    "draft": frozenset({"running", "stopped"}),
    "running": frozenset({"paused", "stopped", "finished"}),
    "paused": frozenset({"running", "stopped"}),
    "finished": frozenset(),
    "stopped": frozenset(),
}


def check_transition(before: str, after: str) -> None:
    """Raise `StateConflict` where a campaign in one state does not come to the other."""
    if after not in _NEXT[before]:
        raise StateConflict(f"a campaign that is {before} does not become {after}")


def read_told(document: object, board: object) -> tuple[SignedCampaign, Board]:
    """A campaign and its board as the broker tells them, verified.

    Raises `FederationError`, such as `Malformed` or `BoardDisagrees`.
    """
    source = reading.members(document, "a signed campaign", frozenset({"campaign", "signatures"}))
    told = reading.members(board, "a board", frozenset({"keys", "threshold"}))
    keys = reading.items(told, "keys", MOST_KEYS)
    signatures = reading.items(source, "signatures", LARGEST_CAMPAIGN)
    if not all(isinstance(one, dict) for one in keys):
        raise Malformed("keys of a board are JWKs")
    if not all(isinstance(one, str) for one in signatures):
        raise Malformed("signatures are compact JWS, as text")
    decides = Board.of(keys, reading.whole(told, "threshold", 1, len(keys) or 1))
    return verify_campaign(Campaign.from_json(source["campaign"]), signatures, decides), decides


def read_board(data: bytes) -> Board:
    """A board from its file: `{"keys": [JWK, ...], "threshold": k}`. Raises `InvalidRequest`."""
    try:
        source = read_json_object(data, max_bytes=LARGEST_BOARD)
    except CredentialError as error:
        raise InvalidRequest(f"the board: {error}") from None
    keys, threshold = source.get("keys"), source.get("threshold")
    if (
        source.keys() != {"keys", "threshold"}
        or not isinstance(keys, list)
        or not all(isinstance(one, dict) for one in keys)
        or type(threshold) is not int
    ):
        raise InvalidRequest('a board is {"keys": [JWK, ...], "threshold": how many decide}')
    try:
        return Board.of(keys, threshold)
    except FederationError as error:
        raise InvalidRequest(str(error)) from None


def board_json(board: Board) -> dict[str, Any]:
    """A board as `read_board` reads it."""
    return {"keys": [key.jwk for key in board.keys.values()], "threshold": board.threshold}


def read_node_key(data: bytes) -> str:
    """A node's public key, SPKI PEM or JWK, as SPKI PEM.

    It is on P-256 or P-384, the curves that Flower's nodes prove with. Raises `InvalidRequest`.
    """
    if len(data) > LARGEST_NODE_KEY:
        raise InvalidRequest(f"a node's key has at most {LARGEST_NODE_KEY} bytes")
    key = _pem_key(data) if data.lstrip().startswith(b"-----") else _jwk_key(data)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in {
        curve.name for curve in CURVES.values()
    }:
        raise InvalidRequest("a node's key is a public key on P-256 or P-384, SPKI PEM or JWK")
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def _pem_key(data: bytes) -> object:
    if b"PRIVATE" in data:
        raise InvalidRequest("that is a private key: hand in its public part alone")
    try:
        return load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        return None


def _jwk_key(data: bytes) -> object:
    try:
        source = read_json_object(data, max_bytes=LARGEST_NODE_KEY)
        if "d" in source:
            raise InvalidRequest("that is a private key: hand in its public members alone")
        curve = CURVES.get(str(source.get("crv")))
        if source.get("kty") != "EC" or curve is None:
            return None
        size = (curve.key_size + 7) // 8
        x, y = (b64url_decode(str(source.get(name))) for name in ("x", "y"))
        if len(x) != size or len(y) != size:
            return None
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + x + y)
    except (CredentialError, ValueError):
        return None
