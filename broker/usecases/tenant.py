"""Create tenants, and change what they have registered."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from broker.domain.template import Template, check_template, read_template
from broker.domain.terms import AlgorithmTerms, Label, PurposeTerms
from broker.store import registry
from broker.store.registry import AttributeSpec, TenantRow
from broker.usecases import audit
from broker.usecases.context import Context

BUILT_IN_POLICIES = "built-in"


def add_tenant(ctx: Context, tenant_id: str, *, name: Label, contact: str, country: str) -> None:
    """Create a tenant with keys of its own; raises `StateConflict` when the id is taken."""
    row = TenantRow(
        id=tenant_id,
        name_zh=name.zh,
        name_en=name.en,
        contact=contact,
        country=country,
        kill_switch=False,
        policy_version=BUILT_IN_POLICIES,
        sealed_log_key=ctx.keys.new_log_key(f"tenant:{tenant_id}"),
        version=1,
        created_at=ctx.now(),
    )
    with ctx.db.transaction() as tx:
        registry.add_tenant(tx, row)
        audit.record(ctx, tx, tenant_id=tenant_id, type="tenant.added", body={"tenant": tenant_id})
    ctx.keys.prepare(tenant_id)


def add_purpose(ctx: Context, tenant_id: str, purpose: PurposeTerms) -> None:
    """Register a purpose; raises `StateConflict`."""
    with ctx.db.transaction() as tx:
        registry.add_purpose(tx, tenant_id, purpose)
        audit.record(
            ctx, tx, tenant_id=tenant_id, type="purpose.added", body={"purpose": purpose.id}
        )


def add_algorithm(ctx: Context, tenant_id: str, purpose_id: str, algorithm: AlgorithmTerms) -> None:
    """Register an algorithm in one version; a new version is a new question."""
    with ctx.db.transaction() as tx:
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
            },
        )


def add_attribute(ctx: Context, tenant_id: str, attribute: AttributeSpec) -> None:
    """Register a canonical attribute; raises `StateConflict`."""
    with ctx.db.transaction() as tx:
        registry.add_attribute(tx, tenant_id, attribute)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="attribute.added",
            body={"attribute": attribute.id, "sensitive": attribute.sensitive},
        )


def add_template(ctx: Context, tenant_id: str, document: Mapping[str, Any]) -> Template:
    """Store a template as its next version.

    Raises `InvalidTemplate`, `UnknownPurpose`, `UnknownAttribute`.
    """
    parsed = read_template(document)
    with ctx.db.transaction() as tx:
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
