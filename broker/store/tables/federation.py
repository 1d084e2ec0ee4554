"""Federated training: campaigns and their salts, members, rounds, receipts, models, unlearning.

Hashes are base64url SHA-256.
"""

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy import Text as SqlText
from sqlmodel import Field, SQLModel

from broker.store.tables.base import one_of, text, time


class CampaignSalt(SQLModel, table=True):
    """A salt that a campaign commits to by its hash; only keys of rounds leave the broker."""

    __tablename__ = "campaign_salt"
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    salt_hash: str = Field(primary_key=True)
    sealed_salt: bytes
    created_at: int = time()


class Campaign(SQLModel, table=True):
    """A campaign as the board signed it (`document`), by a `board` (both JSON text).

    `stage` is the one that rounds are of now; `passed` (JSON) what the stage before ended with;
    `reason` a code for its state where nobody chose that.
    """

    __tablename__ = "campaign"
    __table_args__ = (
        one_of("state", "draft", "running", "paused", "finished", "stopped"),
        UniqueConstraint("tenant_id", "hash"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    hash: str
    name: str
    purpose: str = text()
    document: str = text()
    board: str = text()
    stage: str
    state: str = "draft"
    passed: str | None = Field(default=None, sa_type=SqlText)
    created_at: int = time()
    changed_at: int = time()
    reason: str | None = None


class FederationMember(SQLModel, table=True):
    """A partner that trains with others: the key of its node, and that of its receipts.

    One that was admitted by its membership credential is so until `valid_until`.
    """

    __tablename__ = "federation_member"
    __table_args__ = (one_of("state", "invited", "admitted", "revoked"),)
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    partner_id: str = Field(primary_key=True, foreign_key="partner.id")
    node_key: str = text()
    receipt_key: str = text()
    state: str = "invited"
    since: int = time()
    membership_id: str | None = None
    valid_until: int | None = time(nullable=True)


class Membership(SQLModel, table=True):
    """A membership credential, from its offer on; of code and transaction code there are hashes.

    `holder_thumbprint` is that of the node's key that it is bound to.
    """

    __tablename__ = "membership"
    __table_args__ = (
        one_of("state", "open", "redeemed", "issued", "closed", "revoked"),
        Index("ix_membership_of_partner", "tenant_id", "partner_id"),
        Index("ix_membership_status", "status_list_id", "state"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str = Field(foreign_key="partner.id")
    code_hash: str = Field(unique=True)
    tx_code_hash: str
    refusals: int = 0
    state: str = "open"
    holder_thumbprint: str | None = None
    status_list_id: str | None = Field(default=None, foreign_key="status_list.id")
    status_index: int | None = None
    expires_at: int = time()
    created_at: int = time()
    issued_at: int | None = time(nullable=True)
    valid_until: int | None = time(nullable=True)


class JoinRequest(SQLModel, table=True):
    """A request that a member's node presents its membership; `document` is JSON."""

    __tablename__ = "join_request"
    __table_args__ = (
        one_of("state", "open", "answered", "refused", "closed"),
        Index("ix_join_request_of_partner", "tenant_id", "partner_id"),
        Index("ix_join_request_expires_at", "expires_at"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str = Field(foreign_key="partner.id")
    receipt_key: str = text()
    nonce: str
    document: str = text()
    state: str = "open"
    rejections: int = 0
    expires_at: int = time()
    created_at: int = time()


class TrainingRound(SQLModel, table=True):
    """A round of a campaign; `taking_part` and `lists` are JSON lists.

    `left_out` and `notices` are JSON, a code by member, of rounds that are over.
    """

    __tablename__ = "training_round"
    __table_args__ = (
        one_of("state", "open", "closed", "failed"),
        UniqueConstraint("campaign_id", "stage", "number"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    campaign_id: str = Field(foreign_key="campaign.id")
    stage: str
    number: int
    state: str = "open"
    model_in: str
    model_out: str | None = None
    taking_part: str = text()
    lists: str = text()
    code: str | None = None
    opened_at: int = time()
    over_at: int | None = time(nullable=True)
    left_out: str | None = Field(default=None, sa_type=SqlText)
    notices: str | None = Field(default=None, sa_type=SqlText)


class TrainingReceipt(SQLModel, table=True):
    """What a member said of a round, the first and only time, under the key that it had then.

    `sealed_leaves` are the leaves that its root covers: keyed hashes of consents, and padding.
    """

    __tablename__ = "training_receipt"
    __table_args__ = (Index("ix_training_receipt_of_partner", "tenant_id", "partner_id"),)
    round_id: str = Field(primary_key=True, foreign_key="training_round.id")
    partner_id: str = Field(primary_key=True, foreign_key="partner.id")
    tenant_id: str = Field(foreign_key="tenant.id")
    token: str = text()
    key: str = text()
    bucket: int
    root: str
    sealed_leaves: bytes
    entry_id: str
    received_at: int = time()


class ModelVersion(SQLModel, table=True):
    """A model by its hash: what it came of, who trained it, what it spent and reached.

    `members`, `metrics` and `approvals` (JWS of the board by which it passed its stage) are JSON; a
    model that a campaign began with has round 0 and no parent.
    `taint` is `used` or `descends` where a withdrawn row is in it, whatever its state.
    """

    __tablename__ = "model_version"
    __table_args__ = (
        one_of("state", "candidate", "pilot", "active", "tainted", "retired"),
        Index("ix_model_version_of_campaign", "campaign_id", "created_at"),
    )
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    id: str = Field(primary_key=True)
    parent: str | None = None
    campaign_id: str = Field(foreign_key="campaign.id")
    stage: str
    number: int
    bundle_hash: str
    parameters_hash: str
    receipts_root: str | None = None
    members: str = text()
    epsilon: str | None = None
    metrics: str = text()
    state: str = "candidate"
    created_at: int = time()
    changed_at: int = time()
    taint: str | None = None
    approvals: str | None = Field(default=None, sa_type=SqlText)


class UnlearningSearch(SQLModel, table=True):
    """A consent that ended, until models that used its row were looked for.

    `due_at` is from when on its partner, and status lists, show the end; `counted` whether a task
    tells of it already, though a round that may have used it is still open; rounds that were over
    by `looked_at` need not be looked at again.
    """

    __tablename__ = "unlearning_search"
    __table_args__ = (Index("ix_unlearning_search_due", "due_at", "tenant_id"),)
    consent_id: str = Field(primary_key=True, foreign_key="consent.id")
    tenant_id: str = Field(foreign_key="tenant.id")
    due_at: int = time()
    counted: bool = False
    looked_at: int | None = time(nullable=True)


class UnlearningTask(SQLModel, table=True):
    """What a campaign's policy asks for since rows were withdrawn that its models used.

    `since` is when the last of them was; `base` the version from which rounds are done anew;
    `model` what the task was closed with, and the residuals how far from it that is. They were
    measured from the weights of `residual_models` (JSON: the hashes of before, after, reference),
    or, without these, are what was said, or of before schema 0038.
    """

    __tablename__ = "unlearning_task"
    __table_args__ = (
        one_of("state", "open", "done"),
        one_of("policy", "exclude", "rollback_replay", "retrain"),
        Index("ix_unlearning_task_listed", "tenant_id", "opened_at", "id"),
        Index("ix_unlearning_task_of_campaign", "campaign_id", "state"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    campaign_id: str = Field(foreign_key="campaign.id")
    policy: str
    state: str = "open"
    withdrawals: int
    since: int = time()
    base: str | None = None
    opened_at: int = time()
    model: str | None = None
    residual_before: str | None = None
    residual_after: str | None = None
    residual_models: str | None = Field(default=None, sa_type=SqlText)
    closed_at: int | None = time(nullable=True)
    closed_by: str | None = None


class UnlearningTaint(SQLModel, table=True):
    """A version that a task has tainted, the state that it had, whether its round used a row."""

    __tablename__ = "unlearning_taint"
    task_id: str = Field(primary_key=True, foreign_key="unlearning_task.id")
    model_id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    state_before: str
    used: bool
