"""The tenant at the root, and in it the demonstration: a group, its coffee brand, what it asks."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from broker.domain.addresses import ROOT_TENANT
from broker.domain.errors import StateConflict
from broker.domain.terms import AlgorithmTerms, Label, PurposeTerms
from broker.store import partners, registry
from broker.store.registry import AttributeSpec
from broker.usecases.context import Context
from broker.usecases.partner import NewClient, add_officer, add_partner, new_officer, new_partner
from broker.usecases.tenant import (
    add_algorithm,
    add_attribute,
    add_purpose,
    add_template,
    add_tenant,
)

CLIENTS_FILE = "demo-clients.json"
DEMONSTRATION = "demonstration.json"
OPERATOR = Label("经营方", "The operator")


def ensure_root_tenant(ctx: Context) -> None:
    """Create the tenant at the root, which the operator's own log entries belong to, and its keys.

    It has nobody in it and nothing to ask. One that is there keeps its name.
    """
    with suppress(StateConflict):
        add_tenant(ctx, ROOT_TENANT, name=OPERATOR, contact=ctx.settings.public_url, country="ZZ")
    ctx.keys.prepare(ROOT_TENANT)


def ensure_demo_tenant(ctx: Context) -> None:
    """Create the demonstration tenant, its brand and its officer: what of it is not there yet.

    Their private keys go to `demo-clients.json` below the home folder, readable by its owner
    alone, before they are registered: a crash in between is mended by the next start.
    """
    told = json.loads(files("broker.usecases").joinpath(DEMONSTRATION).read_text(encoding="utf-8"))
    _register(ctx, told)
    ctx.keys.prepare(ROOT_TENANT)
    path = ctx.settings.home / CLIENTS_FILE
    with ctx.db.reading() as tx:
        known = {row.id for row in partners.of_tenant(tx, ROOT_TENANT)}
        known |= {row.id for row in partners.officers_of_tenant(tx, ROOT_TENANT)}
    if not path.exists():
        if known:
            return  # made by another machine on the same database, which has their keys
        made = {
            "partner": new_partner(told["partner"]["name"]),
            "officer": new_officer(told["officer"]),
        }
        _write_private(path, made)
    partner, officer = (NewClient(**client) for client in demo_clients(ctx))
    if partner.client_id not in known:
        add_partner(ctx, ROOT_TENANT, **told["partner"], client=partner)
    if officer.client_id not in known:
        add_officer(ctx, ROOT_TENANT, name=told["officer"], client=officer)


def demo_clients(ctx: Context) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The demonstration partner and officer: client ids and private JWKs.

    Raises `FileNotFoundError` when the broker has never been started with this home.
    """
    clients = json.loads((ctx.settings.home / CLIENTS_FILE).read_text(encoding="utf-8"))
    return clients["partner"], clients["officer"]


def _register(ctx: Context, told: Mapping[str, Any]) -> None:
    tenant = told["tenant"]
    name = Label.from_json(tenant["name"])
    # Each by itself, and what is there stays as it is: a crash, or another worker that starts at
    # the same time, leaves a part.
    with suppress(StateConflict):
        add_tenant(
            ctx, ROOT_TENANT, name=name, contact=tenant["contact"], country=tenant["country"]
        )
    for purpose in told["purposes"]:
        label = Label.from_json(purpose["label"])
        needed = purpose["necessary_for_service"]
        with suppress(StateConflict):
            add_purpose(ctx, ROOT_TENANT, PurposeTerms(purpose["id"], label, needed))
    for algorithm in told["algorithms"]:
        terms = AlgorithmTerms(
            algorithm["id"],
            algorithm["version"],
            Label.from_json(algorithm["label"]),
            Label.from_json(algorithm["explanation"]),
            algorithm["automated_decision"],
            algorithm["risk_tier"],
        )
        with suppress(StateConflict):
            add_algorithm(ctx, ROOT_TENANT, algorithm["purpose"], terms)
    for attribute in told["attributes"]:
        label = Label.from_json(attribute["label"])
        with suppress(StateConflict):
            add_attribute(ctx, ROOT_TENANT, AttributeSpec(**{**attribute, "label": label}))
    with ctx.db.reading() as tx:
        stored = {template.id for template in registry.templates(tx, ROOT_TENANT)}
    for template in told["templates"]:
        if template["id"] not in stored:
            add_template(ctx, ROOT_TENANT, template)


def _write_private(path: Path, clients: Mapping[str, NewClient]) -> None:
    unfinished = path.with_suffix(".new")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({name: client.to_json() for name, client in clients.items()}, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
