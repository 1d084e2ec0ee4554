"""`consent-broker tenant`, `purpose`, `algorithm`, `attribute`, `template`: what is registered."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.clients import officer, partner
from broker.cli.composed import USAGE, Json, Tenant, composed, read_json_file
from broker.cli.demands import issuer, purpose_demand
from broker.cli.kill_switch import kill_switch
from broker.cli.policies import policy
from broker.domain.addresses import ROOT_TENANT, tenant_url
from broker.domain.template import Registry
from broker.domain.terms import AlgorithmTerms, Label, PurposeTerms
from broker.store import registry
from broker.store.registry import AttributeSpec
from broker.usecases import tenant as usecases
from broker.usecases.masking import set_maskings

LARGEST_TEMPLATE = 262_144

tenant = typer.Typer(help="Companies that run consents here. 租户。", no_args_is_help=True)
purpose = typer.Typer(help="What data may be used for (W3C DPV). 目的。", no_args_is_help=True)
algorithm = typer.Typer(help="By which algorithm, version by version. 算法。", no_args_is_help=True)
attribute = typer.Typer(help="The dictionary of attributes. 属性字典。", no_args_is_help=True)
template = typer.Typer(help="Consent templates. 同意模板。", no_args_is_help=True)


class RiskTier(StrEnum):
    """How much an algorithm may do to a person."""

    MINIMAL = "minimal"
    LIMITED = "limited"
    HIGH = "high"


Zh = Annotated[str, typer.Option("--zh", help="The Chinese label. 中文名称。")]
En = Annotated[str, typer.Option("--en", help="The English label. 英文名称。")]


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    for name, commands in (
        ("tenant", tenant),
        ("partner", partner),
        ("officer", officer),
        ("purpose", purpose),
        ("algorithm", algorithm),
        ("attribute", attribute),
        ("template", template),
        ("kill-switch", kill_switch),
        ("policy", policy),
        ("issuer", issuer),
    ):
        app.add_typer(commands, name=name)
    purpose.command("demand")(purpose_demand)


@tenant.command("add")
def tenant_add(
    tenant_id: Annotated[str, typer.Argument(help="Part of its addresses, like acme. 编号。")],
    zh: Zh,
    en: En,
    contact: Annotated[str, typer.Option(help="Where customers reach it. 联系方式。")],
    country: Annotated[str, typer.Option(help="ISO 3166-1 code. 国家代码。")] = "CN",
    as_json: Json = False,
) -> None:
    """Create a tenant with keys of its own. 新建租户。"""
    with composed() as ctx:
        usecases.add_tenant(
            ctx, tenant_id, name=Label(zh=zh, en=en), contact=contact, country=country
        )
        address = tenant_url(ctx.settings.public_url, tenant_id)
    _added({"id": tenant_id, "address": address}, f"{tenant_id} is at {address}", as_json=as_json)


@tenant.command("list")
def tenant_list(as_json: Json = False) -> None:
    """List the tenants. 列出租户。"""
    with composed() as ctx, ctx.db.reading() as tx:
        found = [registry.tenant(tx, tenant_id) for tenant_id in registry.tenants(tx)]
    rows = [
        {"id": row.id, "zh": row.name_zh, "en": row.name_en, "country": row.country}
        for row in found
    ]
    _list(rows, as_json=as_json)


@purpose.command("add")
def purpose_add(
    purpose_id: Annotated[str, typer.Argument(help="Like dpv:ServicePersonalisation.")],
    zh: Zh,
    en: En,
    necessary: Annotated[
        bool, typer.Option("--necessary", help="The service cannot be had without it (PIPL 16).")
    ] = False,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Register a purpose. 登记目的。"""
    with composed() as ctx:
        usecases.add_purpose(ctx, tenant, PurposeTerms(purpose_id, Label(zh=zh, en=en), necessary))
    _added({"id": purpose_id}, f"{purpose_id} is registered", as_json=as_json)


@purpose.command("list")
def purpose_list(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the purposes. 列出目的。"""
    rows = [
        {
            "id": one.id,
            "zh": one.label.zh,
            "en": one.label.en,
            "necessary_for_service": one.necessary_for_service,
        }
        for one in _registry(tenant).purposes.values()
    ]
    _list(rows, as_json=as_json)


@algorithm.command("add")
def algorithm_add(
    algorithm_id: Annotated[str, typer.Argument(help="Like churn-v3.")],
    version: Annotated[str, typer.Argument(help="Like 1; a new version asks customers again.")],
    purpose_id: Annotated[str, typer.Option("--purpose", help="The purpose that it serves.")],
    zh: Zh,
    en: En,
    explanation_zh: Annotated[str, typer.Option(help="How it decides, in plain Chinese.")],
    explanation_en: Annotated[str, typer.Option(help="How it decides, in plain English.")],
    risk_tier: Annotated[RiskTier, typer.Option(help="What it may do to a person.")],
    automated_decision: Annotated[
        bool,
        typer.Option("--automated-decision", help="It decides about people by itself (PIPL 24)."),
    ] = False,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Register an algorithm in one version. 登记算法版本。"""
    terms = AlgorithmTerms(
        id=algorithm_id,
        version=version,
        label=Label(zh=zh, en=en),
        explanation=Label(zh=explanation_zh, en=explanation_en),
        automated_decision=automated_decision,
        risk_tier=risk_tier.value,
    )
    with composed() as ctx:
        usecases.add_algorithm(ctx, tenant, purpose_id, terms)
    wire = f"{purpose_id}#algo:{algorithm_id}@{version}"
    _added({"wire": wire}, f"{wire} is registered", as_json=as_json)


@algorithm.command("list")
def algorithm_list(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the algorithms, as decisions name them. 列出算法。"""
    rows = [
        {
            "wire": f"{purpose_id}#algo:{one.id}@{one.version}",
            "zh": one.label.zh,
            "en": one.label.en,
            "risk_tier": one.risk_tier,
            "automated_decision": one.automated_decision,
        }
        for purpose_id, one in _registry(tenant).algorithms.values()
    ]
    _list(rows, as_json=as_json)


@attribute.command("add")
def attribute_add(
    attribute_id: Annotated[str, typer.Argument(help="The canonical name, like home_city.")],
    zh: Zh,
    en: En,
    category: Annotated[str, typer.Option(help="A DPV category, like pd:Location.")],
    value_type: Annotated[str, typer.Option("--type", help="Like text, number, date, code.")],
    sensitive: Annotated[
        bool, typer.Option("--sensitive", help="Sensitive personal information (PIPL 28).")
    ] = False,
    stored_in: Annotated[str, typer.Option(help="ISO 3166-1 code.")] = "CN",
    public_place: Annotated[
        bool,
        typer.Option(
            "--public-place", help="Collected by devices in public places (PIPL 26). 公共场所采集。"
        ),
    ] = False,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Register a canonical attribute. 登记属性。"""
    spec = AttributeSpec(
        attribute_id, Label(zh=zh, en=en), category, value_type, sensitive, stored_in, public_place
    )
    with composed() as ctx:
        usecases.add_attribute(ctx, tenant, spec)
    _added({"id": attribute_id}, f"{attribute_id} is registered", as_json=as_json)


@attribute.command("mask")
def attribute_mask(
    attribute_id: Annotated[str, typer.Argument(help="The canonical name. 属性。")],
    rules: Annotated[
        list[str] | None,
        typer.Argument(help="ROLE=MASKING, like '*=phone' support=none. 角色=脱敏方式。"),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Mask it no more. 取消脱敏。")] = False,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Say in which masking an attribute is given out, by role. 设定按角色脱敏。

    Maskings: none, name, id_number, phone, address, medical_summary, year, round_10, round_100,
    round_1000. The role * is everybody that no other rule is for.
    """
    if bool(rules) is none or any("=" not in rule for rule in rules or ()):
        typer.echo("consent-broker: say rules like '*=phone', or --none", err=True)
        raise typer.Exit(USAGE)
    told = dict(rule.split("=", 1) for rule in rules or ())
    with composed() as ctx:
        found = set_maskings(ctx, tenant, attribute_id, told)
    sentence = f"{attribute_id} is masked: {', '.join(rules or ()) or 'not at all'}"
    _added({"id": attribute_id, "maskings": found}, sentence, as_json=as_json)


@attribute.command("list")
def attribute_list(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the dictionary. 列出属性字典。"""
    found = _registry(tenant)
    rows = [
        {
            "id": one.id,
            "zh": one.label.zh,
            "en": one.label.en,
            "category": one.category,
            "sensitive": one.sensitive,
            "stored_in": one.stored_in,
            "public_place": one.id in found.public_places,
        }
        for one in found.attributes.values()
    ]
    _list(rows, as_json=as_json)


@template.command("add")
def template_add(
    file: Annotated[Path, typer.Argument(help="A JSON file by /schemas/consent-template/1.json.")],
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Store a consent template as its next version. 保存同意模板的新版本。"""
    document = read_json_file(file, LARGEST_TEMPLATE)
    with composed() as ctx:
        stored = usecases.add_template(ctx, tenant, document)
    _added(
        {"id": stored.id, "version": stored.version, "notice_hash": stored.notice_hash()},
        f"{stored.id}@{stored.version} is stored",
        as_json=as_json,
    )


@template.command("list")
def template_list(tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """List the templates, each in its newest version. 列出同意模板。"""
    with composed() as ctx, ctx.db.reading() as tx:
        registry.tenant(tx, tenant)
        found = registry.templates(tx, tenant)
    rows = [
        {
            "id": f"{one.id}@{one.version}",
            "zh": one.title.zh,
            "en": one.title.en,
            "items": len(one.items),
            "minimum_grade": str(one.minimum_grade),
        }
        for one in found
    ]
    _list(rows, as_json=as_json)


def _registry(tenant_id: str) -> Registry:
    with composed() as ctx, ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        return registry.registry(tx, tenant_id)


def _added(document: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False) if as_json else sentence)


def _list(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for row in rows:
        typer.echo("  ".join(str(value) for value in row.values()))
