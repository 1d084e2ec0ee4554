"""Addresses under which tenants are reached."""

import re

ROOT_TENANT = "demo"
TENANT_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


def tenant_url(public_url: str, tenant_id: str) -> str:
    """The base address of a tenant: the demonstration tenant at the root, others below `/t/`."""
    return public_url if tenant_id == ROOT_TENANT else f"{public_url}/t/{tenant_id}"


def tenant_named(address: str) -> str:
    """The tenant whose base address it is: `tenant_url` backwards."""
    _, below, tenant_id = address.rpartition("/t/")
    return tenant_id if below else ROOT_TENANT
