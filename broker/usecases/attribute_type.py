"""Kinds of credentials of attributes: which typed attributes a tenant attests."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from broker.domain.addresses import tenant_url
from broker.domain.errors import InvalidRequest
from broker.domain.proof import CONTACT_ID
from broker.store import attribute_credentials as store
from broker.store import registry
from broker.usecases import audit
from broker.usecases.context import Context
from zkp import Attribute, Schema, ZkpError
from zkp.predicates import REVOCATION_ID, STATUS_SCHEMA

TYPE_ID = re.compile(r"[a-z][a-z0-9_-]{0,39}/[1-9][0-9]{0,3}")
MOST_TYPES, MOST_ATTRIBUTES, LONGEST = 32, 32, 16_384


@dataclass(frozen=True)
class AttributeType:
    """A kind of credential: its schema, and the header that every holder's credential has."""

    schema: Schema
    issuer: str

    @property
    def header(self) -> bytes:
        """What is signed beside the attributes."""
        return self.schema.header(self.issuer)

    @property
    def revocable(self) -> bool:
        """Whether credentials of this kind have an identifier by which they are revoked."""
        return Attribute(REVOCATION_ID, "identifier") in self.schema.attributes

    @property
    def for_a_contact(self) -> bool:
        """Whether each credential of this kind is for one contact of a partner."""
        return Attribute(CONTACT_ID, "identifier") in self.schema.attributes


def add_type(ctx: Context, tenant_id: str, document: Mapping[str, Any]) -> AttributeType:
    """Store a kind of credential: `id` and `attributes`, as headers have them.

    Raises `InvalidRequest`, `StateConflict` (the id is taken: a kind never changes), `NotFound`.
    """
    schema = _schema(document)
    text = orjson.dumps([attribute.to_json() for attribute in schema.attributes]).decode()
    if len(text) > LONGEST:
        raise InvalidRequest(f"the attributes of a kind take at most {LONGEST} letters")
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        if len(store.types(tx, tenant_id)) >= MOST_TYPES:
            raise InvalidRequest(f"a tenant has at most {MOST_TYPES} kinds of credentials")
        store.add_type(tx, tenant_id, schema.id, text, ctx.now())
        audit.record(
            ctx, tx, tenant_id=tenant_id, type="attribute_type.added", body={"type": schema.id}
        )
    return AttributeType(schema, _issuer(ctx, tenant_id))


def attribute_types(ctx: Context, tenant_id: str) -> list[AttributeType]:
    """A tenant's kinds of credentials, by id."""
    with ctx.db.reading() as tx:
        found = store.types(tx, tenant_id)
    issuer = _issuer(ctx, tenant_id)
    return [AttributeType(_stored(type_id, text), issuer) for type_id, text in found.items()]


def attribute_type(ctx: Context, tenant_id: str, type_id: str) -> AttributeType:
    """A kind of credential; raises `NotFound`."""
    with ctx.db.reading() as tx:
        text = store.type_document(tx, tenant_id, type_id)
    return AttributeType(_stored(type_id, text), _issuer(ctx, tenant_id))


def _schema(document: Mapping[str, Any]) -> Schema:
    type_id, told = document.get("id"), document.get("attributes")
    if not isinstance(type_id, str) or TYPE_ID.fullmatch(type_id) is None:
        raise InvalidRequest("a kind of credential has an id with its version, like person/1")
    if type_id == STATUS_SCHEMA:
        raise InvalidRequest(f"{STATUS_SCHEMA} is the kind of status tokens")
    if not isinstance(told, list) or not 0 < len(told) <= MOST_ATTRIBUTES:
        raise InvalidRequest(f"a kind of credential has 1 to {MOST_ATTRIBUTES} attributes")
    if not all(isinstance(one, dict) for one in told):
        raise InvalidRequest("an attribute is an object with a name and a type")
    try:
        schema = Schema(type_id, tuple(Attribute.from_json(one) for one in told))
        # As it will be read again from every credential's header.
        return Schema.from_header(schema.header("https://issuer.example"))[0]
    except (ZkpError, UnicodeEncodeError) as problem:
        raise InvalidRequest(f"these attributes cannot be signed: {problem}") from None


def _stored(type_id: str, text: str) -> Schema:
    return Schema(type_id, tuple(Attribute.from_json(one) for one in orjson.loads(text)))


def _issuer(ctx: Context, tenant_id: str) -> str:
    return tenant_url(ctx.settings.public_url, tenant_id)
