"""What runs beside the requests: a part that fails holds up no other."""

from pathlib import Path

from sqlalchemy import text

from broker.store.acting import acting_for_all
from broker.upkeep import DUE, sweep
from tests.broker.flow_world import world


def test_a_part_that_fails_holds_up_no_other(tmp_path: Path) -> None:
    with world(tmp_path) as broker:
        li = broker.customer("crm-1")
        asked = li.grant("base")
        broker.advance(400 * 86_400)
        with acting_for_all(), broker.ctx.db.transaction() as tx:
            tx.execute(text("ALTER TABLE access_token RENAME TO lost"))
        assert DUE[0].__name__ == "forget_expired"
        assert sweep(broker.ctx) == ["forget_expired"]
        broker.advance()
        [ended] = broker.logged("consent.expired")
        assert ended.consent_id == asked["consents"][0]["id"]
        with acting_for_all(), broker.ctx.db.transaction() as tx:
            tx.execute(text("ALTER TABLE lost RENAME TO access_token"))
        assert sweep(broker.ctx) == []
