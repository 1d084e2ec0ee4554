"""Every operation of the broker, and the calls by which another tenant tries it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from credentials.keys import SoftwareKey
from tests.broker.flow_world import PURPOSE
from tests.broker.proving import ADULT
from tests.broker.training import BEGAN, model
from tests.faults.two_tenants import (
    ASSERTION,
    ATTESTED,
    IDEMPOTENCY_KEY,
    OTHER_URL,
    OWN_POLICY,
    PRE_AUTHORIZED,
    WALLET,
    Call,
    Known,
    Person,
    Stage,
    pushed_request,
)
from tests.wallet_adapters.forging import jws
from wallet_adapters.envelope import MEDIA_TYPE, new_sealing_key
from wallet_adapters.vault_reference import VaultReference, sign_vault_reference

HIDDEN = frozenset({401, 403, 404})
KEY = {"Idempotency-Key": IDEMPOTENCY_KEY}
BOTH = ("partner", "officer")
RECEIPT_KEY = SoftwareKey.generate("ES256").public_jwk()


@dataclass(frozen=True)
class Door:
    """How an operation is tried: the calls, what another tenant may hear, who may do it at home.

    `own` is what a caller finds at their own tenant's address where they name nothing of others;
    `at_home` are the roles whose same call succeeds for the owner, None where the call is a
    forgery, which nobody may make.
    """

    calls: Callable[[Stage, Known, Person], list[Call]]
    hears: frozenset[int] = HIDDEN
    own: bool = False
    at_home: tuple[str, ...] | None = BOTH


def get(path: str) -> Callable[[Stage, Known, Person], list[Call]]:
    return lambda _stage, known, _person: [Call("GET", path.format(**vars(known)))]


def post(path: str, body: Callable[[Known], Any]) -> Callable[[Stage, Known, Person], list[Call]]:
    """Under the key that the victim's partner has used; at home under a fresh one."""

    def calls(stage: Stage, known: Known, person: Person) -> list[Call]:
        headers = KEY if person in stage.others.values() else {"Idempotency-Key": f"{path} at home"}
        return [Call("POST", path.format(**vars(known)), json=body(known), headers=headers)]

    return calls


def evaluation(known: Known, **named: str) -> dict[str, Any]:
    return {
        "subject": {"type": "partner", "id": known.partner},
        "action": {"name": "read"},
        "resource": {
            "type": "attribute",
            "id": "purchase_count_12m",
            "properties": named or {"consent": known.consent},
        },
        "context": {"purpose": PURPOSE, "territory": "CN"},
    }


def evaluations(stage: Stage, known: Known, person: Person) -> list[Call]:
    """As the victim's partner, as oneself about the victim's consent and contact."""
    asked = [evaluation(known)]
    if person in stage.others.values():
        for named in ({"consent": known.consent}, {"subject_ref": known.subject_ref}):
            mine = evaluation(known, **named)
            mine["subject"] = {"type": "partner", "id": person.client_id}
            asked.append(mine)
    return [Call("POST", "/access/v1/evaluation", json=one) for one in asked]


def batches(stage: Stage, known: Known, person: Person) -> list[Call]:
    asked = [call.json for call in evaluations(stage, known, person)]
    return [Call("POST", "/access/v1/evaluations", json={"evaluations": asked})]


def searches(kind: str) -> Callable[[Stage, Known, Person], list[Call]]:
    """What an evaluation asks, with one part looked for."""

    def calls(stage: Stage, known: Known, person: Person) -> list[Call]:
        asked = [call.json for call in evaluations(stage, known, person)]
        return [Call("POST", f"/access/v1/search/{kind}", json=one) for one in asked]

    return calls


def invitations(stage: Stage, known: Known, person: Person) -> list[Call]:
    """For the victim's partner, under the key that the victim's partner has used."""
    body = {"subject_ref": known.subject_ref, "grade": "link", "partner": known.partner}
    if person in stage.others.values():
        return [Call("POST", "/v1/invitations", json=body, headers=KEY)]
    body["subject_ref"] = f"crm-{person.role}"
    headers = {"Idempotency-Key": f"of the {person.role}"}
    return [Call("POST", "/v1/invitations", json=body, headers=headers)]


def templates(stage: Stage, known: Known, _person: Person) -> list[Call]:
    """The victim's own template: its purposes are not registered at the other tenant."""
    stored = stage.send(
        Call("GET", f"/v1/templates/{stage.known.template}"), stage.own["officer"], base=""
    )
    document = copy.deepcopy(stored.json()["document"])
    document["id"] = known.template
    return [Call("POST", "/v1/templates", json=document, headers=KEY)]


def tokens(stage: Stage, known: Known, person: Person) -> list[Call]:
    """In the victim's name, in one's own at the victim's address, by the victim's offer."""
    now = stage.world.time[0]
    assertions = [
        person.assertion(now, audience=known.issuer, client_id=known.partner),
        person.assertion(now, audience=OTHER_URL, client_id=known.partner),
        person.assertion(now, audience="http://127.0.0.1:8000"),
    ]
    forms = [
        {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION,
            "client_assertion": assertion,
        }
        for assertion in assertions
    ]
    return [Call("POST", "/oauth/token", form=form) for form in forms]


def revoking(stage: Stage, known: Known, person: Person) -> list[Call]:
    """The victim's token, by one's own assertion, by one in the victim's name, and by itself."""
    now, token = stage.world.time[0], stage.own["partner"].token
    form = {"token": token if known is stage.known else "z" * 43}
    assertions = [
        person.assertion(now, audience=OTHER_URL),
        person.assertion(now, audience=OTHER_URL, client_id=known.partner),
    ]
    named = [{"client_assertion_type": ASSERTION, "client_assertion": one} for one in assertions]
    return [Call("POST", "/oauth/revoke", form=form | one) for one in [*named, {}]]


def redeeming(stage: Stage, known: Known, person: Person) -> list[Call]:
    """The codes of the victim's offers; at home the one that needs no transaction code."""
    codes = [known.code]
    if person in stage.others.values():
        codes.append(known.attribute_code)
    forms = [{"grant_type": PRE_AUTHORIZED, "pre-authorized_code": code} for code in codes]
    return [Call("POST", "/oauth/token", form=form) for form in forms]


def pushing(_stage: Stage, known: Known, _person: Person) -> list[Call]:
    return [Call("POST", "/oauth/par", form=pushed_request(known.issuer_state))]


def key_proofs(stage: Stage, known: Known, person: Person) -> list[Call]:
    """A proof over the victim's nonce, for one's own issuer and for the victim's."""
    header = {"typ": "openid4vci-proof+jwt", "jwk": person.key.public_jwk()}
    proofs = [
        jws(person.key, header, {"aud": issuer, "iat": stage.world.time[0], "nonce": known.nonce})
        for issuer in (OTHER_URL, known.issuer)
    ]
    return [
        Call(
            "POST",
            "/openid4vci/credential",
            json={
                "credential_configuration_id": "customer_credential",
                "proofs": {"jwt": [proof]},
            },
        )
        for proof in proofs
    ]


def form_to(path: str, **fields: str) -> Callable[[Stage, Known, Person], list[Call]]:
    def calls(_stage: Stage, known: Known, _person: Person) -> list[Call]:
        stated = {name: value.format(**vars(known)) for name, value in fields.items()}
        return [Call("POST", path.format(**vars(known)), form=stated)]

    return calls


def mapping(_stage: Stage, known: Known, _person: Person) -> list[Call]:
    path = f"/v1/partners/{known.partner}/attribute-mapping"
    return [Call("PUT", path, json={"fields": {"theirs": "home_city"}})]


def access_requests(stage: Stage, known: Known, person: Person) -> list[Call]:
    """By a denial that somebody else may have had."""
    denial = {
        "evaluation_id": known.entry,
        "expires_at": "2099-01-01T00:00:00Z",
        "template": f"{known.template}/base",
        "binding_token": "x" * 43,
    }
    asked = [call.json for call in evaluations(stage, known, person)]
    return [
        Call("POST", "/access/v1/requests", json={**one, "denial": denial}, headers=KEY)
        for one in asked
    ]


def minors(_stage: Stage, known: Known, _person: Person) -> list[Call]:
    """By the victim's references: to somebody else they are their own, and of nobody."""
    guardian = {"subject_ref": "their-guardian", "relation": "parent"}
    body = {"subject_ref": f"{known.subject_ref}-x", "age_band": "under_14", "guardian": guardian}
    return [Call("PUT", "/v1/minors", json=body)]


def unmarking(_stage: Stage, known: Known, _person: Person) -> list[Call]:
    return [Call("DELETE", f"/v1/minors/{known.minor}")]


def stopping(_stage: Stage, known: Known, _person: Person) -> list[Call]:
    """Off as it is: at home it must not spoil what other doors need."""
    return [Call("PUT", f"/v1/kill-switches/partner/{known.partner}", json={"on": False})]


def asking(known: Known) -> dict[str, str]:
    return {"subject_ref": known.subject_ref, "template": known.template, "language": "zh"}


def proving(known: Known) -> dict[str, Any]:
    """For the victim's template, contact and issuer."""
    issuer = {"issuer": "https://registry.example", "key": known.proof_key}
    return {
        "template": known.template,
        "subject_ref": known.subject_ref,
        "credentials": {"id": {"schema": "person/1", "issuers": [issuer]}},
        "statements": [ADULT],
    }


def data_asking(known: Known) -> dict[str, Any]:
    """Under the victim's consent, out of its kind of credential."""
    return {
        "consent": known.consent,
        "schema": known.attribute_type,
        "attributes": ["purchase_count_12m"],
        "purpose": PURPOSE,
    }


def kinds(_stage: Stage, _known: Known, person: Person) -> list[Call]:
    """One's own, under a key of its own: where it succeeds the common one would be used up."""
    headers = {"Idempotency-Key": f"kinds of the {person.role}"}
    body = ATTESTED | {"id": "mine/1"}
    return [Call("POST", "/v1/attribute-types", json=body, headers=headers)]


def allowing(_stage: Stage, known: Known, _person: Person) -> list[Call]:
    """As it is: at home it must not spoil what other doors need."""
    path = f"/v1/consents/{known.consent}/automated-decisions"
    return [Call("PUT", path, json={"refused": False})]


def switching(_stage: Stage, _known: Known, _person: Person) -> list[Call]:
    """To what is in force: at home it must not spoil what other doors need."""
    return [Call("PUT", "/v1/policy-sets/in-force", json={"number": 0, "expected": 0})]


def policies(_stage: Stage, known: Known, person: Person) -> list[Call]:
    """One's own, under a key of its own: where it succeeds the common one would be used up."""
    headers = {"Idempotency-Key": f"policies of the {person.role}"}
    body = {"text": OWN_POLICY.replace("secret-rule", "my-rule")}
    return [Call("POST", "/v1/policy-sets", json=body, headers=headers)]


def sealing(_stage: Stage, _known: Known, person: Person) -> list[Call]:
    """One's own key, under a key of its own."""
    public = {name: value for name, value in new_sealing_key().items() if name != "d"}
    headers = {"Idempotency-Key": f"sealing key of the {person.role}"}
    return [Call("PUT", "/v1/sealing-key", json=public, headers=headers)]


def putting(stage: Stage, known: Known, person: Person) -> list[Call]:
    """Signed by a key that is nobody's wallet's here, at either address."""
    return [
        Call(
            "PUT",
            f"/v1/envelopes/{known.consent}/purchase_count_12m",
            content=b"a.b.c.d.e",
            headers={
                "Content-Type": MEDIA_TYPE,
                "Vault-Reference": sign_vault_reference(
                    person.key,
                    VaultReference(
                        audience=audience,
                        signed_at=stage.world.time[0],
                        consent_id=known.consent,
                        attribute="purchase_count_12m",
                        masking="none",
                        vault="local",
                        kid="k" * 43,
                        digest="d" * 43,
                        size=9,
                    ),
                ),
            },
        )
        for audience in (OTHER_URL, known.issuer)
    ]


def rounds(path: str, body: Callable[[Known], Any]) -> Callable[[Stage, Known, Person], list[Call]]:
    """Of the victim's campaign."""

    def calls(_stage: Stage, known: Known, _person: Person) -> list[Call]:
        below = f"/v1/federation/campaigns/{known.campaign}/rounds{path}"
        return [Call("POST", below, json=body(known))]

    return calls


def pausing(_stage: Stage, known: Known, _person: Person) -> list[Call]:
    """The victim's campaign."""
    body = {"reason": "no_round_accepted"}
    return [Call("POST", f"/v1/federation/campaigns/{known.campaign}/pause", json=body)]


def training_receipt(known: Known) -> dict[str, str]:
    """The victim's own once more."""
    return {
        "member": known.partner,
        "receipt": known.training_receipt,
        "leaves": known.training_leaves,
    }


def supplying(known: Known) -> dict[str, Any]:
    """To the victim's partner."""
    listed = {
        "purposes": ["dpv:ServicePersonalisation"],
        "attributes": ["purchase_count_12m"],
        "retention_days": 30,
        "recipients": [known.partner],
        "territories": ["CN"],
        "basis": "contract",
        "reference": "of-the-other",
    }
    return {"title": "Supplier", "checklist": listed}


def revising(_stage: Stage, known: Known, _person: Person) -> list[Call]:
    return [Call("PUT", f"/v1/data-sources/{known.data_source}", json=supplying(known))]


def signing_off(_stage: Stage, known: Known, _person: Person) -> list[Call]:
    body = {"quality": 90, "value": 1, "report": "of-the-other"}
    return [Call("PUT", f"/v1/sandbox/{known.trial}/sign-off", json=body)]


def marking(_stage: Stage, known: Known, _person: Person) -> list[Call]:
    """As it is: at home it must not spoil what other doors need."""
    body = {"partner": known.partner, "subject_ref": known.subject_ref, "on": False}
    return [Call("PUT", "/v1/test-subjects", json=body)]


def declaring(_stage: Stage, _known: Known, _person: Person) -> list[Call]:
    body = {"on": "partner", "type": "bool"}
    return [Call("PUT", "/v1/own-attributes/mine", json=body)]


def setting(_stage: Stage, known: Known, _person: Person) -> list[Call]:
    """Nothing: at home it changes nothing either."""
    path = f"/v1/own-attributes/of/partner/{known.partner}"
    return [Call("PUT", path, json={"values": {}})]


PUBLIC = frozenset({200})
PARTNER = ("partner",)
OFFICER = ("officer",)
COORDINATOR = ("coordinator",)
READERS = ("coordinator", "officer")

DOORS: dict[str, Door] = {
    "POST /oauth/token": Door(tokens, frozenset({400, 401}), at_home=None),
    # A token that is unknown here is no error: the victim's is good as before.
    "POST /oauth/revoke": Door(revoking, frozenset({200, 400, 401}), at_home=None),
    "POST /oauth/par": Door(pushing, frozenset({400, 401}), at_home=PARTNER),
    "GET /oauth/authorize": Door(
        get(f"/oauth/authorize?client_id={WALLET}&request_uri={{request_uri}}"),
        HIDDEN | {400, 422},
        at_home=PARTNER,
    ),
    "POST /oauth/authorize": Door(
        form_to(
            "/oauth/authorize",
            client_id=WALLET,
            request_uri="{request_uri}",
            form_token="",
            agree="1",
        ),
        HIDDEN | {400, 422},
        at_home=None,
    ),
    "POST /v1/invitations": Door(invitations),
    "POST /v1/invitations/{invitation_id}/approval": Door(
        post("/v1/invitations/{invitation}/approval", lambda _known: {"approve": True}),
        at_home=None,  # this one waits for no approval
    ),
    "POST /v1/consent-requests": Door(post("/v1/consent-requests", asking), at_home=PARTNER),
    "GET /v1/consent-requests/{request_id}": Door(get("/v1/consent-requests/{request}")),
    "GET /v1/consents/{consent_id}": Door(get("/v1/consents/{consent}")),
    "GET /v1/consents/{consent_id}/credential": Door(get("/v1/consents/{consent}/credential")),
    "GET /v1/consents/{consent_id}/receipt": Door(
        get("/v1/consents/{consent}/receipt"), at_home=OFFICER
    ),
    "GET /v1/consents/{consent_id}/evidence": Door(get("/v1/consents/{consent}/evidence")),
    "PUT /v1/consents/{consent_id}/automated-decisions": Door(allowing, at_home=OFFICER),
    "POST /v1/consents/{consent_id}/withdrawal": Door(
        post("/v1/consents/{second_consent}/withdrawal", lambda _known: {})
    ),
    "POST /v1/subject-exports": Door(
        post(
            "/v1/subject-exports",
            lambda known: {"partner": known.partner, "subject_ref": known.subject_ref},
        ),
        at_home=OFFICER,
    ),
    # At home the last of all: nothing is left to steal afterwards.
    "POST /v1/subject-erasures": Door(
        post("/v1/subject-erasures", lambda known: {"consent": known.consent}), at_home=None
    ),
    "GET /v1/subject-erasures": Door(
        get("/v1/subject-erasures"), PUBLIC | HIDDEN, own=True, at_home=OFFICER
    ),
    "GET /v1/deletion-tasks": Door(
        get("/v1/deletion-tasks?consent={second_consent}"), PUBLIC | HIDDEN, own=True
    ),
    "POST /v1/deletion-tasks/{task_id}/receipt": Door(
        post("/v1/deletion-tasks/{task}/receipt", lambda _known: {"receipt": "x.y.z"}),
        at_home=None,  # it takes a signature
    ),
    "GET /v1/deletion-tasks/{task_id}/receipt": Door(
        get("/v1/deletion-tasks/{task}/receipt"),
        at_home=None,  # there is none yet
    ),
    "GET /v1/consents/{consent_id}/record": Door(get("/v1/consents/{consent}/record")),
    "GET /schemas/consent-record/1.json": Door(
        get("/schemas/consent-record/1.json"), PUBLIC, own=True
    ),
    "GET /schemas/consent-record/1.jsonld": Door(
        get("/schemas/consent-record/1.jsonld"), PUBLIC, own=True
    ),
    "GET /v1/consents/{consent_id}/lineage": Door(
        get("/v1/consents/{consent}/lineage"), at_home=OFFICER
    ),
    "GET /v1/uses/{entry_id}/lineage": Door(get("/v1/uses/{use}/lineage"), at_home=OFFICER),
    "GET /schemas/openlineage-decisions-facet/1.json": Door(
        get("/schemas/openlineage-decisions-facet/1.json"), PUBLIC, own=True
    ),
    "GET /v1/agents": Door(get("/v1/agents"), PUBLIC | HIDDEN, own=True),
    "GET /v1/agent-actions": Door(get("/v1/agent-actions"), PUBLIC | HIDDEN, own=True),
    "GET /v1/agent-actions/{action_id}": Door(get("/v1/agent-actions/{agent_action}")),
    "POST /v1/agent-actions": Door(
        post("/v1/agent-actions", lambda known: {"action": f"x.{known.agent_action}.z"}),
        HIDDEN | {400, 409},
        own=True,
        at_home=None,  # it takes a signature
    ),
    "PUT /v1/minors": Door(minors, PUBLIC | HIDDEN, own=True, at_home=PARTNER),
    "GET /v1/minors/{contact_id}": Door(get("/v1/minors/{minor}")),
    "DELETE /v1/minors/{contact_id}": Door(unmarking, at_home=PARTNER),
    # At home it takes a denial of one's own: tests/broker/test_access_requests.py.
    "POST /access/v1/requests": Door(access_requests, HIDDEN | {400, 409}, at_home=None),
    "GET /access/v1/requests/{task_id}": Door(
        get("/access/v1/requests/{consent}"), at_home=PARTNER
    ),
    "GET /v1/webhooks": Door(get("/v1/webhooks"), PUBLIC | HIDDEN, own=True),
    "POST /v1/webhooks": Door(
        post(
            "/v1/webhooks",
            lambda known: {"url": "http://crm.example/", "partner": known.partner},
        ),
    ),
    "POST /v1/webhooks/{webhook_id}/secret": Door(
        post("/v1/webhooks/{webhook}/secret", lambda _known: None)
    ),
    "GET /v1/webhooks/{webhook_id}/dead-letters": Door(get("/v1/webhooks/{webhook}/dead-letters")),
    "POST /v1/webhooks/{webhook_id}/replay": Door(
        post("/v1/webhooks/{webhook}/replay", lambda _known: {"since": 0})
    ),
    # After its other doors: it is gone then.
    "DELETE /v1/webhooks/{webhook_id}": Door(
        lambda _stage, known, _person: [Call("DELETE", f"/v1/webhooks/{known.webhook}")],
        at_home=PARTNER,
    ),
    "POST /v1/events/{source}": Door(
        post("/v1/events/{event_source}", lambda _known: {}),
        at_home=None,  # it takes the signature of a source
    ),
    "GET /v1/events": Door(get("/v1/events"), PUBLIC | HIDDEN, own=True, at_home=OFFICER),
    # Everybody's numbers are in one row; those of another tenant are nobody's here.
    "POST /v1/events-acknowledged": Door(
        post("/v1/events-acknowledged", lambda _known: {"numbers": [1, 2, 3]}),
        PUBLIC | HIDDEN,
        own=True,
        at_home=OFFICER,
    ),
    "GET /v1/fees/tariff": Door(get("/v1/fees/tariff"), PUBLIC | HIDDEN, own=True),
    "GET /v1/fees/statement": Door(
        get("/v1/fees/statement?month=2026-11"), PUBLIC | HIDDEN, own=True
    ),
    "GET /v1/fees/reconciliation": Door(
        get("/v1/fees/reconciliation?month=2026-11"), PUBLIC | HIDDEN, own=True, at_home=OFFICER
    ),
    "PUT /v1/sealing-key": Door(sealing, PUBLIC | HIDDEN, own=True, at_home=PARTNER),
    # For wallets: whoever knows a partner's id may seal to it, at the tenant that it works for.
    "GET /v1/vaults/{partner_id}": Door(get("/v1/vaults/{partner}")),
    "PUT /v1/envelopes/{consent_id}/{attribute}": Door(
        putting,
        HIDDEN | {400},
        at_home=None,  # it takes a wallet's signature
    ),
    "GET /v1/envelopes": Door(get("/v1/envelopes?consent={consent}"), at_home=OFFICER),
    "GET /v1/data/{consent_id}/{attribute}": Door(
        get(f"/v1/data/{{consent}}/purchase_count_12m?purpose={quote(PURPOSE, safe='')}"),
        at_home=PARTNER,
    ),
    "POST /v1/data-requests": Door(post("/v1/data-requests", data_asking), at_home=PARTNER),
    "GET /v1/data-requests/{request_id}": Door(
        get("/v1/data-requests/{data_request}"), at_home=PARTNER
    ),
    "POST /v1/data-requests/{request_id}/data/{attribute}": Door(
        post("/v1/data-requests/{data_request}/data/purchase_count_12m", lambda _known: {}),
        at_home=None,  # it takes a wallet's answer
    ),
    "POST /v1/proof-requests": Door(post("/v1/proof-requests", proving), at_home=PARTNER),
    "GET /v1/proof-requests/{request_id}": Door(get("/v1/proof-requests/{proof}")),
    "GET /v1/proof-questions": Door(get("/v1/proof-questions"), PUBLIC | HIDDEN, own=True),
    "POST /v1/proofs/verify": Door(
        post(
            "/v1/proofs/verify", lambda known: {"request": known.proof, "presentation": {"x": "y"}}
        ),
        at_home=None,  # it takes a proof
    ),
    "GET /v1/attribute-types": Door(get("/v1/attribute-types"), PUBLIC | HIDDEN, own=True),
    # Everybody names kinds of their own: the same id at two tenants is two kinds.
    "POST /v1/attribute-types": Door(
        kinds,
        HIDDEN | {201, 409},
        own=True,
        at_home=OFFICER,
    ),
    "POST /v1/attribute-offers": Door(
        post(
            "/v1/attribute-offers",
            lambda known: {"type": known.attribute_type, "claims": {"points": 1}},
        )
    ),
    "POST /v1/attribute-offers/{offer_id}/revocation": Door(
        post("/v1/attribute-offers/{attribute_offer}/revocation", lambda _known: {}),
        at_home=None,  # nobody has taken it yet
    ),
    # Open to everybody, as status lists are; a shard of another tenant's key is not found.
    "GET /attribute-status": Door(get("/attribute-status"), PUBLIC, own=True),
    "GET /attribute-status/{epoch}/{key_id}/{bits}/{shard}": Door(
        get("/attribute-status/{attribute_shard}")
    ),
    "GET /schemas/proof-request/1.json": Door(
        get("/schemas/proof-request/1.json"), PUBLIC, own=True
    ),
    # A denial is an answer: what it says is compared with the one about nothing at all.
    "POST /access/v1/evaluation": Door(evaluations, HIDDEN | {200}, at_home=PARTNER),
    "POST /access/v1/evaluations": Door(batches, HIDDEN | {200}, at_home=PARTNER),
    **{
        f"POST /access/v1/search/{kind}": Door(searches(kind), HIDDEN | {200}, at_home=PARTNER)
        for kind in ("subject", "resource", "action")
    },
    # Behind the decisions: at home it ends the consent that they are about.
    "POST /v1/withdrawals": Door(
        post("/v1/withdrawals", lambda known: {"customers": [{"consent": known.second_consent}]}),
        at_home=OFFICER,
    ),
    "GET /v1/purposes": Door(get("/v1/purposes"), PUBLIC | HIDDEN, own=True),
    "GET /v1/algorithms": Door(get("/v1/algorithms"), PUBLIC | HIDDEN, own=True),
    "GET /v1/attributes": Door(get("/v1/attributes"), PUBLIC | HIDDEN, own=True),
    "GET /v1/templates": Door(get("/v1/templates"), PUBLIC | HIDDEN, own=True),
    "POST /v1/templates": Door(templates, HIDDEN | {400}, at_home=OFFICER),
    "GET /v1/templates/{template_id}": Door(get("/v1/templates/{template}")),
    "GET /v1/partners/{partner_id}/attribute-mapping": Door(
        get("/v1/partners/{partner}/attribute-mapping")
    ),
    "PUT /v1/partners/{partner_id}/attribute-mapping": Door(mapping),
    "GET /v1/kill-switches": Door(
        get("/v1/kill-switches"), PUBLIC | HIDDEN, own=True, at_home=OFFICER
    ),
    "PUT /v1/kill-switches/{kind}/{switch_id}": Door(stopping, at_home=OFFICER),
    "GET /v1/transfer-mechanisms": Door(
        get("/v1/transfer-mechanisms"), PUBLIC | HIDDEN, own=True, at_home=OFFICER
    ),
    "POST /v1/transfer-mechanisms": Door(
        post(
            "/v1/transfer-mechanisms",
            lambda known: {
                "partner": known.partner,
                "destination": "SG",
                "kind": "certification",
                "filing_number": "1",
            },
        ),
        at_home=OFFICER,
    ),
    "DELETE /v1/transfer-mechanisms/{mechanism_id}": Door(
        lambda _stage, known, _person: [
            Call("DELETE", f"/v1/transfer-mechanisms/{known.mechanism}")
        ],
        at_home=OFFICER,
    ),
    "GET /v1/own-attributes": Door(
        get("/v1/own-attributes"), PUBLIC | HIDDEN, own=True, at_home=OFFICER
    ),
    # One's own of the same name: nobody's else is touched.
    "PUT /v1/own-attributes/{name}": Door(declaring, PUBLIC | HIDDEN, own=True, at_home=OFFICER),
    "PUT /v1/own-attributes/of/{kind}/{of}": Door(setting, at_home=OFFICER),
    # After its other doors: it is declared no more then.
    "DELETE /v1/own-attributes/{name}": Door(
        lambda _stage, known, _person: [
            Call("DELETE", f"/v1/own-attributes/{known.own_attribute}")
        ],
        at_home=OFFICER,
    ),
    "GET /v1/data-sources": Door(
        get("/v1/data-sources"), PUBLIC | HIDDEN, own=True, at_home=OFFICER
    ),
    "POST /v1/data-sources": Door(
        post("/v1/data-sources", lambda known: {"name": "mine", **supplying(known)}),
        at_home=OFFICER,
    ),
    "PUT /v1/data-sources/{name}": Door(revising, at_home=OFFICER),
    # After its other doors: it is closed then.
    "DELETE /v1/data-sources/{name}": Door(
        lambda _stage, known, _person: [Call("DELETE", f"/v1/data-sources/{known.data_source}")],
        at_home=OFFICER,
    ),
    "GET /v1/sandbox": Door(get("/v1/sandbox"), PUBLIC | HIDDEN, own=True, at_home=OFFICER),
    "POST /v1/sandbox": Door(
        post("/v1/sandbox", lambda known: {"kind": "source", "name": known.data_source}),
        at_home=None,  # another is in it
    ),
    "PUT /v1/sandbox/{trial_id}/sign-off": Door(
        signing_off,
        at_home=None,  # nothing was used in it
    ),
    "DELETE /v1/sandbox/{trial_id}": Door(
        lambda _stage, known, _person: [Call("DELETE", f"/v1/sandbox/{known.trial}")],
        at_home=OFFICER,
    ),
    "PUT /v1/test-subjects": Door(marking, at_home=OFFICER),
    "GET /v1/transfers/count": Door(
        get("/v1/transfers/count"), PUBLIC | HIDDEN, own=True, at_home=OFFICER
    ),
    "GET /v1/transfers/export": Door(
        get("/v1/transfers/export"), PUBLIC | HIDDEN, own=True, at_home=OFFICER
    ),
    "GET /v1/federation/campaigns": Door(
        get("/v1/federation/campaigns"), PUBLIC | HIDDEN, own=True, at_home=READERS
    ),
    "GET /v1/federation/campaigns/{campaign_id}": Door(
        get("/v1/federation/campaigns/{campaign}"), at_home=READERS
    ),
    "POST /v1/federation/campaigns/{campaign_id}/rounds": Door(
        rounds("", lambda _known: {"stage": "consortium", "number": 1, "model_in": BEGAN}),
        at_home=COORDINATOR,
    ),
    "GET /v1/federation/campaigns/{campaign_id}/rounds/{stage}/{number}/key": Door(
        get("/v1/federation/campaigns/{campaign}/rounds/consortium/1/key"), at_home=PARTNER
    ),
    "POST /v1/federation/campaigns/{campaign_id}/rounds/{stage}/{number}/receipts": Door(
        rounds("/consortium/1/receipts", training_receipt), at_home=COORDINATOR
    ),
    "POST /v1/federation/campaigns/{campaign_id}/rounds/{stage}/{number}/receipts/batch": Door(
        rounds(
            "/consortium/1/receipts/batch",
            lambda known: {"receipts": [training_receipt(known)]},
        ),
        at_home=COORDINATOR,
    ),
    # After its other doors: the round is closed then.
    "POST /v1/federation/campaigns/{campaign_id}/rounds/{stage}/{number}/close": Door(
        rounds("/consortium/1/close", lambda _known: {"model_out": model(1)}), at_home=COORDINATOR
    ),
    "POST /v1/federation/campaigns/{campaign_id}/rounds/{stage}/{number}/fail": Door(
        rounds("/consortium/1/fail", lambda _known: {"code": "lost"}),
        at_home=None,  # it is closed
    ),
    # After its rounds' doors: it opens none then.
    "POST /v1/federation/campaigns/{campaign_id}/pause": Door(pausing, at_home=COORDINATOR),
    "POST /v1/federation/evidence": Door(
        post("/v1/federation/evidence", lambda known: {"consent": known.consent}), at_home=OFFICER
    ),
    "GET /v1/federation/tasks": Door(
        get("/v1/federation/tasks"), PUBLIC | HIDDEN, own=True, at_home=READERS
    ),
    "POST /v1/federation/tasks/{task_id}/close": Door(
        post("/v1/federation/tasks/{unlearning_task}/close", lambda _known: {}), at_home=READERS
    ),
    "GET /v1/federation/models": Door(
        get("/v1/federation/models"), PUBLIC | HIDDEN, own=True, at_home=READERS
    ),
    "POST /v1/federation/join-requests": Door(
        post("/v1/federation/join-requests", lambda _known: {"receipt_key": RECEIPT_KEY}),
        HIDDEN | {201},
        own=True,
        at_home=PARTNER,
    ),
    # After its other doors: it takes part in nothing then.
    "POST /v1/federation/members/{member}/revocation": Door(
        post("/v1/federation/members/{partner}/revocation", lambda _known: {}), at_home=OFFICER
    ),
    "GET /v1/policy-sets": Door(get("/v1/policy-sets"), PUBLIC | HIDDEN, own=True, at_home=OFFICER),
    # Each tenant counts its own sets: the same number at two tenants is two sets.
    "GET /v1/policy-sets/{number}": Door(
        get("/v1/policy-sets/1"), PUBLIC | HIDDEN, own=True, at_home=OFFICER
    ),
    "POST /v1/policy-sets": Door(policies, HIDDEN | {201, 409}, own=True, at_home=OFFICER),
    "PUT /v1/policy-sets/in-force": Door(switching, PUBLIC | HIDDEN, own=True, at_home=OFFICER),
    "POST /v1/policy-sets/preview": Door(
        post("/v1/policy-sets/preview", lambda _known: {"text": "", "last": 10}),
        PUBLIC | HIDDEN,
        own=True,
        at_home=OFFICER,
    ),
    "GET /schemas/policies.cedarschema": Door(
        get("/schemas/policies.cedarschema"), PUBLIC, own=True
    ),
    "GET /v1/log/proof": Door(get("/v1/log/proof?entry={entry}"), at_home=OFFICER),
    # For wallets: who knows the address may ask, at the tenant whose address it is.
    "GET /openid4vci/offer/{invitation_id}": Door(get("/openid4vci/offer/{invitation}")),
    "POST /openid4vci/nonce": Door(form_to("/openid4vci/nonce"), PUBLIC, own=True),
    "POST /openid4vci/credential": Door(key_proofs, frozenset({400, 401}), at_home=None),
    "POST /openid4vci/deferred_credential": Door(
        post("/openid4vci/deferred_credential", lambda _known: {"transaction_id": "x" * 43}),
        frozenset({400, 401}),
        at_home=None,
    ),
    "POST /openid4vci/notification": Door(
        post(
            "/openid4vci/notification",
            lambda _known: {"notification_id": "x" * 43, "event": "credential_accepted"},
        ),
        frozenset({400, 401}),
        at_home=None,
    ),
    "GET /openid4vp/request/{request_id}": Door(get("/openid4vp/request/{presentation}")),
    "POST /openid4vp/request/{request_id}": Door(
        form_to("/openid4vp/request/{presentation}", wallet_nonce="abc")
    ),
    "POST /openid4vp/response/{request_id}": Door(
        form_to("/openid4vp/response/{presentation}", error="access_denied", state="{state}"),
        HIDDEN | {400},
        at_home=PARTNER,  # once: it refuses the request
    ),
    "GET /status/{list_id}": Door(get("/status/{status_list}")),
    # The same for everybody, at each tenant's address its own.
    "GET /.well-known/authzen-configuration": Door(
        get("/.well-known/authzen-configuration"), PUBLIC, own=True
    ),
    "GET /.well-known/openid-credential-issuer": Door(
        get("/.well-known/openid-credential-issuer"), PUBLIC, own=True
    ),
    "GET /.well-known/oauth-authorization-server": Door(
        get("/.well-known/oauth-authorization-server"), PUBLIC, own=True
    ),
    "GET /.well-known/jwt-vc-issuer": Door(get("/.well-known/jwt-vc-issuer"), PUBLIC, own=True),
    "GET /did.json": Door(get("/did.json"), PUBLIC | HIDDEN, own=True),
    "GET /.well-known/did.json": Door(get("/.well-known/did.json"), PUBLIC, own=True),
    "GET /vct/{name}/{version}": Door(get("/vct/customer/1"), PUBLIC, own=True),
    "GET /schemas/consent-template/1.json": Door(
        get("/schemas/consent-template/1.json"), PUBLIC, own=True
    ),
    "GET /schemas/subject-export/1.json": Door(
        get("/schemas/subject-export/1.json"), PUBLIC, own=True
    ),
    # Of the whole broker; the log's hashes are salted.
    "GET /log/checkpoint": Door(get("/log/checkpoint"), PUBLIC, own=True),
    "GET /log/tile/entries/{address}": Door(get("/log/tile/entries/000.p/1"), PUBLIC, own=True),
    "GET /log/tile/{level}/{address}": Door(get("/log/tile/0/000.p/1"), PUBLIC, own=True),
    # What tells of the process has no address below a tenant.
    "GET /healthz": Door(get("/healthz"), own=True),
    "GET /readyz": Door(get("/readyz"), own=True),
    "GET /metrics": Door(get("/metrics"), own=True),
    "GET /openapi.json": Door(get("/openapi.json"), PUBLIC, own=True),
    "GET /docs": Door(get("/docs"), PUBLIC, own=True),
    "GET /docs/oauth2-redirect": Door(get("/docs/oauth2-redirect"), PUBLIC, own=True),
    "GET /static-offline-docs": Door(get("/static-offline-docs/swagger-ui.css"), PUBLIC, own=True),
    "GET /static/{name}": Door(get("/static/app.css"), HIDDEN, own=True, at_home=None),
    # Pages: their address is the customer's secret.
    "GET /": Door(get("/"), PUBLIC, own=True),
    "GET /c/{page_token}": Door(get("/c/{page}"), at_home=PARTNER),
    "POST /c/{page_token}/choice": Door(form_to("/c/{page}/choice", form_token=""), at_home=None),
    "POST /c/{page_token}/refusal": Door(form_to("/c/{page}/refusal", form_token=""), at_home=None),
    "POST /c/{page_token}/withdrawal": Door(
        form_to("/c/{page}/withdrawal", form_token="", consent_id="{consent}"), at_home=None
    ),
    "POST /c/{page_token}/automated-decisions": Door(
        form_to("/c/{page}/automated-decisions", form_token="", consent_id="{consent}"),
        at_home=None,
    ),
    "POST /c/{page_token}/everything": Door(
        form_to("/c/{page}/everything", form_token=""), at_home=None
    ),
    "GET /mine/{token}": Door(get("/mine/{presentation}.AAAA"), at_home=None),
    "GET /mine/{token}/events": Door(get("/mine/{presentation}.AAAA/events"), at_home=None),
    "GET /c/{page_token}/done": Door(get("/c/{page}/done?response_code=abc"), at_home=None),
    "GET /c/{page_token}/receipt/{consent_id}": Door(
        get("/c/{page}/receipt/{consent}"), at_home=PARTNER
    ),
    "GET /c/{page_token}/events": Door(get("/c/{page}/events"), at_home=None),
}
# Further ways through a door that has a row already.
MORE_WAYS = {
    "POST /oauth/token": Door(redeeming, frozenset({400, 401}), at_home=PARTNER),
}
WAYS = [*DOORS.items(), *MORE_WAYS.items()]
