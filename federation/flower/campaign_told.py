"""A campaign as the broker tells it to a coordinator."""

import json
from collections.abc import Mapping
from typing import Any

from federation.board import Board, SignedCampaign, read_signed_campaign


def verified(told: Mapping[str, Any]) -> SignedCampaign:
    """The campaign as the broker tells it, by the board that it tells."""
    board = Board.of(told["board"]["keys"], told["board"]["threshold"])
    return read_signed_campaign(json.dumps(told["document"]).encode(), board)


def over(told: Mapping[str, Any], signed: SignedCampaign) -> bool:
    """Whether the stage has had all its rounds; one that is open has yet to be ended."""
    last = told["last_round"]
    return (
        last is not None
        and last["stage"] == told["stage"]
        and last["number"] >= signed.campaign.rounds
        and last["state"] != "open"
    )
