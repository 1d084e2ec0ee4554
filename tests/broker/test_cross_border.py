"""Transfers abroad: what counts as one, the bands at their edges, exactly once for each subject."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from broker.domain.cross_border import (
    ASSESSMENT_BAND,
    CONTRACT_BAND,
    SENSITIVE_BAND,
    Mechanism,
    TransferFacts,
    destinations,
    room,
    year_and_month,
)
from broker.domain.decision import Decision
from broker.domain.errors import InvalidRequest, NotFound, UnknownPartner
from broker.store import cross_border as store
from broker.store import tables
from broker.store.acting import acting_for
from broker.usecases import cross_border
from tests.broker.builders import DAY, PURPOSE, START, TENANT
from tests.broker.deciding import Desk, desk
from tests.broker.flow_world import world

SUBJECT = tables.Subject.__table__  # type: ignore[attr-defined]
YEAR, MONTH = year_and_month(START)
ABROAD: dict[str, Any] = {"territories": ("CN", "SG"), "separate": ("third_party", "cross_border")}
AT_ONCE = 8
CONTRACT: dict[str, Any] = {"kind": "standard_contract", "filing_number": "京标备2026000184"}


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def on_each(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


def filed(at: Desk, **changes: Any) -> Mechanism:  # noqa: ANN401
    told = {"partner_id": at.partner_id, "destination": "SG", **CONTRACT, **changes}
    return cross_border.register(at.broker.ctx, TENANT, **told)


def stand_at(at: Desk, general: int = 0, sensitive: int = 0) -> None:
    """As if so many others had been counted this year."""
    with at.broker.ctx.db.transaction() as tx:
        tx.execute(
            insert(store.COUNT).values(
                tenant_id=TENANT, exporter=TENANT, year=YEAR, general=general, sensitive=sensitive
            )
        )


def counted(at: Desk) -> tuple[int, int]:
    with at.broker.ctx.db.reading() as tx:
        return store.this_year(tx, TENANT, TENANT, YEAR)


def rows(at: Desk) -> list[Any]:
    with at.broker.ctx.db.reading() as tx:
        return [tuple(row) for row in tx.execute(select(store.SUBJECT))]


def codes(decision: Decision) -> list[str]:
    return [reason.code for reason in decision.reasons]


def test_a_subject_is_counted_once_over_all_recipients(at: Desk) -> None:
    at.consent(**ABROAD)
    assert at.decide(territory="SG").permit
    assert at.decide(territory="SG").permit
    assert at.decide(territory="CN").permit
    assert counted(at) == (1, 0)
    [row] = rows(at)
    assert row[:4] == (TENANT, TENANT, YEAR, "general")
    assert row[5] == MONTH
    with at.broker.ctx.db.reading() as tx:
        subjects = set(tx.execute(select(SUBJECT.c.id)).scalars())
    assert not any(one in row[4] for one in subjects)
    [entry, *_] = [one for one in at.broker.logged("decision") if "transfer" in one.body["facts"]]
    assert entry.body["facts"]["transfer"] == {
        "law": "PIPL",
        "filed": 0,
        "mechanisms": [],
        "subjects": 0,  # the band, never the count
        "sensitive": 0,
    }


def test_a_use_at_home_is_not_counted(at: Desk) -> None:
    at.consent(**ABROAD)
    assert at.decide().permit
    assert rows(at) == []


def test_remote_access_from_abroad_counts_whatever_territory_is_declared(at: Desk) -> None:
    at.partner_id = at.broker.partner("Singapore", country="SG")
    at.token = at.broker.token(at.partner_id)
    at.consent(separate=("third_party",))
    assert at.codes(territory="CN") == ["cross_border_consent_missing"]
    at.consent(separate=("third_party", "cross_border"))
    # A consent that lets data abroad, and does not name this country, is not enough.
    assert at.codes(territory="CN") == ["cross_border_consent_missing"]
    at.consent(**ABROAD)
    assert at.codes(territory="CN") == []
    assert counted(at) == (1, 0)


def test_the_last_place_below_each_band_is_the_last(on_each: Desk) -> None:
    at = on_each
    stand_at(at, general=CONTRACT_BAND - 2)
    for name in ("a", "b"):
        at.broker.consent(at.partner_id, name, **ABROAD)
    assert at.decide(subject_ref="a", territory="SG").permit
    denied = at.decide(subject_ref="b", territory="SG")
    assert codes(denied) == ["transfer_contract_missing"]
    assert denied.reasons[0].law == ("PIPL-38", "CN-FLOWS-8")
    assert [one.id for one in denied.obligations] == ["register"]
    assert counted(at) == (CONTRACT_BAND - 1, 0)
    # Whoever is counted already goes on: the count is that of before.
    assert at.decide(subject_ref="a", territory="SG").permit
    filed(at)
    assert at.decide(subject_ref="b", territory="SG").permit
    assert counted(at) == (CONTRACT_BAND, 0)


def test_sensitive_data_need_a_contract_from_the_first_and_an_assessment_from_there(
    at: Desk,
) -> None:
    about: dict[str, Any] = {"attribute": "visit_log", "territory": "SG"}
    terms = {
        **ABROAD,
        "attributes": ("visit_log",),
        "separate": ("third_party", "cross_border", "sensitive"),
    }
    for name in ("a", "b"):
        at.broker.consent(at.partner_id, name, **terms)
    assert codes(at.decide(subject_ref="a", **about)) == ["transfer_contract_missing"]
    filed(at)
    stand_at(at, sensitive=SENSITIVE_BAND - 2)
    assert at.decide(subject_ref="a", **about).permit
    denied = at.decide(subject_ref="b", **about)
    assert codes(denied) == ["transfer_assessment_missing"]
    assert counted(at) == (0, SENSITIVE_BAND - 1)
    filed(at, kind="security_assessment", valid_until=START + 300 * DAY)
    assert at.decide(subject_ref="b", **about).permit
    assert counted(at) == (0, SENSITIVE_BAND)


def test_an_exemption_is_counted_apart_and_for_its_purpose(at: Desk) -> None:
    stand_at(at, general=ASSESSMENT_BAND)
    at.consent(**ABROAD)
    assert at.codes(territory="SG") == ["transfer_assessment_missing"]
    exempt: dict[str, Any] = {"kind": "exemption", "ground": "contract", "filing_number": None}
    made = filed(at, **exempt, purpose=PURPOSE)
    assert made.article == "CN-FLOWS-5.1"
    assert at.decide(territory="SG").permit
    assert counted(at) == (ASSESSMENT_BAND, 0)
    [row] = rows(at)
    assert row[3] == "exempt:contract"
    [own] = cross_border.counts(at.broker.ctx, TENANT)
    assert own.to_json()["exempt"] == {"contract": 1}
    assert cross_border.end(at.broker.ctx, TENANT, made.id)
    assert not cross_border.end(at.broker.ctx, TENANT, made.id)
    assert at.codes(territory="SG") == ["transfer_assessment_missing"]


def test_a_mechanism_counts_from_its_day_until_it_is_over(at: Desk) -> None:
    stand_at(at, general=CONTRACT_BAND)
    at.consent(**ABROAD)
    filed(at, valid_from=START + 10, valid_until=START + 20)
    at.broker.time[0] = START + 9
    assert at.codes(territory="SG") == ["transfer_contract_missing"]
    at.broker.time[0] = START + 10
    assert at.codes(territory="SG") == []
    at.broker.time[0] = START + 20
    assert at.codes(territory="SG") == ["transfer_contract_missing"]


def test_the_year_is_that_of_beijing(at: Desk) -> None:
    new_year = 1_798_732_800  # 2027-01-01T00:00:00+08:00
    assert [year_and_month(new_year + one) for one in (-1, 0)] == [(2026, 12), (2027, 1)]
    at.consent(valid_from=START, **ABROAD)
    for moment in (new_year - 1, new_year):
        at.broker.time[0] = moment
        at.token = at.broker.token(at.partner_id)
        at.broker.keep_log()
        assert at.decide(territory="SG").permit
    keys = {row[2]: row[4] for row in rows(at)}
    assert sorted(keys) == [2026, 2027]
    assert keys[2026] != keys[2027]


def test_data_of_europe_need_a_mechanism_whatever_the_count(at: Desk) -> None:
    attribute = tables.Attribute.__table__  # type: ignore[attr-defined]
    at.broker.change(attribute, (attribute.c.id == "home_city",), stored_in="DE")
    at.consent(territories=("DE", "FR", "SG"), separate=("third_party", "cross_border"))
    at.partner_id, old = at.broker.partner("Berlin", country="DE"), at.partner_id
    at.token = at.broker.token(at.partner_id)
    at.consent(territories=("DE", "FR", "SG"), separate=("third_party", "cross_border"))
    assert at.codes(territory="FR") == []
    assert at.codes(territory="SG") == ["transfer_mechanism_missing"]
    filed(at, kind="standard_clauses", filing_number=None)
    assert at.codes(territory="SG") == []
    assert rows(at) == []
    assert old != at.partner_id


def test_of_several_at_once_exactly_one_wins_the_last_place(
    postgres_database: str, tmp_path: Path
) -> None:
    """On PostgreSQL each decision is a thread and a connection of its own."""
    with desk(tmp_path, postgres_database) as at:
        stand_at(at, general=CONTRACT_BAND - 2)
        names = [f"crm-{number}" for number in range(AT_ONCE)]
        for name in names:
            at.broker.consent(at.partner_id, name, **ABROAD)

        async def all_at_once() -> list[Decision]:
            return await asyncio.gather(
                *(at.ask(subject_ref=name, territory="SG") for name in names)
            )

        decided = asyncio.run(all_at_once())
        assert [one.permit for one in decided].count(True) == 1
        assert {code for one in decided for code in codes(one)} == {"transfer_contract_missing"}
        assert counted(at) == (CONTRACT_BAND - 1, 0)
        assert len(rows(at)) == 1


def test_the_second_waits_for_the_first_and_then_finds_no_place(
    postgres_database: str, tmp_path: Path
) -> None:
    """Two connections whose order is held: the first has counted and not committed."""
    with desk(tmp_path, postgres_database) as at:
        stand_at(at, general=CONTRACT_BAND - 2)
        db = at.broker.ctx.db
        within = room(0, sensitive=False)

        def second() -> bool:
            with acting_for(TENANT), db.transaction() as tx:
                return store.count(tx, TENANT, facts("two"), within)

        with ThreadPoolExecutor(1) as pool:
            with acting_for(TENANT), db.transaction() as tx:
                assert store.count(tx, TENANT, facts("one"), within)
                waiting = pool.submit(second)
                assert not waiting.done()
            assert waiting.result(20) is False
        assert counted(at) == (CONTRACT_BAND - 1, 0)
        assert len(rows(at)) == 1


def facts(key: str) -> Any:  # noqa: ANN401
    return TransferFacts("PIPL", 0, exporter=TENANT, subject_key=key, year=YEAR, month=MONTH)


def test_a_mechanism_that_ends_while_a_permit_is_under_way_stops_it(on_each: Desk) -> None:
    at = on_each
    stand_at(at, general=CONTRACT_BAND)
    at.consent(**ABROAD)
    made = filed(at)
    ctx = at.broker.ctx
    write = ctx.db.write
    ended: list[bool] = []

    async def interposed(work: Any, *, size: int = 1) -> Any:  # noqa: ANN401
        if not ended:
            ended.append(cross_border.end(ctx, TENANT, made.id))
        return await write(work, size=size)

    ctx.db.write = interposed  # type: ignore[method-assign]
    try:
        assert at.codes(territory="SG") == ["transfer_contract_missing"]
    finally:
        ctx.db.write = write  # type: ignore[method-assign]
    assert ended == [True]
    assert rows(at) == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kind": "trust_me"}, "a mechanism is one of"),
    ({"filing_number": None}, "has the number"),
    ({"filing_number": "\n"}, "printable"),
    ({"destination": "CN"}, "not abroad"),
    ({"destination": "Singapore"}, "ISO 3166-1"),
    ({"kind": "adequacy", "destination": "DE"}, "not abroad"),
    ({"ground": "contract"}, "alone"),
    ({"kind": "exemption", "ground": "because"}, "the ground of this exemption"),
    ({"kind": "exemption", "ground": "contract"}, "for one purpose"),
    ({"kind": "derogation", "ground": "contract", "purpose": "dpv:None"}, "not registered"),
    ({"kind": "security_assessment"}, "at most 3 years"),
    ({"valid_until": START - 1}, "ends after it begins"),
]


def test_what_no_law_knows_is_refused(at: Desk) -> None:
    for changes, cure in REFUSED:
        with pytest.raises(InvalidRequest, match=cure):
            filed(at, **changes)
    assert cross_border.listed(at.broker.ctx, TENANT) == []


def test_what_is_not_there_is_refused(at: Desk) -> None:
    with pytest.raises(UnknownPartner):
        filed(at, partner_id="p-none")
    with pytest.raises(UnknownPartner):
        filed(at, exporter="p-none")
    with pytest.raises(NotFound):
        cross_border.end(at.broker.ctx, TENANT, "tm-none")
    with pytest.raises(InvalidRequest):
        cross_border.counts(at.broker.ctx, TENANT, 1)


@pytest.mark.parametrize(
    ("stored", "country", "territory", "reached"),
    [
        ("CN", "CN", "CN", None),
        ("CN", "SG", "CN", ("PIPL", ("SG",))),
        ("CN", "CN", "HK", ("PIPL", ("HK",))),
        ("CN", "US", "SG", ("PIPL", ("SG", "US"))),
        ("DE", "FR", "DE", None),
        ("DE", "FR", "US", ("GDPR", ("US",))),
        ("SG", "CN", "CN", None),
        ("", "CN", "SG", None),
    ],
)
def test_what_is_a_transfer(stored: str, country: str, territory: str, reached: Any) -> None:  # noqa: ANN401
    found = destinations(stored, country, territory)
    assert (found and (found.law, found.countries)) == reached


def test_over_http(tmp_path: Path) -> None:
    with world(tmp_path / "home") as made:
        body = {
            "partner": made.partner,
            "destination": "SG",
            **CONTRACT,
            "valid_until": "2028-03-01",
        }
        headers = {"Idempotency-Key": "once"}
        added = made.api(
            "POST", "/v1/transfer-mechanisms", made.officer, json=body, headers=headers
        )
        assert added.status_code == 201, added.text
        told = added.json()
        assert (told["law"], told["in_force"]) == ("PIPL", True)
        assert told["valid_until"] == 1_835_452_800  # midnight in Beijing
        assert made.api("POST", "/v1/transfer-mechanisms", json=body).status_code == 403
        listed = made.api("GET", "/v1/transfer-mechanisms", made.officer).json()
        assert listed == {"mechanisms": [told]}
        [count] = made.api("GET", "/v1/transfers/count", made.officer).json()["counts"]
        assert (count["subjects"], count["required"]) == (0, "nothing")
        path = f"/v1/transfer-mechanisms/{told['id']}"
        ends = [made.api("DELETE", path, made.officer).json()["ended"] for _ in range(2)]
        assert ends == [True, False]
        exported = made.api("GET", "/v1/transfers/export", made.officer)
        assert exported.headers["Broker-Signature"].count(".") == 2
        assert json.loads(exported.content)["mechanisms"][0]["ended_at"] is not None
        as_csv = made.api("GET", "/v1/transfers/export?format=csv", made.officer).text
        assert "京标备2026000184" in as_csv
