"""The tables, for migrations and for `store/`'s statements; nothing else uses them.

Times are Unix seconds (UTC). `sealed` columns are encrypted under the master key with the row's
own context, so that a value moved to another row does not open. Hashes are base64url text.
A `version` column counts changes to a row: a decision compares it inside its transaction.
"""

from broker.store.tables.agents import Agent, AgentAct
from broker.store.tables.attributes import AttributeOffer, AttributeType, TrustedIssuer
from broker.store.tables.base import metadata
from broker.store.tables.clients import (
    AccessToken,
    Authorization,
    Coordinator,
    Idempotency,
    KeyGeneration,
    Officer,
    Partner,
    Secret,
    SigningKey,
    Tenant,
    UsedOnce,
)
from broker.store.tables.consents import (
    Consent,
    ConsentRequest,
    Evidence,
    IssuedCredential,
    PresentationRequest,
    ServedRequest,
)
from broker.store.tables.customers import (
    Contact,
    CredentialCopy,
    DeferredIssuance,
    Invitation,
    StatusListRow,
    Subject,
)
from broker.store.tables.data_requests import DataAnswer, DataRequest
from broker.store.tables.data_sources import DataSource, Trial
from broker.store.tables.events import (
    Delivery,
    EventSource,
    IncomingEvent,
    OutgoingEvent,
    Webhook,
)
from broker.store.tables.federation import (
    Campaign,
    CampaignSalt,
    FederationMember,
    JoinRequest,
    Membership,
    ModelVersion,
    TrainingReceipt,
    TrainingRound,
    UnlearningSearch,
    UnlearningTaint,
    UnlearningTask,
)
from broker.store.tables.fees import FeeCharge
from broker.store.tables.log import (
    AuditEntry,
    AuditPending,
    CheckpointRow,
    CheckpointTime,
    LogHead,
    LogTile,
)
from broker.store.tables.proofs import ProofQuestion, ProofRequest
from broker.store.tables.registry import (
    Algorithm,
    Attribute,
    AttributeMapping,
    OwnValue,
    PolicySet,
    Purpose,
    Template,
)
from broker.store.tables.rights import DeletionTask, Erasure
from broker.store.tables.schema import SchemaSupport
from broker.store.tables.transfers import TransferCount, TransferMechanism, TransferSubject
from broker.store.tables.vault import Envelope, SealingKey

__all__ = [
    "AccessToken",
    "Agent",
    "AgentAct",
    "Algorithm",
    "Attribute",
    "AttributeMapping",
    "AttributeOffer",
    "AttributeType",
    "AuditEntry",
    "AuditPending",
    "Authorization",
    "Campaign",
    "CampaignSalt",
    "CheckpointRow",
    "CheckpointTime",
    "Consent",
    "ConsentRequest",
    "Contact",
    "Coordinator",
    "CredentialCopy",
    "DataAnswer",
    "DataRequest",
    "DataSource",
    "DeferredIssuance",
    "DeletionTask",
    "Delivery",
    "Envelope",
    "Erasure",
    "EventSource",
    "Evidence",
    "FederationMember",
    "FeeCharge",
    "Idempotency",
    "IncomingEvent",
    "Invitation",
    "IssuedCredential",
    "JoinRequest",
    "KeyGeneration",
    "LogHead",
    "LogTile",
    "Membership",
    "ModelVersion",
    "Officer",
    "OutgoingEvent",
    "OwnValue",
    "Partner",
    "PolicySet",
    "PresentationRequest",
    "ProofQuestion",
    "ProofRequest",
    "Purpose",
    "SchemaSupport",
    "SealingKey",
    "Secret",
    "ServedRequest",
    "SigningKey",
    "StatusListRow",
    "Subject",
    "Template",
    "Tenant",
    "TrainingReceipt",
    "TrainingRound",
    "TransferCount",
    "TransferMechanism",
    "TransferSubject",
    "Trial",
    "TrustedIssuer",
    "UnlearningSearch",
    "UnlearningTaint",
    "UnlearningTask",
    "UsedOnce",
    "Webhook",
    "metadata",
]
