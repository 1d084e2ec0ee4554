"""Create tenants, and change what they have registered."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from broker.domain.addresses import TENANT_ID
from broker.domain.errors import InvalidRequest, StateConflict, UnknownPurpose
from broker.domain.policy_set import BUILT_IN
from broker.domain.template import Template, check_template, read_template
from broker.domain.terms import AlgorithmTerms, Label, PurposeTerms, parse_purpose
from broker.store import registry
from broker.store.registry import AttributeSpec, TenantRow
from broker.usecases import audit
from broker.usecases.context import Context

PURPOSE_ID = re.compile(r"[a-z][a-z0-9-]*:[A-Za-z0-9]+")
ATTRIBUTE_ID = re.compile(r"[a-z][a-z0-9_]{0,63}")
COUNTRY = re.compile(r"[A-Z]{2}")
LONGEST_TEXT = 200


def add_tenant(ctx: Context, tenant_id: str, *, name: Label, contact: str, country: str) -> None:
    """Create a tenant with keys and a log key of its own.

    Raises `InvalidRequest` (id or country of another form), `StateConflict` when the id is taken.
    """
    _require(TENANT_ID, tenant_id, "a tenant's id is like acme-3: lower-case letters and digits")
    require_country(country)
    for text in (name.zh, name.en, contact):
        require_text(text)
    row = TenantRow(
        id=tenant_id,
        name_zh=name.zh,
        name_en=name.en,
        contact=contact,
        country=country,
        kill_switch=False,
        policy_version=BUILT_IN,
        sealed_log_key=ctx.keys.new_log_key(f"tenant:{tenant_id}"),
        version=1,
        created_at=ctx.now(),
    )
    with ctx.db.transaction() as tx:
        registry.add_tenant(tx, row)
        audit.record(ctx, tx, tenant_id=tenant_id, type="tenant.added", body={"tenant": tenant_id})
    ctx.keys.prepare(tenant_id)


def add_purpose(ctx: Context, tenant_id: str, purpose: PurposeTerms) -> None:
    """Register a purpose; raises `InvalidRequest`, `StateConflict`, `NotFound` (tenant)."""
    _require(PURPOSE_ID, purpose.id, "a purpose's id is like dpv:ServicePersonalisation")
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        registry.add_purpose(tx, tenant_id, purpose)
        audit.record(
            ctx, tx, tenant_id=tenant_id, type="purpose.added", body={"purpose": purpose.id}
        )


def add_algorithm(ctx: Context, tenant_id: str, purpose_id: str, algorithm: AlgorithmTerms) -> None:
    """Register an algorithm in one version; a new version is a new question to every customer.

    One that decides by itself says how, in both languages: whoever uses it has to tell that.
    Raises `InvalidTerms` (a name of another form), `InvalidRequest` (no explanation),
    `UnknownPurpose`, `StateConflict`, `NotFound`.
    """
    told = algorithm.explanation
    if algorithm.automated_decision and not (told.zh.strip() and told.en.strip()):
        raise InvalidRequest(
            "an algorithm that decides by itself needs an explanation in Chinese and in English"
        )
    parse_purpose(f"{purpose_id}#algo:{algorithm.id}@{algorithm.version}")
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        if purpose_id not in registry.registry(tx, tenant_id).purposes:
            raise UnknownPurpose(f"register the purpose {purpose_id} first")
        registry.add_algorithm(tx, tenant_id, purpose_id, algorithm)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="algorithm.added",
            body={
                "purpose": purpose_id,
                "algorithm": f"{algorithm.id}@{algorithm.version}",
                "risk_tier": algorithm.risk_tier,
                "automated_decision": algorithm.automated_decision,
            },
        )


def add_attribute(ctx: Context, tenant_id: str, attribute: AttributeSpec) -> None:
    """Register a canonical attribute; raises `InvalidRequest`, `StateConflict`, `NotFound`."""
    _require(ATTRIBUTE_ID, attribute.id, "an attribute's id is like purchase_count_12m")
    require_country(attribute.stored_in)
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        if registry.stands_for_another(tx, tenant_id, attribute.id):
            raise StateConflict(
                f"a partner calls another attribute {attribute.id}: take another id for this one"
            )
        registry.add_attribute(tx, tenant_id, attribute)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="attribute.added",
            body={
                "attribute": attribute.id,
                "sensitive": attribute.sensitive,
                "public_place": attribute.public_place,
            },
        )


def add_template(ctx: Context, tenant_id: str, document: Mapping[str, Any]) -> Template:
    """Store a template as its next version.

    Raises `InvalidTemplate`, `UnknownPurpose`, `UnknownAttribute`, `NotFound` (tenant).
    """
    parsed = read_template(document)
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        check_template(parsed, registry.registry(tx, tenant_id))
        version = registry.add_template(tx, tenant_id, document, parsed.id, ctx.now())
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="template.added",
            body={"template": f"{parsed.id}@{version}", "notice_hash": parsed.notice_hash()},
        )
    return replace(parsed, version=version)


def require_country(code: str) -> None:
    """Raise `InvalidRequest` unless `code` is written like an ISO 3166-1 alpha-2 code."""
    _require(COUNTRY, code, "a country is an ISO 3166-1 code, like CN")


def require_text(text: str) -> None:
    """Raise `InvalidRequest` unless `text` is a name or an address that people can read."""
    if not text.strip() or not text.isprintable() or len(text) > LONGEST_TEXT:
        raise InvalidRequest(f"a name or contact is printable text of 1 to {LONGEST_TEXT} letters")


def _require(form: re.Pattern[str], value: str, cure: str) -> None:
    if form.fullmatch(value) is None:
        raise InvalidRequest(cure)
