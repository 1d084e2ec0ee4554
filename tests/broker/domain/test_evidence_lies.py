"""A broker that signs its lies: its keys are trusted, and still the bundle does not verify."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.domain.credential_types import CONSENT, CUSTOMER, RECEIPT
from broker.domain.entry import Entry
from broker.domain.evidence import verify_evidence
from credentials.jcs import canonical
from tests.broker.domain.dishonest_broker import (
    CREATED_AT,
    GRANTED_AT,
    ISSUER,
    OTHER_ISSUER,
    OTHER_KEY,
    PARTNER,
    PERMITTED_AT,
    TERMS,
    TRUST,
    UNSIGNED,
    WITHDRAWN_AT,
    Signed,
    bundle,
    certified,
    customer_credential,
    decision,
    said,
)

REQUESTED, GRANTED, PERMIT, WITHDRAWN, DENIED = range(5)


def _set(**changes: Any) -> Callable[[Any], None]:  # noqa: ANN401 (a lie)
    def lie(made: Any) -> None:  # noqa: ANN401
        for name, value in changes.items():
            if isinstance(made, dict):
                made[name] = value
            else:
                setattr(made, name, value)

    return lie


def _claims(**changes: Any) -> Callable[[dict[str, Any]], None]:  # noqa: ANN401
    return lambda made: made["claims"].update(changes)


def _without(*names: str) -> Callable[[dict[str, bytes]], None]:
    def lie(files: dict[str, bytes]) -> None:
        for name in [name for name in files if name.startswith(names)]:
            del files[name]

    return lie


def _drop(position: int) -> Callable[[list[Entry]], None]:
    def lie(told: list[Entry]) -> None:
        del told[position]

    return lie


def _insert(position: int, act: Entry) -> Callable[[list[Entry]], None]:
    return lambda told: told.insert(position, act)


def _both(*lies: Callable[[Any], None]) -> Callable[[Any], None]:
    def lie(made: Any) -> None:  # noqa: ANN401
        for one in lies:
            one(made)

    return lie


def _end_in_time(told: list[Entry]) -> None:
    told[:] = told[: PERMIT + 1]


def _found(data: bytes) -> str:
    report = verify_evidence(data, TRUST)
    if report.failure is None:
        return report.verdict
    return f"{report.failure.code}: {report.failure.found}"


@pytest.mark.parametrize("copy", ["officer", "customer", "partner"])
def test_the_truth_verifies(copy: str) -> None:
    assert _found(bundle(copy=copy)) == "verified"


def test_the_truth_verifies_where_the_wallet_displayed_nothing() -> None:
    told = bundle(
        grant=_set(displayed=False),
        withdrawal=_set(displayed=False),
        acts=said(WITHDRAWN, body={"signature_grade": "bound_not_displayed"}),
    )
    assert _found(told) == "verified"


def test_the_truth_verifies_where_another_key_withdrew() -> None:
    told = bundle(
        withdrawal=_set(credential=customer_credential(OTHER_KEY, copy="cc-2"), holder=OTHER_KEY),
        acts=said(WITHDRAWN, body={"grade": "bound_key"}),
    )
    assert _found(told) == "verified"


def test_the_truth_verifies_where_an_officer_withdrew() -> None:
    def unsigned(told: list[Entry]) -> None:
        body = {"partner": "p-1", "terms_hash": TERMS.hash(), "grade": "tenant_channel"}
        told[WITHDRAWN] = replace(told[WITHDRAWN], body={**body, "officer": "o-1"})

    assert _found(bundle(acts=unsigned, files=_without("withdrawal/"))) == "verified"


MINUTE = WITHDRAWN_AT - WITHDRAWN_AT % 60


def _held(*, signed: bool = False, **body: Any) -> Callable[[list[Entry]], None]:  # noqa: ANN401
    """A withdrawal of everything: by the minute, in the log behind a denial that saw it."""

    def tell(told: list[Entry]) -> None:
        known = {"partner": "p-1", "terms_hash": TERMS.hash(), "grade": "tenant_channel"}
        if signed:
            known = dict(told[WITHDRAWN].body)
        end = replace(told.pop(WITHDRAWN), time=MINUTE)
        told.append(replace(end, body={**known, "time_grain": 60, **body}))
        # A denial of a second after the act.
        told[-2] = replace(told[-2], time=WITHDRAWN_AT + 1)

    return tell


def test_the_truth_verifies_where_everything_was_withdrawn() -> None:
    assert _found(bundle(acts=_held(), files=_without("withdrawal/"))) == "verified"


HELD_LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a denial that knew it too early": (
        {"acts": _both(_held(), said(3, time=MINUTE - 61))},
        "story: a denial tells of consent.withdrawn before the log does",
    ),
    "a denial so much earlier in the log that no hold explains it": (
        {"acts": _both(_held(), said(3, time=MINUTE + 181))},
        "story: a denial tells of consent.withdrawn before the log does",
    ),
    "a denial before an end that was not held": (
        {"acts": _both(_held(time_grain=0), said(4, time=WITHDRAWN_AT))},
        "story: a denial tells of consent.withdrawn before the log does",
    ),
    "a permit behind it in the log": (
        {"acts": _both(_held(), lambda told: told.append(told.pop(PERMIT)))},
        "story: the log holds a permit after consent.withdrawn",
    ),
    "a permit of a later time": (
        {"acts": _both(_held(), said(PERMIT, time=MINUTE + 121))},
        "story: the log holds a permit after consent.withdrawn",
    ),
    "a time that is not of a minute": (
        {"acts": _both(_held(), said(4, time=MINUTE + 1))},
        "story: a withdrawal of everything tells its time by the minute",
    ),
    **{
        f"a grain of {grain!r}": (
            {"acts": _held(time_grain=grain)},
            "story: an act tells its time in a grain that is not known",
        )
        for grain in (30, 3600, -60, "60", [60], None, True, False)
    },
}


@pytest.mark.parametrize(("lies", "found"), HELD_LIES.values(), ids=HELD_LIES.keys())
def test_a_withdrawal_of_everything_opens_no_door_to_lies(lies: dict[str, Any], found: str) -> None:
    assert _found(bundle(files=_without("withdrawal/"), **lies)) == found


def test_a_held_withdrawal_that_was_signed_hashes_its_request_blinded() -> None:
    told = bundle(acts=_held(signed=True))
    assert _found(told) == (
        "story: the log tells of the withdrawal in another form than its evidence"
    )


def test_the_truth_verifies_before_any_end() -> None:
    told = bundle(acts=_end_in_time, files=_without("withdrawal/"), manifest=_set(state="granted"))
    assert _found(told) == "verified"


def test_an_unsigned_request_of_development_is_named() -> None:
    told = bundle(grant=_set(client_id=UNSIGNED))
    report = verify_evidence(told, TRUST)
    assert report.verdict == "verified"
    found = {check.code: check.found for check in report.checks}
    assert "in development answered without a signed one" in found["request_objects"]


LIES: Mapping[str, tuple[dict[str, Any], str]] = {
    # What the customer signed.
    "a full copy without the customer's signature": (
        {"files": _without("grant/")},
        "request_objects: what the customer signed to grant it is missing",
    ),
    "a full copy without the signed withdrawal": (
        {"files": _without("withdrawal/")},
        "story: what the customer signed to withdraw is missing",
    ),
    "a partner's copy with the customer's signature": (
        {"manifest": _set(copy="partner")},
        "request_objects: a partner's copy holds nothing",
    ),
    "nobody's copy": ({"manifest": _set(copy="")}, "manifest: the manifest does not say whose"),
    "the partner signs, with the key of its consent credential": (
        {
            "grant": _set(
                credential=customer_credential(PARTNER, vct=ISSUER + CONSENT.path), holder=PARTNER
            )
        },
        "signatures: the credential is not of an expected type",
    ),
    "a customer of another issuer": (
        {
            "grant": _set(
                credential=customer_credential(
                    issuer=OTHER_ISSUER, vct=OTHER_ISSUER + CUSTOMER.path
                )
            )
        },
        "signatures: the credential is not from the expected issuer",
    ),
    "a customer credential without a number": (
        {"grant": _set(credential=customer_credential(copy=""))},
        "signatures: jti must be a text",
    ),
    "other terms were signed": (
        {"grant": _set(terms=replace(TERMS, retention_days=1))},
        "signatures: grant: what was signed is not about these terms",
    ),
    "the signature of a grant as that of a withdrawal": (
        {"withdrawal": _set(terms=replace(TERMS, retention_days=1))},
        "signatures: withdrawal: what was signed is not about these terms",
    ),
    "a better grade of the signature": (
        {"grant": _set(displayed=False, details={"signature_grade": "signed_and_displayed"})},
        "request_objects: grant/details.json: the signature proves bound_not_displayed",
    ),
    "details of another consent": (
        {"grant": _set(details={"consent_id": "c-2"})},
        "request_objects: grant/details.json is about another act",
    ),
    "a detail that nobody checks": (
        {"grant": _set(details={"guardian": "agreed"})},
        "request_objects: grant/details.json holds what this version does not know: guardian",
    ),
    "accepted long after it was signed": (
        {"grant": _set(details={"accepted_at": GRANTED_AT + 400})},
        "signatures: KB-JWT was signed 405 s ago",
    ),
    "accepted at another time than the log says": (
        {"grant": _set(details={"accepted_at": GRANTED_AT + 200})},
        "story: the log tells of the grant at another time",
    ),
    "signed to another verifier": (
        {"grant": _set(client_id="x509_hash:AAAA")},
        "request_objects: grant: no request object of the address signed for was kept",
    ),
    "signed to another broker in development": (
        {"grant": _set(client_id=f"redirect_uri:{OTHER_ISSUER}/openid4vp/response/pr-1")},
        "request_objects: grant: no request object of the address signed for was kept",
    ),
    "asked for an answer elsewhere": (
        {"grant": _set(asked={"response_uri": f"{OTHER_ISSUER}/response"})},
        "request_objects: grant/request-object-01.jwt: it asked for an answer to another address",
    ),
    "asked with another nonce": (
        {"grant": _set(asked={"nonce": "n-1"})},
        "request_objects: grant/request-object-01.jwt: it asked with another nonce",
    ),
    "asked about something else": (
        {"grant": _set(asked={"transaction_data": ["e30"]})},
        "request_objects: grant/request-object-01.jwt: it did not show these terms",
    ),
    "asked in a form that is none": (
        {"grant": _set(asked={"transaction_data": 5})},
        "request_objects: transaction_data must be a list of texts",
    ),
    # What was issued.
    "a wider credential than the terms": (
        {"consent": _claims(attributes=["home_city", "medical_summary"])},
        "credentials: credential/consent.txt says something else than the terms: attributes",
    ),
    "a credential with a claim of its own": (
        {"consent": _claims(also_for="dpv:Marketing")},
        "credentials: credential/consent.txt says something else than the terms: also_for",
    ),
    "a credential that outlives the terms": (
        {"consent": _set(expires_at=TERMS.valid_until + 1)},
        "credentials: credential/consent.txt is valid for another time",
    ),
    "a credential that cannot be withdrawn": (
        {"consent": _set(status=None)},
        "credentials: credential/consent.txt is bound to no key, or cannot be withdrawn",
    ),
    "a credential that is bound to nobody": (
        {"consent": _set(holder_jwk=None)},
        "credentials: credential/consent.txt is bound to no key, or cannot be withdrawn",
    ),
    "a credential issued long before": (
        {"consent": _set(issued_at=GRANTED_AT - 3_600)},
        "story: the consent credential was issued at another time than the grant",
    ),
    "a receipt in the place of the consent credential": (
        {"consent": _set(vct=ISSUER + RECEIPT.path)},
        "credentials: the credential is not of an expected type",
    ),
    "a receipt with other terms": (
        {"receipt": _claims(terms={**TERMS.to_json(), "retention_days": 1})},
        "credentials: credential/receipt.txt says something else than the terms: terms",
    ),
    "a receipt that tells the key of a customer": (
        {"receipt": _set(holder_jwk=OTHER_KEY.public_jwk())},
        "credentials: credential/receipt.txt is bound to a key, which no receipt is",
    ),
    "a full copy without the receipt": (
        {"files": _without("credential/receipt.txt")},
        "credentials: credential/receipt.txt is missing",
    ),
    "credentials of another tenant's issuer": (
        {"consent": _set(issuer=OTHER_ISSUER, x5c=certified(OTHER_ISSUER)[1])},
        "credentials: the credential is not from the expected issuer",
    ),
    "a manifest for another issuer": (
        {"manifest": _set(issuer=OTHER_ISSUER)},
        "manifest: iss is not a name of its certificate",
    ),
    "terms that grant nothing": (
        {"terms": replace(TERMS, attributes=())},
        "terms: the terms grant no use of any attribute",
    ),
    "another notice than the one that was shown": (
        {"files": _set(**{"notice.json": canonical({"id": "loyalty"})})},
        "terms: notice.json is not the notice that the terms name",
    ),
    "a file that nobody checks": (
        {"files": _set(**{"grant/video-of-the-customer.txt": b"yes"})},
        "bundle: grant/video-of-the-customer.txt is not a file that this version knows",
    ),
    # What the log tells.
    "no log at all": ({"files": _without("log/0")}, "log: the bundle holds no log entry"),
    "an entry without its proof": (
        {"files": _without("log/000000000002.tlog-proof")},
        "log: log entries and proofs are not the same in number",
    ),
    "the withdrawal is left out, while denials tell of it": (
        {"files": _without("log/000000000003", "withdrawal/"), "manifest": _set(state="granted")},
        "story: a denial tells of consent.withdrawn, which the bundle leaves out",
    ),
    "the withdrawal is left out, the manifest says withdrawn": (
        {"acts": _end_in_time, "files": _without("withdrawal/")},
        "story: the log leads to granted, which is not what the manifest says",
    ),
    "the withdrawal's entry is left out, the signature is there": (
        {"acts": _drop(WITHDRAWN)},
        "story: there is a signed withdrawal that the log does not tell of",
    ),
    "no grant": ({"acts": _drop(GRANTED)}, "story: the log entries tell of no consent.granted"),
    "two grants": (
        {"acts": lambda told: told.append(replace(told[GRANTED], id="e-again"))},
        "story: the log entries tell of no consent.granted, or of more than one",
    ),
    "one entry twice": (
        {"acts": lambda told: told.append(told[DENIED])},
        "log: the log holds an entry twice",
    ),
    "no request": ({"acts": _drop(REQUESTED)}, "story: the log entries tell of no consent.reque"),
    "granted before it was requested": (
        {"acts": lambda told: told.insert(0, told.pop(GRANTED))},
        "story: the log tells the acts in an order that they cannot have had",
    ),
    "two ends": (
        {
            "acts": lambda told: told.append(
                replace(told[WITHDRAWN], id="e-x", type="consent.expired")
            )
        },
        "story: the log tells of more than one end",
    ),
    "an entry of another consent": (
        {"acts": said(PERMIT, consent_id="c-2")},
        "story: a log entry is about another consent",
    ),
    "an entry of another tenant": (
        {"acts": said(PERMIT, tenant_id="acme")},
        "story: a log entry is of another tenant",
    ),
    "an entry from after the bundle": (
        {"acts": said(DENIED, time=CREATED_AT + 3_600)},
        "story: a log entry is later than the bundle",
    ),
    "the grant to another partner": (
        {"acts": said(GRANTED, body={"partner": "p-2"})},
        "story: the log tells of a grant to another partner",
    ),
    "the grant of other terms": (
        {"acts": said(GRANTED, body={"terms_hash": "x"})},
        "story: the log tells of a grant of other terms",
    ),
    "another credential than in the log": (
        {"acts": said(GRANTED, body={"consent_credential": "x"})},
        "story: the log tells of another consent credential",
    ),
    "another receipt than in the log": (
        {"acts": said(GRANTED, body={"receipt": "x"})},
        "story: the log tells of another receipt",
    ),
    "another signature than in the log": (
        {"acts": said(GRANTED, body={"evidence": {}})},
        "story: the log tells of another signature of the grant",
    ),
    "another grade of the signature than in the log": (
        {"acts": said(GRANTED, body={"signature_grade": "bound_not_displayed"})},
        "story: the log tells of another grade of the grant's signature",
    ),
    "a person verified who was not": (
        {"grant": _set(details={"binding_grade": "verified_person"})},
        "story: the log tells of another grade of identity binding",
    ),
    "granted at another time": (
        {"manifest": _set(granted_at=GRANTED_AT + 3_600)},
        "story: the log tells of the grant at another time",
    ),
    "another key withdrew than the one named": (
        {
            "withdrawal": _set(
                credential=customer_credential(OTHER_KEY, copy="cc-2"), holder=OTHER_KEY
            )
        },
        "story: the withdrawal was signed by the bound_key, the log tells otherwise",
    ),
    "the copy's key was replaced": (
        {"withdrawal": _set(credential=customer_credential(OTHER_KEY), holder=OTHER_KEY)},
        "story: the withdrawal was signed by the bound_key, the log tells otherwise",
    ),
    "a signed withdrawal as one by an officer": (
        {"acts": said(WITHDRAWN, body={"grade": "tenant_channel"})},
        "story: the withdrawal's grade does not fit what was signed",
    ),
    "a withdrawal at another time": (
        {"acts": said(WITHDRAWN, time=WITHDRAWN_AT + 100)},
        "story: the log tells of the withdrawal at another time",
    ),
    "a withdrawal of other terms": (
        {"acts": said(WITHDRAWN, body={"terms_hash": "x"})},
        "story: the log tells of the withdrawal of another consent",
    ),
    # Decisions.
    "a permit after the withdrawal": (
        {"acts": _insert(DENIED, decision(WITHDRAWN_AT + 1, permit=True))},
        "story: the log holds a permit after consent.withdrawn",
    ),
    "a permit after the withdrawal in the same second": (
        {"acts": _insert(DENIED, decision(WITHDRAWN_AT, permit=True))},
        "story: the log holds a permit after consent.withdrawn",
    ),
    "a permit dated after the withdrawal, entered before it": (
        {"acts": said(PERMIT, time=WITHDRAWN_AT + 61)},
        "story: the log holds a permit after consent.withdrawn",
    ),
    "a permit before the grant": (
        {"acts": lambda told: told.insert(GRANTED, told.pop(PERMIT))},
        "story: the log holds a permit before the grant",
    ),
    "more permits than the terms allow": (
        {
            "acts": _both(
                _insert(WITHDRAWN, decision(PERMITTED_AT + 1, permit=True)),
                _insert(WITHDRAWN, decision(PERMITTED_AT + 2, permit=True)),
            )
        },
        "story: the log holds 3 permits, the terms allow 2",
    ),
    "a permit to another partner": (
        {"acts": said(PERMIT, body={"partner": "p-2"})},
        "story: a decision is about another partner",
    ),
    "a decision outside of the period": (
        {"manifest": _set(period={"since": PERMITTED_AT + 1, "until": CREATED_AT})},
        "story: a decision lies outside of the period",
    ),
    "no period": ({"manifest": _set(period=None)}, "story: the manifest names no period"),
    **{
        f"a permit of another {name}": (
            {"acts": said(PERMIT, body={name: value})},
            f"story: the log holds a permit of {name} outside of the terms",
        )
        for name, value in (
            ("attribute", "medical_summary"),
            ("purpose", "dpv:ServicePersonalisation#algo:churn-v3@2"),
            ("action", "train"),
            ("territory", "SG"),
            ("attribute", {}),
        )
    },
}


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_signed_lie_is_found(lie: str) -> None:
    lies, expected = LIES[lie]
    assert _found(bundle(**lies)).startswith(expected)


@pytest.mark.parametrize(
    ("lies", "expected"),
    [
        ({"acts": said(PERMIT, body={"attribute": "x"})}, "story: the log holds a permit of attr"),
        ({"consent": _claims(retention_days=9_999)}, "credentials: credential/consent.txt says"),
        ({"acts": said(GRANTED, body={"evidence": {}})}, "story: the log tells of another signat"),
        ({"acts": said(WITHDRAWN, body={"grade": "tenant_channel"})}, "story: the withdrawal's gr"),
    ],
)
def test_a_partners_copy_is_checked_as_far_as_it_goes(lies: dict[str, Any], expected: str) -> None:
    assert _found(bundle(copy="partner", **lies)).startswith(expected)


def test_what_a_partner_gets_names_neither_customer_nor_copy_nor_key() -> None:
    data = bundle(copy="partner")
    key = Signed("grant", GRANTED_AT).holder.public_jwk()["x"]
    for secret in ("s-1", "cc-1", key):
        assert secret.encode() not in data


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=4,
    ),
    st.sampled_from(["asked", "details", "permit", "granted", "withdrawn", "manifest", "consent"]),
    st.data(),
)
def test_any_value_anywhere_gives_a_report(value: object, place: str, data: st.DataObject) -> None:
    """Whoever forges a whole bundle chooses every value in it; without trust all of them count."""
    names = {
        "asked": ("nonce", "transaction_data", "response_uri"),
        "details": ("accepted_at", "signed_at", "client_id", "transaction_data", "bound_random"),
        "permit": ("decision", "conditions", "attribute", "territory", "partner"),
        "granted": ("evidence", "terms_hash", "receipt", "signature_grade"),
        "withdrawn": ("grade", "evidence", "terms_hash"),
        "manifest": ("period", "state", "granted_at", "created_at", "copy", "issuer", "files"),
        "consent": ("evidence", "signature_grade", "sub", "terms_hash"),
    }
    name = data.draw(st.sampled_from(names[place]))
    change = {name: value}
    lies: dict[str, Any] = {
        "asked": {"grant": _set(asked=change)},
        "details": {"grant": _set(details=change)},
        "permit": {"acts": said(PERMIT, body=change)},
        "granted": {"acts": said(GRANTED, body=change)},
        "withdrawn": {"acts": said(WITHDRAWN, body=change)},
        "manifest": {"manifest": _set(**change)},
        "consent": {"consent": _claims(**change)},
    }[place]
    for trust in (TRUST, None):
        report = verify_evidence(bundle(**lies), trust)
        assert report.verdict in {"failed", "verified", "consistent_origin_not_established"}
