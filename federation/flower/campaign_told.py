"""A campaign as the broker tells it to a coordinator."""

import json
from collections.abc import Mapping
from typing import Any

from federation.board import Board, SignedCampaign, read_signed_campaign
from federation.errors import Malformed


def verified(told: Mapping[str, Any]) -> SignedCampaign:
    """The campaign as the broker tells it, by the board that it tells."""
    board = Board.of(told["board"]["keys"], told["board"]["threshold"])
    return read_signed_campaign(json.dumps(told["document"]).encode(), board)


def over(told: Mapping[str, Any], signed: SignedCampaign) -> bool:
    """Whether the stage has closed its rounds, or no number is left in it.

    One that is open has yet to be ended.
    """
    last, campaign = told["last_round"], signed.campaign
    if last is None or last["stage"] != told["stage"] or last["state"] == "open":
        return False
    return last["number"] >= campaign.highest_number or closed(told) >= campaign.rounds


def closed(told: Mapping[str, Any]) -> int:
    """How many rounds of the campaign's stage gave a model.

    0 by a broker of before `progress`: it takes no campaign with spare rounds, so that the last
    number says as much.
    """
    count = told.get("progress", {}).get("closed", 0)
    if type(count) is not int:
        raise Malformed("the broker does not say how many rounds were closed")
    return count
