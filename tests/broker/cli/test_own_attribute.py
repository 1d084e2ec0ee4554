"""`consent-broker own-attribute`, on a real home: declare, set, and policies that use it."""

from pathlib import Path

import pytest

from broker.store.acting import acting_for_all
from broker.usecases.bootstrap import demo_clients
from broker.usecases.context import Context
from tests.broker.cli.commands import Commands, home

REFUSED, USAGE = 1, 2
OWN, POLICY = Commands("own-attribute"), Commands("policy")
RULE = (
    '@id("own.tier") @law("contract") @code("own_tier") @obligation("stop") @zh("无。") @en("No.") '
    "forbid (principal, action, resource) "
    "when { principal.brand.own has tier && principal.brand.own.tier < 2 };"
)


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    return home(tmp_path, monkeypatch)


def test_from_declaring_to_dropping(ctx: Context, tmp_path: Path) -> None:
    with acting_for_all():
        partner = demo_clients(ctx)[0]["client_id"]
    assert OWN.told("declare", "tier", "--on", "partner", "--type", "long")["changed"] is True
    assert "as it was" in OWN.run("declare", "tier", "--on", "partner", "--type", "long").output
    listed = ("--value", "app", "--value", "in-store")
    made = OWN.told("declare", "channel", "--on", "request", "--type", "string", *listed)
    assert made["values"] == ["app", "in-store"]
    OWN.told("declare", "owners", "--on", "attribute", "--type", "set")
    OWN.told("declare", "trusted", "--on", "partner", "--type", "bool")

    named = ("--partner", partner)
    assert OWN.told("set", "tier", *named, "--value", "-2")["values"] == {"tier": -2}
    assert OWN.told("set", "trusted", *named, "--value", "true")["values"]["trusted"] is True
    refused = OWN.run("set", "tier", *named, "--value", "gold")
    assert (refused.exit_code, "its value is a long" in refused.output) == (REFUSED, True)
    assert OWN.run("set", "tier", *named).exit_code == USAGE
    assert OWN.run("set", "tier", "--value", "1").exit_code == USAGE
    both = ("--attribute", "purchase_count_12m", "--value", "sales", "--value", "marketing")
    assert OWN.told("set", "owners", *both)["values"] == {"owners": ["sales", "marketing"]}
    assert "trusted = true" in OWN.run("list").output
    assert "tier" not in OWN.told("unset", "tier", *named)["values"]

    file = tmp_path / "own.cedar"
    file.write_text(RULE, encoding="utf-8")
    assert POLICY.told("add", str(file))["never_apply"] == []
    assert "tier?: Long" in POLICY.run("show", "built-in", "--schema").output
    POLICY.told("switch", "1")
    kept = OWN.run("drop", "tier")
    assert (kept.exit_code, "in force use tier" in kept.output) == (REFUSED, True)
    POLICY.told("switch", "built-in")
    assert OWN.told("drop", "tier") == {"dropped": "tier"}
    names = [one["name"] for one in OWN.told("list")["declared"]]
    assert names == ["channel", "owners", "trusted"]
