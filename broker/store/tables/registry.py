"""What a tenant has registered."""

from sqlalchemy import Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from broker.store.tables.base import one_of, text, time


class Purpose(SQLModel, table=True):
    """A purpose of the tenant, an identifier of the W3C Data Privacy Vocabulary.

    `demand` is what has to be proven of whoever's data are used for it (JSON), where anything.
    """

    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    id: str = Field(primary_key=True)
    label_zh: str
    label_en: str
    necessary_for_service: bool = False
    kill_switch: bool = False
    demand: str | None = Field(default=None, sa_type=Text)
    version: int = 1


class Algorithm(SQLModel, table=True):
    """An algorithm in one version, below its declared purpose."""

    __table_args__ = (
        one_of("risk_tier", "minimal", "limited", "high"),
        one_of("state", "registered", "retired"),
    )
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    id: str = Field(primary_key=True)
    algorithm_version: str = Field(primary_key=True)
    purpose_id: str
    label_zh: str
    label_en: str
    explanation_zh: str = text()
    explanation_en: str = text()
    risk_tier: str
    automated_decision: bool = False
    state: str = "registered"
    kill_switch: bool = False
    version: int = 1


class Attribute(SQLModel, table=True):
    """A canonical attribute of the tenant's dictionary.

    `public_place`: devices in public places collect it (PIPL 26). `maskings` says for which role
    of a partner's people it has to be masked, and how (JSON). `sole_source` is the outside source
    that it comes from alone, `own` the values of the tenant's own attributes (JSON), with their
    number.
    """

    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    id: str = Field(primary_key=True)
    label_zh: str
    label_en: str
    category: str
    value_type: str
    sensitive: bool = False
    stored_in: str
    public_place: bool | None = None
    maskings: str | None = Field(default=None, sa_type=Text)
    sole_source: str | None = None
    own: str | None = Field(default=None, sa_type=Text)
    version: int = 1


class OwnValue(SQLModel, table=True):
    """Values of own attributes (JSON) as they were set, in the tenant's order; none is changed.

    `of_id` is a partner's or an attribute's; `number` is what a decision's entry names them by.
    """

    __tablename__ = "own_value"
    __table_args__ = (one_of("kind", "partner", "attribute"),)
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    number: int = Field(primary_key=True)
    kind: str
    of_id: str
    own: str = text()
    set_by: str
    created_at: int = time()


class AttributeMapping(SQLModel, table=True):
    """A partner's own field name for a canonical attribute."""

    __tablename__ = "attribute_mapping"
    partner_id: str = Field(primary_key=True, foreign_key="partner.id")
    field: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    attribute_id: str


class Template(SQLModel, table=True):
    """A consent template: JSON by the published schema, immutable in each version."""

    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    id: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    document: str = text()
    created_at: int = time()


class PolicySet(SQLModel, table=True):
    """A tenant's own policies (Cedar), immutable; `tenant.policy_version` names one."""

    __tablename__ = "policy_set"
    __table_args__ = (UniqueConstraint("tenant_id", "digest"),)
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    number: int = Field(primary_key=True)
    digest: str
    text: str = text()
    added_by: str
    created_at: int = time()
