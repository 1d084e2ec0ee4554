"""Answers that a wallet must not send, each made wrong in one way, with the code they get."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from credentials.issue import issue_sd_jwt_vc
from credentials.keys import SoftwareKey
from credentials.pki import create_root, issue_leaf, x5c
from tests.broker.flow_world import (
    PUBLIC_URL,
    Customer,
    World,
    form,
    hashed,
    presentation,
)
from tests.wallet_adapters.forging import encode, hmac_signed, unsigned
from wallet_adapters.loopback import HeldCredential, PresentationRequest

VCT = f"{PUBLIC_URL}/vct/customer/1"
BASE = "consent_base"


@dataclass
class Attack:
    """A request that waits, who it is for, and who else is about."""

    world: World
    li: Customer
    friend: Customer
    opened: dict[str, Any] = field(init=False)
    request: PresentationRequest = field(init=False)

    def __post_init__(self) -> None:
        self.opened = self.world.ask(self.li.subject_ref)
        self.request = self.world.request(self.opened["wallet_link"])

    @property
    def held(self) -> HeldCredential:
        return self.li.wallet.credentials[0]

    def shown(self, query: str = BASE, held: HeldCredential | None = None, **how: Any) -> str:  # noqa: ANN401
        return presentation(self.world, self.request, held or self.held, query, **how)

    def answered(self, query: str = BASE, **how: Any) -> dict[str, str]:  # noqa: ANN401
        return form(self.request, **{query: self.shown(query, **how)})

    def other_request(self) -> PresentationRequest:
        return self.world.request(self.world.ask(self.li.subject_ref)["wallet_link"])


Make = Callable[[Attack], dict[str, str]]


def binding(**how: Any) -> Make:  # noqa: ANN401
    """An answer whose KB-JWT is changed."""
    return lambda attack: attack.answered(**how)


def at(seconds: int) -> Make:
    """An answer signed some seconds from now."""
    return lambda attack: attack.answered(iat=attack.world.time[0] + seconds)


def without_tilde(attack: Attack) -> dict[str, str]:
    return form(attack.request, **{BASE: attack.held.credential.rstrip("~")})


def hmac_with_the_public_key(attack: Attack) -> dict[str, str]:
    public = json.dumps(attack.held.key.public_jwk()).encode()

    def make(_key: SoftwareKey, header: dict[str, Any], claims: dict[str, Any]) -> str:
        return hmac_signed(header, claims, public)

    return attack.answered(make=make)


def not_signed(attack: Attack) -> dict[str, str]:
    def make(_key: SoftwareKey, header: dict[str, Any], claims: dict[str, Any]) -> str:
        return unsigned(header, claims)

    return attack.answered(make=make)


def signed_by_a_key_in_the_header(attack: Attack) -> dict[str, str]:
    other = SoftwareKey.generate("ES256")
    held = replace(attack.held, holder_key=other.private_jwk())
    return form(
        attack.request, **{BASE: attack.shown(held=held, header={"jwk": other.public_jwk()})}
    )


def signed_by_another_key(attack: Attack) -> dict[str, str]:
    other = SoftwareKey.generate("ES256").private_jwk()
    return form(attack.request, **{BASE: attack.shown(held=replace(attack.held, holder_key=other))})


def nonce_of_another_request(attack: Attack) -> dict[str, str]:
    return attack.answered(nonce=attack.other_request().nonce)


def answer_to_another_request(attack: Attack) -> dict[str, str]:
    other = attack.other_request()
    shown = presentation(attack.world, other, attack.held, BASE)
    return form(attack.request, **{BASE: shown})


def terms_of_another_request(attack: Attack) -> dict[str, str]:
    other = attack.other_request().transaction_data[0].encoded
    return attack.answered(transaction_data_hashes=[hashed(other)])


def terms_of_all(attack: Attack) -> dict[str, str]:
    every = [hashed(one.encoded) for one in attack.request.transaction_data]
    return attack.answered(transaction_data_hashes=every)


def one_signature_for_two_consents(attack: Attack) -> dict[str, str]:
    shown = attack.shown(BASE)
    return form(attack.request, **{BASE: shown, "consent_visits": shown})


def hash_of_the_decoded_terms(attack: Attack) -> dict[str, str]:
    content = json.dumps(attack.request.transaction_data[0].content)
    return attack.answered(transaction_data_hashes=[hashed(encode(content))])


def two_for_one_query(attack: Attack) -> dict[str, str]:
    first, second = attack.li.wallet.credentials[:2]
    return form(attack.request, **{BASE: [attack.shown(held=first), attack.shown(held=second)]})


def the_same_twice(attack: Attack) -> dict[str, str]:
    shown = attack.shown()
    return form(attack.request, **{BASE: [shown, shown]})


def one_good_and_one_bad(attack: Attack) -> dict[str, str]:
    return form(
        attack.request,
        **{BASE: attack.shown(), "consent_visits": attack.shown("consent_visits", aud="another")},
    )


def a_query_that_was_not_asked(attack: Attack) -> dict[str, str]:
    return form(attack.request, **{BASE: attack.shown(), "consent_more": attack.shown()})


def another_customers(attack: Attack) -> dict[str, str]:
    return form(attack.request, **{BASE: attack.shown(held=attack.friend.wallet.credentials[0])})


def issued(attack: Attack, *, by: str = "broker", **changes: Any) -> dict[str, str]:  # noqa: ANN401
    """An answer with a credential that was issued as it must not be."""
    holder, now = SoftwareKey.generate("ES256"), attack.world.time[0]
    issuer = attack.world.ctx.keys.issuer("demo")
    signer, chain = issuer.signer, list(issuer.x5c)
    if by != "broker":
        signer = SoftwareKey.generate("ES256")
        root = create_root("Another root", signer, now - 60)
        leaf_key = SoftwareKey.generate("ES256")
        leaf = issue_leaf(
            root, signer, leaf_key.public_jwk(), name="Broker", now=now - 60, uri=[PUBLIC_URL]
        )
        signer, chain = leaf_key, x5c([leaf])
    arguments: dict[str, Any] = {
        "signer": signer,
        "x5c": chain,
        "issuer": PUBLIC_URL,
        "vct": VCT,
        "claims": {"jti": "cc-never-issued", "binding_grade": "code"},
        "disclosable": (),
        "holder_jwk": holder.public_jwk(),
        "status": None,
        "issued_at": now - 60,
        "expires_at": now + 3600,
        **changes,
    }
    if arguments["claims"].get("jti") == "":
        arguments["claims"]["jti"] = attack.held.claims()["jti"]
    held = HeldCredential(issue_sd_jwt_vc(**arguments), holder.private_jwk())
    return form(attack.request, **{BASE: attack.shown(held=held)})


def issued_when(issued_at: int, expires_at: int) -> Make:
    def make(attack: Attack) -> dict[str, str]:
        now = attack.world.time[0]
        return issued(attack, issued_at=now + issued_at, expires_at=now + expires_at)

    return make


def unsigned_credential(attack: Attack) -> dict[str, str]:
    payload = attack.held.credential.split(".")[1]
    header = encode({"alg": "none", "typ": "dc+sd-jwt"})
    held = replace(attack.held, credential=f"{header}.{payload}.~")
    return form(attack.request, **{BASE: attack.shown(held=held)})


def changed_credential(attack: Attack) -> dict[str, str]:
    header, _payload, signature = attack.held.credential.rstrip("~").split(".")
    claims = attack.held.claims() | {"binding_grade": "verified_person"}
    held = replace(attack.held, credential=f"{header}.{encode(claims)}.{signature}~")
    return form(attack.request, **{BASE: attack.shown(held=held)})


def raw(**fields: str) -> Make:
    """A form as it stands, with the request's state."""
    return lambda attack: {"state": attack.request.state or "", **fields}


CASES: dict[str, tuple[Make, str]] = {
    # The key-binding JWT
    "signed_too_long_ago": (at(-301), "key_binding_expired"),
    "signed_in_the_future": (at(61), "key_binding_in_future"),
    "signed_at_no_time": (binding(iat=None), "malformed"),
    "signed_at_a_text": (binding(iat="now"), "malformed"),
    "audience_of_another": (binding(aud="x509_hash:another"), "audience_mismatch"),
    "audience_missing": (binding(aud=None), "audience_mismatch"),
    "audience_without_prefix": (binding(aud=PUBLIC_URL), "audience_mismatch"),
    "nonce_of_nobody": (binding(nonce="n" * 43), "nonce_mismatch"),
    "nonce_missing": (binding(nonce=None), "nonce_mismatch"),
    "nonce_of_another_request": (nonce_of_another_request, "nonce_mismatch"),
    "answer_to_another_request": (answer_to_another_request, "nonce_mismatch"),
    "sd_hash_of_another": (binding(sd_hash=hashed("another~")), "sd_hash_mismatch"),
    "sd_hash_missing": (binding(sd_hash=None), "sd_hash_mismatch"),
    "terms_not_signed": (binding(transaction_data_hashes=None), "transaction_data_mismatch"),
    "terms_of_another_request": (terms_of_another_request, "transaction_data_mismatch"),
    "terms_of_all_by_one": (terms_of_all, "transaction_data_mismatch"),
    "one_signature_for_two": (one_signature_for_two_consents, "transaction_data_mismatch"),
    "terms_hashed_after_decoding": (hash_of_the_decoded_terms, "transaction_data_mismatch"),
    "terms_hashed_by_sha_512": (
        binding(transaction_data_hashes_alg="sha-512"),
        "transaction_data_mismatch",
    ),
    "not_a_key_binding_jwt": (binding(header={"typ": "JWT"}), "type_mismatch"),
    "alg_none": (not_signed, "algorithm_not_allowed"),
    "hs256_with_the_public_key": (hmac_with_the_public_key, "algorithm_not_allowed"),
    "key_in_the_header": (signed_by_a_key_in_the_header, "header_not_allowed"),
    "key_behind_a_link": (binding(header={"jku": "https://x.example"}), "header_not_allowed"),
    "chain_behind_a_link": (binding(header={"x5u": "https://x.example"}), "header_not_allowed"),
    "critical_header": (binding(header={"crit": ["b64"], "b64": True}), "header_not_allowed"),
    "signed_by_another_key": (signed_by_another_key, "signature_invalid"),
    "no_key_binding": (
        lambda attack: form(attack.request, **{BASE: attack.held.credential}),
        "key_binding_missing",
    ),
    # The credential
    "credential_without_tilde": (without_tilde, "malformed"),
    "credential_of_another_root": (partial(issued, by="a stranger"), "untrusted_chain"),
    "credential_unsigned": (unsigned_credential, "algorithm_not_allowed"),
    "credential_changed": (changed_credential, "signature_invalid"),
    "credential_expired": (issued_when(-7200, -3600), "expired"),
    "credential_not_yet_valid": (issued_when(3600, 7200), "not_yet_valid"),
    "credential_of_another_type": (
        partial(issued, vct=f"{PUBLIC_URL}/vct/receipt/1"),
        "type_mismatch",
    ),
    "credential_never_issued": (issued, "unknown_credential"),
    "copy_under_another_key": (partial(issued, claims={"jti": ""}), "holder_mismatch"),
    "copy_without_its_number": (
        partial(issued, claims={"binding_grade": "code"}),
        "claims_not_satisfied",
    ),
    "credential_without_a_key": (partial(issued, holder_jwk=None), "key_binding_missing"),
    "credential_of_another_customer": (another_customers, "subject_mismatch"),
    # The answer
    "two_for_one_query": (two_for_one_query, "duplicate_presentation"),
    "the_same_twice": (the_same_twice, "duplicate_presentation"),
    "one_good_and_one_bad": (one_good_and_one_bad, "audience_mismatch"),
    "a_query_not_asked": (a_query_that_was_not_asked, "unknown_query"),
    "state_of_another": (
        lambda attack: {**attack.answered(), "state": "pr-another"},
        "state_mismatch",
    ),
    "state_missing": (
        lambda attack: {"vp_token": attack.answered()["vp_token"]},
        "state_mismatch",
    ),
    "error_for_another": (
        lambda _attack: {"error": "access_denied", "state": "pr-another"},
        "state_mismatch",
    ),
    "error_and_token": (raw(error="access_denied", vp_token="{}"), "conflicting_parameters"),
    "error_that_is_none": (raw(error="<b>no</b>"), "malformed"),
    "nothing": (raw(), "missing_parameter"),
    "no_presentation": (raw(vp_token="{}"), "no_presentation"),
    "empty_list": (raw(vp_token='{"consent_base": []}'), "no_presentation"),
    "not_a_list": (raw(vp_token='{"consent_base": "x~"}'), "malformed"),
    "not_json": (raw(vp_token="{"), "malformed"),
    "no_sd_jwt": (raw(vp_token='{"consent_base": ["..."]}'), "malformed"),
    "nested_without_end": (raw(vp_token='{"a":' + "[" * 90_000), "too_deep"),
    "encrypted": (raw(response="a.b.c.d.e"), "response_unreadable"),
}


def grants_signature(attack: Attack) -> dict[str, str]:
    other = attack.other_request()
    hashes = [hashed(other.transaction_data[0].encoded)]
    return attack.answered("same_key", transaction_data_hashes=hashes)


WITHDRAWALS: dict[str, tuple[Make, str]] = {
    "strangers_key": (
        lambda attack: form(
            attack.request,
            other_key=attack.shown("other_key", attack.friend.wallet.credentials[0]),
        ),
        "not_the_signer",
    ),
    "strangers_key_as_the_same": (
        lambda attack: form(
            attack.request,
            same_key=attack.shown("same_key", attack.friend.wallet.credentials[0]),
        ),
        "claims_not_satisfied",
    ),
    "another_copy_as_the_same": (
        lambda attack: form(
            attack.request, same_key=attack.shown("same_key", attack.li.wallet.credentials[1])
        ),
        "claims_not_satisfied",
    ),
    "what_gave_it": (grants_signature, "transaction_data_mismatch"),
    "nothing_signed": (
        lambda attack: attack.answered("same_key", transaction_data_hashes=None),
        "transaction_data_mismatch",
    ),
    "a_consents_query": (
        lambda attack: form(attack.request, **{BASE: attack.shown("same_key")}),
        "unknown_query",
    ),
}
