"""Templates: what the schema and the law refuse, and the terms that come of the rest."""

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from broker.domain.errors import (
    InvalidTemplate,
    InvalidTerms,
    UnknownAttribute,
    UnknownPurpose,
)
from broker.domain.schemas import CONSENT_TEMPLATE
from broker.domain.template import (
    Registry,
    Template,
    build_terms,
    check_template,
    parse_template,
    read_template,
)
from broker.domain.terms import AlgorithmTerms, AttributeTerms, Label, Party, PurposeTerms, Terms
from tests.broker.demonstration import DEMONSTRATION

NOW = 1_795_478_400
DAY = 86_400
DOCUMENT: dict[str, Any] = DEMONSTRATION["templates"][0]
CONTROLLER = Party("demo", Label("晨曦集团", "Dawn Group"), "privacy@dawn.example", "CN")
PARTNER = Party("p-1", Label("晨曦咖啡", "Dawn Coffee"), "privacy@dawn.example", "CN")
LABEL = Label("文", "text")


def attribute(name: str, *, sensitive: bool = False, stored_in: str = "CN") -> AttributeTerms:
    return AttributeTerms(
        name, LABEL, "pd:Location", sensitive, required=False, stored_in=stored_in
    )


REGISTRY = Registry(
    purposes={
        one["id"]: PurposeTerms(one["id"], LABEL, one["necessary_for_service"])
        for one in DEMONSTRATION["purposes"]
    },
    algorithms={
        (one["id"], one["version"]): (
            one["purpose"],
            AlgorithmTerms(
                one["id"],
                one["version"],
                LABEL,
                LABEL,
                automated_decision=False,
                risk_tier="limited",
            ),
        )
        for one in DEMONSTRATION["algorithms"]
    },
    attributes={
        one["id"]: attribute(one["id"], sensitive=one["sensitive"], stored_in=one["stored_in"])
        for one in DEMONSTRATION["attributes"]
    },
)


def item(document: dict[str, Any], number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = document["items"][number]
    return found


def terms_of(
    template: Template,
    number: int = 0,
    *,
    chosen: set[str] | None = None,
    partner: Party = PARTNER,
    registry: Registry = REGISTRY,
) -> Terms:
    return build_terms(
        template,
        template.items[number],
        consent_id="c-1",
        controller=CONTROLLER,
        partner=partner,
        registry=registry,
        chosen=chosen,
        language="zh",
        now=NOW,
        withdrawal_url="https://consent.example/c/x",
    )


def test_the_schema_is_a_schema() -> None:
    schema = json.loads(CONSENT_TEMPLATE)
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema"]["const"] == DOCUMENT["schema"]


def test_the_demonstration_is_read_and_fits_its_registry() -> None:
    template = read_template(DOCUMENT)
    check_template(template, REGISTRY)
    assert [one.item for one in template.items] == ["base", "visits", "singapore"]
    assert template.document == DOCUMENT


def test_a_stored_template_reads_as_what_was_stored() -> None:
    template = read_template(DOCUMENT)
    again = parse_template(json.loads(json.dumps(template.document)), 7)
    assert (again.items, again.notice_hash(), again.version) == (
        template.items,
        template.notice_hash(),
        7,
    )


LEFT_OUT = object()


def edited(path: str, value: object) -> dict[str, Any]:
    """The demonstration with one member set, or left out."""
    document = copy.deepcopy(DOCUMENT)
    *parents, last = path.split(".")
    place: Any = document
    for parent in parents:
        place = place[int(parent) if parent.isdecimal() else parent]
    if value is LEFT_OUT:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("schema", [LEFT_OUT, "urn:consent-broker:template:2"]),
        ("unknown", [1]),
        ("id", [LEFT_OUT, "Loyalty", "loyalty\n", "", "x" * 65]),
        ("refusal", [LEFT_OUT, "text"]),
        ("title.zh", [LEFT_OUT, "", "x\x00y", "\ud800", "two\nlines", "x" * 1001]),
        ("title.fr", ["non"]),
        ("minimum_grade", ["none", None]),
        ("allow_bound_signature", [1, "yes"]),
        ("evidence_retention_days", [0, 10**30, -1, 1.5]),
        ("assessment_reference", [""]),
        ("items", [[], None, [DOCUMENT["items"][0]] * 2]),
        ("items.0.max_uses", [LEFT_OUT, 0, True]),
        ("items.0.item", ["with_underscore", "Base", ""]),
        ("items.0.purpose", ["dpv:ServicePersonalisation", "dpv:A#algo:b@1\n", "x#algo:b@1"]),
        ("items.0.actions", [[], ["read", "sell"], ["read", "read"]]),
        ("items.0.attributes", [[], [{"id": "a"}], [{"id": "a", "required": 1}], ["a"]]),
        ("items.0.attributes", [[{"id": "a", "required": r} for r in (True, False)]]),
        ("items.0.territories.storage", [[], ["China"], ["cn"], ["CN", "CN"], "CN"]),
        ("items.0.territories.access", [LEFT_OUT]),
        ("items.0.retention_days", [0, "180"]),
        ("items.0.valid_days", [4000, 1.5, True]),
        ("items.0.sentence", ["plain"]),
    ],
)
def test_what_the_schema_refuses(path: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(InvalidTemplate):
            read_template(edited(path, value))


@pytest.mark.parametrize("value", [None, [], "template", 1, {}, {"items": 1}])
def test_what_is_no_template_at_all(value: object) -> None:
    with pytest.raises(InvalidTemplate):
        read_template(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@given(st.sampled_from([*DOCUMENT, "more"]), st.sampled_from([None, *item(DOCUMENT)]), json_values)
def test_any_value_in_any_place_is_read_or_refused(
    name: str, inner: str | None, value: object
) -> None:
    document = copy.deepcopy(DOCUMENT)
    if inner is None:
        document[name] = value
    else:
        item(document)[inner] = value
    try:
        check_template(read_template(document), REGISTRY)
    except (InvalidTemplate, UnknownPurpose, UnknownAttribute):
        return
    assert DOCUMENT["id"] == document["id"] or name == "id"


def test_sensitive_attributes_need_an_item_of_their_own() -> None:
    both = [*item(DOCUMENT)["attributes"], {"id": "visit_log", "required": False}]
    bundled = edited("items.0.attributes", both)
    with pytest.raises(InvalidTemplate, match="PIPL 29"):
        check_template(read_template(bundled), REGISTRY)


def test_a_sensitive_item_that_leaves_the_country_is_two_items() -> None:
    bundled = edited("items.1.territories.access", ["CN", "SG"])
    with pytest.raises(InvalidTemplate, match=r"PIPL 29\).*PIPL 39\)"):
        check_template(read_template(bundled), REGISTRY)
    for kind in ("sensitive", "cross_border"):
        item(bundled, 1)["separate"] = kind
        check_template(read_template(bundled), REGISTRY)
    item(bundled, 1)["separate"] = "publication"
    with pytest.raises(InvalidTemplate, match="no separate consent for publication"):
        check_template(read_template(bundled), REGISTRY)


def test_making_public_and_images_of_public_places_are_items_of_their_own() -> None:
    with pytest.raises(InvalidTemplate, match="PIPL 25"):
        check_template(read_template(edited("items.0.actions", ["read", "publish"])), REGISTRY)
    public = read_template(edited("items.0.actions", ["publish"]))
    check_template(public, REGISTRY)
    assert terms_of(public).separate == ("publication", "third_party")
    known = item(DOCUMENT)["attributes"]
    watched = replace(REGISTRY, public_places=frozenset({known[0]["id"]}))
    with pytest.raises(InvalidTemplate, match="PIPL 26"):
        check_template(read_template(DOCUMENT), watched)
    watched = replace(REGISTRY, public_places=frozenset(one["id"] for one in known))
    assert terms_of(read_template(DOCUMENT), registry=watched).separate == (
        "public_place",
        "third_party",
    )


def test_nothing_is_trained_on_that_needs_several_separate_consents() -> None:
    abroad = edited("items.1.territories.access", ["CN", "SG"])
    item(abroad, 1)["separate"] = "cross_border"
    item(abroad, 1)["actions"] = ["read"]
    check_template(read_template(abroad), REGISTRY)
    item(abroad, 1)["actions"] = ["read", "train"]
    with pytest.raises(InvalidTemplate, match="leave out `train`"):
        check_template(read_template(abroad), REGISTRY)


def test_an_unregistered_purpose_algorithm_version_or_attribute_is_named() -> None:
    for wire in (
        "dpv:Marketing#algo:churn-v3@1",
        "dpv:ServicePersonalisation#algo:churn-v3@9",
        "dpv:ServiceProvision#algo:churn-v3@1",
    ):
        template = read_template(edited("items.0.purpose", wire))
        with pytest.raises(UnknownPurpose, match="is not registered"):
            check_template(template, REGISTRY)
    unknown = edited("items.0.attributes", [{"id": "shoe_size", "required": True}])
    with pytest.raises(UnknownAttribute, match="shoe_size"):
        check_template(read_template(unknown), REGISTRY)


def test_the_terms_of_each_item_say_which_separate_consent_they_are() -> None:
    template = read_template(DOCUMENT)
    assert [terms_of(template, n).separate for n in range(3)] == [
        ("third_party",),
        ("sensitive", "third_party"),
        ("cross_border", "third_party"),
    ]


def test_a_company_that_asks_for_itself_is_no_third_party() -> None:
    assert terms_of(read_template(DOCUMENT), partner=CONTROLLER).separate == ()


def test_an_attribute_stored_elsewhere_makes_a_transfer_of_the_same_places() -> None:
    moved = Registry(
        REGISTRY.purposes,
        REGISTRY.algorithms,
        {**REGISTRY.attributes, "home_city": attribute("home_city", stored_in="SG")},
    )
    template = read_template(DOCUMENT)
    assert "cross_border" in terms_of(template, registry=moved).separate
    assert (
        "cross_border"
        not in terms_of(template, chosen={"purchase_count_12m"}, registry=moved).separate
    )


def test_an_attribute_that_became_sensitive_is_not_asked_for_in_a_bundle() -> None:
    stricter = Registry(
        REGISTRY.purposes,
        REGISTRY.algorithms,
        {**REGISTRY.attributes, "home_city": attribute("home_city", sensitive=True)},
    )
    with pytest.raises(InvalidTemplate):
        terms_of(read_template(DOCUMENT), registry=stricter)


def test_terms_hold_what_was_ticked_and_nothing_else() -> None:
    template = read_template(DOCUMENT)
    assert [one.id for one in terms_of(template).attributes] == ["purchase_count_12m", "home_city"]
    narrowed = terms_of(template, chosen={"purchase_count_12m"})
    assert [one.id for one in narrowed.attributes] == ["purchase_count_12m"]


@pytest.mark.parametrize("chosen", [set(), {"home_city"}, {"purchase_count_12m", "phone"}])
def test_a_needed_attribute_left_out_or_a_foreign_one_is_refused(chosen: set[str]) -> None:
    with pytest.raises(InvalidTerms):
        terms_of(read_template(DOCUMENT), chosen=chosen)


def test_terms_state_times_notice_and_purpose_and_survive_the_wire() -> None:
    template = parse_template(DOCUMENT, 3)
    terms = terms_of(template)
    assert (terms.valid_from, terms.valid_until) == (NOW, NOW + 180 * DAY)
    assert terms.purpose_wire == "dpv:ServicePersonalisation#algo:churn-v3@1"
    assert (terms.notice.version, terms.notice.hash) == (3, template.notice_hash())
    assert Terms.from_json(json.loads(terms.canonical())) == terms


def test_the_notice_hash_changes_with_every_word() -> None:
    other = edited("items.0.sentence.en", "Something else.")
    assert read_template(other).notice_hash() != read_template(DOCUMENT).notice_hash()


def test_a_template_of_countless_items_is_refused_before_it_is_validated() -> None:
    long: object
    for long in ({"items": [{}] * 350_000}, {"items": [[1, "a"] * 30_000]}):
        with pytest.raises(InvalidTemplate, match="at most 50 entries"):
            read_template(long)
