"""The demonstration tenant: a group, its coffee brand, and what the brand would like to use."""

import json
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from broker.domain.addresses import ROOT_TENANT
from broker.domain.terms import AlgorithmTerms, Label, PurposeTerms
from broker.store import partners, registry
from broker.store.registry import AttributeSpec
from broker.usecases.context import Context
from broker.usecases.partner import NewClient, add_officer, add_partner
from broker.usecases.tenant import (
    add_algorithm,
    add_attribute,
    add_purpose,
    add_template,
    add_tenant,
)

CLIENTS_FILE = "demo-clients.json"
DEMONSTRATION = "demonstration.json"


def ensure_demo_tenant(ctx: Context) -> None:
    """Create the demonstration tenant, its brand and its officer, unless they are there.

    Their private keys go to `demo-clients.json` below the home folder, readable by its owner
    alone.
    """
    told = json.loads(files("broker.usecases").joinpath(DEMONSTRATION).read_text(encoding="utf-8"))
    with ctx.db.reading() as tx:
        exists = registry.has_tenant(tx, ROOT_TENANT)
    if not exists:
        _register(ctx, told)
    ctx.keys.prepare(ROOT_TENANT)
    with ctx.db.reading() as tx:
        known = bool(partners.of_tenant(tx, ROOT_TENANT))
    if not known:
        clients = {
            "partner": add_partner(ctx, ROOT_TENANT, **told["partner"]),
            "officer": add_officer(ctx, ROOT_TENANT, name=told["officer"]),
        }
        _write_private(ctx.settings.home / CLIENTS_FILE, clients)


def demo_clients(ctx: Context) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The demonstration partner and officer: client ids and private JWKs.

    Raises `FileNotFoundError` when the broker has never been started with this home.
    """
    clients = json.loads((ctx.settings.home / CLIENTS_FILE).read_text(encoding="utf-8"))
    return clients["partner"], clients["officer"]


def _register(ctx: Context, told: Mapping[str, Any]) -> None:
    tenant = told["tenant"]
    add_tenant(
        ctx,
        ROOT_TENANT,
        name=Label.from_json(tenant["name"]),
        contact=tenant["contact"],
        country=tenant["country"],
    )
    for purpose in told["purposes"]:
        label = Label.from_json(purpose["label"])
        needed = purpose["necessary_for_service"]
        add_purpose(ctx, ROOT_TENANT, PurposeTerms(purpose["id"], label, needed))
    for algorithm in told["algorithms"]:
        add_algorithm(
            ctx,
            ROOT_TENANT,
            algorithm["purpose"],
            AlgorithmTerms(
                algorithm["id"],
                algorithm["version"],
                Label.from_json(algorithm["label"]),
                Label.from_json(algorithm["explanation"]),
                algorithm["automated_decision"],
                algorithm["risk_tier"],
            ),
        )
    for attribute in told["attributes"]:
        label = Label.from_json(attribute["label"])
        add_attribute(ctx, ROOT_TENANT, AttributeSpec(**{**attribute, "label": label}))
    for template in told["templates"]:
        add_template(ctx, ROOT_TENANT, template)


def _write_private(path: Path, clients: Mapping[str, NewClient]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({name: client.to_json() for name, client in clients.items()}, file)
