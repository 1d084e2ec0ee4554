"""Separate consents: what the law does not let stand in one consent with anything else.

Making public (PIPL 25), images from public places (PIPL 26), sensitive personal information
(PIPL 29), transfer abroad (PIPL 39). Handing to another handler (PIPL 23) goes by the parties.
"""

from collections.abc import Collection
from typing import Protocol

from broker.domain.errors import InvalidTemplate
from broker.domain.terms import PUBLISH, TRAIN, AttributeTerms, Separate, Territories


class Item(Protocol):
    """What an item of a template says of this; `separate` where it names which one it is."""

    @property
    def item(self) -> str:
        """Its name."""

    @property
    def actions(self) -> Collection[str]:
        """What may be done."""

    @property
    def territories(self) -> Territories:
        """Where."""

    @property
    def separate(self) -> Separate | None:
        """Which separate consent it is, where it could be several."""


def separations(
    item: Item, attributes: Collection[AttributeTerms], public_places: Collection[str]
) -> tuple[Separate, ...]:
    """Which separate consent an item is: at most one, never bundled with anything else.

    `public_places` are the attributes that devices in public places collect. Raises
    `InvalidTemplate`.
    """
    sensitive = {attribute.sensitive for attribute in attributes}
    watched = {attribute.id in public_places for attribute in attributes}
    for article, kinds, mixed in (
        (29, sensitive, "sensitive attributes"),
        (26, watched, "images from public places"),
        (25, {action == PUBLISH for action in item.actions}, "making public"),
    ):
        if kinds == {True, False}:
            raise InvalidTemplate(
                f"item {item.item} bundles {mixed} with others: "
                f"give them an item of their own (PIPL {article})"
            )
    needed: dict[Separate, tuple[bool, str]] = {
        "sensitive": (True in sensitive, "sensitive attributes (PIPL 29)"),
        "cross_border": (
            any(not item.territories.every <= {one.stored_in} for one in attributes),
            "a transfer abroad (PIPL 39)",
        ),
        "publication": (PUBLISH in item.actions, "making public (PIPL 25)"),
        "public_place": (True in watched, "images from public places (PIPL 26)"),
    }
    found = [kind for kind, (is_one, _) in needed.items() if is_one]
    if item.separate is not None:
        if item.separate not in found:
            raise InvalidTemplate(f"item {item.item} is no separate consent for {item.separate}")
        if len(found) > 1 and TRAIN in item.actions:
            raise InvalidTemplate(
                f"item {item.item} would need several separate consents to train on, and a round "
                "looks at one consent for each customer: leave out `train`"
            )
        return (item.separate,)
    if len(found) > 1:
        told = " with ".join(needed[kind][1] for kind in found)
        raise InvalidTemplate(
            f"item {item.item} bundles {told}: make an item of each, which names it as `separate`"
        )
    return tuple(found)
