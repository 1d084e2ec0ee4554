"""Queries: built, read, and evaluated against claims."""

from typing import Any

import pytest

from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp import (
    ClaimsQuery,
    CredentialQuery,
    CredentialSet,
    DcqlQuery,
    TrustedAuthority,
    optional_each,
    parse_dcql,
)
from wallet_adapters.openid4vp.evaluation import (
    claim_matches,
    require_sets,
    select,
    selected_claims,
)

VCT = "https://issuer.example/vct/person/1"
PERSON = {
    "name": "Ann",
    "age": 40,
    "adult": True,
    "address": {"city": "Ghent", "lines": ["a", "b"]},
    "degrees": [{"type": "BSc", "year": 2006}, {"type": "MSc"}],
}
QUERY = DcqlQuery(
    credentials=(
        CredentialQuery(
            "person",
            (VCT, "urn:other"),
            claims=(
                ClaimsQuery(("name",), id="n"),
                ClaimsQuery(("degrees", None, "type"), values=("MSc", 3, True), id="d"),
                ClaimsQuery(("address", "lines", 1), id="l"),
            ),
            claim_sets=(("n", "d"), ("l",)),
            multiple=True,
            require_holder_binding=False,
            trusted_authorities=(TrustedAuthority("aki", ("s9tIpPmhxdiuNkHMEWNpYim8S8Y",)),),
        ),
        CredentialQuery("card", (VCT,)),
    ),
    credential_sets=(
        CredentialSet((("person",), ("card",))),
        CredentialSet((("person", "card"),), required=False),
    ),
)


def credential(**change: object) -> dict[str, Any]:
    value = {"id": "q", "format": "dc+sd-jwt", "meta": {"vct_values": [VCT]}} | change
    return {"credentials": [{name: item for name, item in value.items() if item is not ...}]}


def claims(*entries: dict[str, Any], **change: object) -> dict[str, Any]:
    return credential(claims=list(entries), **change)


def test_a_query_reads_back() -> None:
    assert parse_dcql(QUERY.as_dict()) == QUERY


def test_a_query_in_json() -> None:
    assert optional_each(
        [CredentialQuery("c1", (VCT,)), CredentialQuery("c2", (VCT,))]
    ).as_dict() == {
        "credentials": [
            {"id": "c1", "format": "dc+sd-jwt", "meta": {"vct_values": [VCT]}},
            {"id": "c2", "format": "dc+sd-jwt", "meta": {"vct_values": [VCT]}},
        ],
        "credential_sets": [
            {"options": [["c1"]], "required": False},
            {"options": [["c2"]], "required": False},
        ],
    }


def test_unknown_members_and_other_formats_are_read_over() -> None:
    value = credential(format="mso_mdoc", meta={"doctype_value": "org.iso.18013.5.1.mDL"}, new=1)
    assert parse_dcql(value | {"new": {}}).credentials[0].format == "mso_mdoc"


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"credentials": []},
        {"credentials": {}},
        {"credentials": ["q"]},
        {"credentials": credential()["credentials"] * 2},
        {"credentials": credential()["credentials"] * 65},
        credential(id=""),
        credential(id="a b"),
        credential(id="é"),
        credential(id=...),
        credential(format=...),
        credential(meta=...),
        credential(meta=[]),
        credential(meta={}),
        credential(meta={"vct_values": []}),
        credential(meta={"vct_values": [""]}),
        credential(multiple="yes"),
        credential(require_cryptographic_holder_binding=0),
        credential(trusted_authorities=[]),
        credential(trusted_authorities=[{"type": "aki"}]),
        credential(trusted_authorities=[{"type": "aki", "values": []}]),
        credential(claims=[]),
        credential(claim_sets=[["a"]]),
        claims({}),
        claims({"path": []}),
        claims({"path": "name"}),
        claims({"path": [-1]}),
        claims({"path": [True]}),
        claims({"path": [1.5]}),
        claims({"path": [{}]}),
        claims({"path": ["a"] * 17}),
        claims({"path": ["a"], "values": []}),
        claims({"path": ["a"], "values": [None]}),
        claims({"path": ["a"], "values": [1.5]}),
        claims({"path": ["a"], "values": "x"}),
        claims({"path": ["a"], "id": "a b"}),
        claims({"path": ["a"]}, {"path": ["a"]}),
        claims({"path": ["a"], "id": "x"}, {"path": ["b"], "id": "x"}),
        claims({"path": ["a"], "id": "x"}, {"path": ["b"]}, claim_sets=[["x"]]),
        claims({"path": ["a"], "id": "x"}, claim_sets=[]),
        claims({"path": ["a"], "id": "x"}, claim_sets=[[]]),
        claims({"path": ["a"], "id": "x"}, claim_sets=[["y"]]),
        credential() | {"credential_sets": []},
        credential() | {"credential_sets": [{}]},
        credential() | {"credential_sets": [{"options": []}]},
        credential() | {"credential_sets": [{"options": [[]]}]},
        credential() | {"credential_sets": [{"options": [["other"]]}]},
        credential() | {"credential_sets": [{"options": [["q"]], "required": None}]},
    ],
)
def test_queries_that_break_the_rules(value: dict[str, Any]) -> None:
    with pytest.raises(WalletProtocolError) as refused:
        parse_dcql(value)
    assert refused.value.error == "invalid_request"


@pytest.mark.parametrize(
    ("path", "selected"),
    [
        (("name",), ["Ann"]),
        (("address",), [{"city": "Ghent", "lines": ["a", "b"]}]),
        (("address", "city"), ["Ghent"]),
        (("address", "lines", 1), ["b"]),
        (("address", "lines", None), ["a", "b"]),
        (("degrees", None, "type"), ["BSc", "MSc"]),
        (("degrees", None, "year"), [2006]),
        (("degrees", 0), [{"type": "BSc", "year": 2006}]),
        (("degrees", 2), []),
        (("unknown",), []),
        (("name", "x"), []),
        (("name", 0), []),
        (("name", None), []),
        (("address", None), []),
        (("address", 0), []),
        (("degrees", "type"), []),
    ],
)
def test_claims_path_pointers(path: tuple[str | int | None, ...], selected: list[object]) -> None:
    assert select(PERSON, path) == selected


@pytest.mark.parametrize(
    ("path", "values", "matches"),
    [
        (("name",), ("Bob", "Ann"), True),
        (("name",), ("ann",), False),
        (("age",), (40,), True),
        (("age",), ("40",), False),
        (("adult",), (True,), True),
        (("adult",), (1,), False),
        (("adult",), (False,), False),
        (("degrees", None, "type"), ("MSc",), True),
        (("address",), ("Ghent",), False),
        (("unknown",), ("x",), False),
    ],
)
def test_values_match_with_their_type(
    path: tuple[str | int | None, ...], values: tuple[str | int | bool, ...], *, matches: bool
) -> None:
    assert claim_matches(ClaimsQuery(path, values), PERSON) is matches


def test_the_number_one_is_not_true() -> None:
    assert not claim_matches(ClaimsQuery(("n",), (True,)), {"n": 1})


def test_the_first_claim_set_that_can_be_met_is_chosen() -> None:
    query = QUERY.credentials[0]
    assert [claim.id for claim in selected_claims(query, PERSON)] == ["n", "d"]
    without_name = {name: value for name, value in PERSON.items() if name != "name"}
    assert [claim.id for claim in selected_claims(query, without_name)] == ["l"]
    with pytest.raises(WalletProtocolError) as refused:
        selected_claims(query, {})
    assert refused.value.code == "claims_not_satisfied"


def test_no_claims_ask_for_nothing() -> None:
    assert selected_claims(CredentialQuery("q", (VCT,)), {}) == ()


@pytest.mark.parametrize("presented", [{"person"}, {"card"}, {"person", "card"}])
def test_sets_that_are_satisfied(presented: set[str]) -> None:
    require_sets(QUERY, presented)


def test_sets_that_are_not_satisfied() -> None:
    for query in (QUERY, DcqlQuery(QUERY.credentials)):
        with pytest.raises(WalletProtocolError) as refused:
            require_sets(query, ())
        assert refused.value.code == "required_presentation_missing"
    with pytest.raises(WalletProtocolError):
        require_sets(DcqlQuery(QUERY.credentials), {"person"})
