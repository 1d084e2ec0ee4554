"""A customer who has agreed at two partners, and the way to the page where all is withdrawn."""

from broker.usecases import partner as partners
from broker.usecases.consent_request import open_request
from tests.web.markup import Element
from tests.web.page_world import LOYALTY, PageWorld
from tests.web.visiting import Visitor, forms
from wallet_adapters.loopback import accept_offer


def agreed(world: PageWorld) -> tuple[Visitor, Visitor]:
    """A customer with a consent at each of two partners; their pages there."""
    visitors = []
    own = world.partner_id
    other = partners.add_partner(
        world.ctx, "demo", name="Tea", name_zh="茶铺", contact="t@t.example", country="CN"
    ).client_id
    for partner_id in (own, other):
        world.partner_id = partner_id
        # One copy: a wallet does not know which of two cards a company means.
        offer = world.invite("crm-1").offer_uri
        accept_offer(world.wallet, offer, carry=world.carry, now=world.ctx.now())
        opened = open_request(
            world.ctx,
            "demo",
            partner_id,
            subject_ref="crm-1",
            template_id=LOYALTY,
            language="zh",
        )
        visitor = Visitor(world, opened.page_url.removeprefix(world.ctx.settings.public_url))
        assert visitor.choose("base").status_code == 303
        world.sign(visitor.wallet_link())
        visitors.append(visitor)
    world.partner_id = own
    return visitors[0], visitors[1]


def begun(visitor: Visitor) -> Element:
    """The part of the page where everything is withdrawn, once it was asked for."""
    form = next(
        one for one in forms(visitor.see()) if one.attributes["action"].endswith("/everything")
    )
    answer = visitor.post("everything", form.form_data())
    assert answer.status_code == 303
    return visitor.see().main.one("section", id="everything")


def proven(visitor: Visitor) -> str:
    """The address to which the wallet is sent when it has shown whose it is."""
    part = begun(visitor)
    (link,) = [one.attributes["href"] for one in part.every("a")]
    went_to = visitor.world.sign(link)
    assert went_to is not None
    return went_to.removeprefix(visitor.world.ctx.settings.public_url)
