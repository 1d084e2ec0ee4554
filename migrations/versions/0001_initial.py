"""The first schema: tenants, clients, consents, credentials, evidence and the append-only log."""

import sqlalchemy as sa
from alembic import op

from broker.store import append_only

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table, and let the database refuse changes to the log."""
    op.create_table(
        "audit_entry",
        sa.Column(
            "log_index",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("consent_id", sa.String(), nullable=True),
        sa.Column("subject_id", sa.String(), nullable=True),
        sa.Column("leaf_data", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_audit_entry")),
        sa.UniqueConstraint("id", name=op.f("uq_audit_entry_id")),
    )
    op.create_index(
        "ix_audit_entry_consent", "audit_entry", ["consent_id", "log_index"], unique=False
    )
    op.create_index(
        "ix_audit_entry_subject", "audit_entry", ["subject_id", "log_index"], unique=False
    )
    op.create_table(
        "audit_pending",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("consent_id", sa.String(), nullable=True),
        sa.Column("subject_id", sa.String(), nullable=True),
        sa.Column("leaf_data", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_pending")),
        sa.UniqueConstraint("id", name=op.f("uq_audit_pending_id")),
    )
    op.create_table(
        "checkpoint",
        sa.Column(
            "size",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_checkpoint")),
    )
    op.create_table(
        "checkpoint_time",
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('rfc3161', 'witness')", name=op.f("ck_checkpoint_time_kind_known")
        ),
        sa.PrimaryKeyConstraint("size", "kind", "source", name=op.f("pk_checkpoint_time")),
    )
    op.create_index(
        "ix_checkpoint_time_source", "checkpoint_time", ["kind", "source", "size"], unique=False
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("key_hash", sa.String(), nullable=False),
        sa.Column("request_hash", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "client_id", "key_hash", name=op.f("pk_idempotency")),
    )
    op.create_index(op.f("ix_idempotency_expires_at"), "idempotency", ["expires_at"], unique=False)
    op.create_table(
        "log_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_head")),
    )
    op.create_table(
        "log_tile",
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.Column("nodes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name=op.f("pk_log_tile")),
    )
    op.create_table(
        "secret",
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("label", name=op.f("pk_secret")),
    )
    op.create_table(
        "tenant",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name_zh", sa.String(), nullable=False),
        sa.Column("name_en", sa.String(), nullable=False),
        sa.Column("contact", sa.String(), nullable=False),
        sa.Column("country", sa.String(), nullable=False),
        sa.Column("kill_switch", sa.Boolean(), nullable=False),
        sa.Column("policy_version", sa.String(), nullable=False),
        sa.Column("sealed_log_key", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
    )
    op.create_table(
        "used_once",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("value_hash", sa.String(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "value_hash", name=op.f("pk_used_once")),
    )
    op.create_index(op.f("ix_used_once_expires_at"), "used_once", ["expires_at"], unique=False)
    op.create_table(
        "access_token",
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "role IN ('partner', 'officer', 'wallet')", name=op.f("ck_access_token_role_known")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_access_token_tenant_id")
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_access_token")),
    )
    op.create_index(op.f("ix_access_token_subject"), "access_token", ["subject"], unique=False)
    op.create_table(
        "algorithm",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("algorithm_version", sa.String(), nullable=False),
        sa.Column("purpose_id", sa.String(), nullable=False),
        sa.Column("label_zh", sa.String(), nullable=False),
        sa.Column("label_en", sa.String(), nullable=False),
        sa.Column("explanation_zh", sa.Text(), nullable=False),
        sa.Column("explanation_en", sa.Text(), nullable=False),
        sa.Column("risk_tier", sa.String(), nullable=False),
        sa.Column("automated_decision", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("kill_switch", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "risk_tier IN ('minimal', 'limited', 'high')", name=op.f("ck_algorithm_risk_tier_known")
        ),
        sa.CheckConstraint(
            "state IN ('registered', 'retired')", name=op.f("ck_algorithm_state_known")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_algorithm_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", "algorithm_version", name=op.f("pk_algorithm")),
    )
    op.create_table(
        "attribute",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("label_zh", sa.String(), nullable=False),
        sa.Column("label_en", sa.String(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("value_type", sa.String(), nullable=False),
        sa.Column("sensitive", sa.Boolean(), nullable=False),
        sa.Column("stored_in", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_attribute_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_attribute")),
    )
    op.create_table(
        "officer",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("jwk", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'suspended')", name=op.f("ck_officer_state_known")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_officer_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_officer")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_officer_tenant_id_name")),
    )
    op.create_table(
        "partner",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("name_zh", sa.String(), nullable=False),
        sa.Column("contact", sa.String(), nullable=False),
        sa.Column("country", sa.String(), nullable=False),
        sa.Column("jwk", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("kill_switch", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'suspended')", name=op.f("ck_partner_state_known")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_partner_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_partner")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_partner_tenant_id_name")),
    )
    op.create_table(
        "purpose",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("label_zh", sa.String(), nullable=False),
        sa.Column("label_en", sa.String(), nullable=False),
        sa.Column("necessary_for_service", sa.Boolean(), nullable=False),
        sa.Column("kill_switch", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_purpose_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_purpose")),
    )
    op.create_table(
        "signing_key",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=True),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("alg", sa.String(), nullable=False),
        sa.Column("public_jwk", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "purpose IN ('root', 'issuer', 'request', 'log')",
            name=op.f("ck_signing_key_purpose_known"),
        ),
        sa.CheckConstraint(
            "state IN ('active', 'retired', 'compromised')", name=op.f("ck_signing_key_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_signing_key_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_key")),
    )
    op.create_index(
        "ix_signing_key_use", "signing_key", ["tenant_id", "purpose", "state"], unique=False
    )
    op.create_table(
        "subject",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("sealed_log_key", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_subject_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subject")),
    )
    op.create_index(op.f("ix_subject_tenant_id"), "subject", ["tenant_id"], unique=False)
    op.create_table(
        "template",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_template_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", "version", name=op.f("pk_template")),
    )
    op.create_table(
        "attribute_mapping",
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("field", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("attribute_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_attribute_mapping_partner_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_attribute_mapping_tenant_id")
        ),
        sa.PrimaryKeyConstraint("partner_id", "field", name=op.f("pk_attribute_mapping")),
    )
    op.create_table(
        "contact",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("subject_ref_hash", sa.String(), nullable=False),
        sa.Column("sealed_subject_ref", sa.LargeBinary(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=True),
        sa.Column("grade", sa.String(), nullable=False),
        sa.Column("bound_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "grade IN ('none', 'link', 'code', 'verified_person')",
            name=op.f("ck_contact_grade_known"),
        ),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_contact_partner_id")),
        sa.ForeignKeyConstraint(["subject_id"], ["subject.id"], name=op.f("fk_contact_subject_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_contact_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact")),
        sa.UniqueConstraint(
            "partner_id", "subject_ref_hash", name=op.f("uq_contact_partner_id_subject_ref_hash")
        ),
    )
    op.create_index("ix_contact_subject", "contact", ["subject_id", "partner_id"], unique=False)
    op.create_table(
        "status_list",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("allocated", sa.Integer(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("published_revision", sa.Integer(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("published_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_status_list_partner_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_status_list_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_status_list")),
    )
    op.create_index(op.f("ix_status_list_partner_id"), "status_list", ["partner_id"], unique=False)
    op.create_table(
        "consent_request",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("contact_id", sa.String(), nullable=False),
        sa.Column("template_id", sa.String(), nullable=False),
        sa.Column("template_version", sa.Integer(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("page_token_hash", sa.String(), nullable=False),
        sa.Column("short_code", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'answered', 'refused', 'expired')",
            name=op.f("ck_consent_request_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contact.id"], name=op.f("fk_consent_request_contact_id")
        ),
        sa.ForeignKeyConstraint(
            ["partner_id"], ["partner.id"], name=op.f("fk_consent_request_partner_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_consent_request_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_request")),
        sa.UniqueConstraint("page_token_hash", name=op.f("uq_consent_request_page_token_hash")),
    )
    op.create_index("ix_consent_request_contact", "consent_request", ["contact_id"], unique=False)
    op.create_table(
        "invitation",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("contact_id", sa.String(), nullable=False),
        sa.Column("grade", sa.String(), nullable=False),
        sa.Column("code_hash", sa.String(), nullable=False),
        sa.Column("sealed_code", sa.LargeBinary(), nullable=True),
        sa.Column("tx_code_hash", sa.String(), nullable=True),
        sa.Column("tx_code_failures", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=True),
        sa.Column("rebinding", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("approval", sa.String(), nullable=False),
        sa.CheckConstraint(
            "approval IN ('none', 'waiting', 'given', 'refused')",
            name=op.f("ck_invitation_approval_known"),
        ),
        sa.CheckConstraint(
            "state IN ('open', 'redeemed', 'expired', 'locked')",
            name=op.f("ck_invitation_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contact.id"], name=op.f("fk_invitation_contact_id")
        ),
        sa.ForeignKeyConstraint(
            ["subject_id"], ["subject.id"], name=op.f("fk_invitation_subject_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_invitation_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitation")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_invitation_code_hash")),
    )
    op.create_index(op.f("ix_invitation_contact_id"), "invitation", ["contact_id"], unique=False)
    op.create_table(
        "credential_copy",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("invitation_id", sa.String(), nullable=False),
        sa.Column("holder_thumbprint", sa.String(), nullable=False),
        sa.Column("grade", sa.String(), nullable=False),
        sa.Column("status_list_id", sa.String(), nullable=False),
        sa.Column("status_index", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('active', 'superseded')", name=op.f("ck_credential_copy_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["invitation_id"], ["invitation.id"], name=op.f("fk_credential_copy_invitation_id")
        ),
        sa.ForeignKeyConstraint(
            ["subject_id"], ["subject.id"], name=op.f("fk_credential_copy_subject_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_credential_copy_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential_copy")),
        sa.UniqueConstraint("holder_thumbprint", name=op.f("uq_credential_copy_holder_thumbprint")),
    )
    op.create_index(
        "ix_credential_copy_ended",
        "credential_copy",
        ["status_list_id"],
        unique=False,
        sqlite_where=sa.text("state = 'superseded'"),
        postgresql_where=sa.text("state = 'superseded'"),
    )
    op.create_index(
        op.f("ix_credential_copy_subject_id"), "credential_copy", ["subject_id"], unique=False
    )
    op.create_table(
        "deferred_issuance",
        sa.Column("transaction_hash", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("invitation_id", sa.String(), nullable=False),
        sa.Column("holder_keys", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["invitation_id"], ["invitation.id"], name=op.f("fk_deferred_issuance_invitation_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_deferred_issuance_tenant_id")
        ),
        sa.PrimaryKeyConstraint("transaction_hash", name=op.f("pk_deferred_issuance")),
    )
    op.create_index(
        op.f("ix_deferred_issuance_expires_at"), "deferred_issuance", ["expires_at"], unique=False
    )
    op.create_index(
        op.f("ix_deferred_issuance_invitation_id"),
        "deferred_issuance",
        ["invitation_id"],
        unique=False,
    )
    op.create_table(
        "wallet_authorization",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("invitation_id", sa.String(), nullable=False),
        sa.Column("request_uri_hash", sa.String(), nullable=False),
        sa.Column("code_hash", sa.String(), nullable=True),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("wallet_state", sa.Text(), nullable=True),
        sa.Column("code_challenge", sa.String(), nullable=False),
        sa.Column("thumbprint", sa.String(), nullable=True),
        sa.Column("by_details", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('pushed', 'agreed', 'refused', 'spent')",
            name=op.f("ck_wallet_authorization_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["invitation_id"], ["invitation.id"], name=op.f("fk_wallet_authorization_invitation_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_wallet_authorization_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wallet_authorization")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_wallet_authorization_code_hash")),
        sa.UniqueConstraint(
            "request_uri_hash", name=op.f("uq_wallet_authorization_request_uri_hash")
        ),
    )
    op.create_index(
        op.f("ix_wallet_authorization_expires_at"),
        "wallet_authorization",
        ["expires_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_wallet_authorization_invitation_id"),
        "wallet_authorization",
        ["invitation_id"],
        unique=False,
    )
    op.create_table(
        "consent",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("partner_id", sa.String(), nullable=False),
        sa.Column("contact_id", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("item", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("terms_hash", sa.String(), nullable=False),
        sa.Column("grade", sa.String(), nullable=True),
        sa.Column("signed_copy_id", sa.String(), nullable=True),
        sa.Column("valid_from", sa.BigInteger(), nullable=True),
        sa.Column("valid_until", sa.BigInteger(), nullable=True),
        sa.Column("uses_left", sa.Integer(), nullable=True),
        sa.Column("refuses_automated_decisions", sa.Boolean(), nullable=False),
        sa.Column("status_list_id", sa.String(), nullable=True),
        sa.Column("status_index", sa.Integer(), nullable=True),
        sa.Column("withdrawal_grade", sa.String(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('requested', 'granted', 'refused', 'withdrawn', 'expired', 'superseded')",
            name=op.f("ck_consent_state_known"),
        ),
        sa.ForeignKeyConstraint(["contact_id"], ["contact.id"], name=op.f("fk_consent_contact_id")),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_consent_partner_id")),
        sa.ForeignKeyConstraint(
            ["request_id"], ["consent_request.id"], name=op.f("fk_consent_request_id")
        ),
        sa.ForeignKeyConstraint(
            ["signed_copy_id"], ["credential_copy.id"], name=op.f("fk_consent_signed_copy_id")
        ),
        sa.ForeignKeyConstraint(["subject_id"], ["subject.id"], name=op.f("fk_consent_subject_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_consent_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent")),
    )
    op.create_index(
        "ix_consent_decision", "consent", ["partner_id", "contact_id", "state"], unique=False
    )
    op.create_index(
        "ix_consent_ended",
        "consent",
        ["status_list_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('withdrawn', 'superseded')"),
        postgresql_where=sa.text("state IN ('withdrawn', 'superseded')"),
    )
    op.create_index("ix_consent_expiry", "consent", ["state", "valid_until"], unique=False)
    op.create_index(op.f("ix_consent_request_id"), "consent", ["request_id"], unique=False)
    op.create_index("ix_consent_subject", "consent", ["subject_id"], unique=False)
    op.create_table(
        "evidence",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("consent_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("kept_until", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('grant', 'withdrawal')", name=op.f("ck_evidence_kind_known")),
        sa.ForeignKeyConstraint(
            ["consent_id"], ["consent.id"], name=op.f("fk_evidence_consent_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_evidence_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
    )
    op.create_index(op.f("ix_evidence_consent_id"), "evidence", ["consent_id"], unique=False)
    op.create_table(
        "issued_credential",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("consent_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('consent', 'receipt')", name=op.f("ck_issued_credential_kind_known")
        ),
        sa.ForeignKeyConstraint(
            ["consent_id"], ["consent.id"], name=op.f("fk_issued_credential_consent_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_issued_credential_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issued_credential")),
        sa.UniqueConstraint(
            "consent_id", "kind", name=op.f("uq_issued_credential_consent_id_kind")
        ),
    )
    op.create_table(
        "presentation_request",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("consent_request_id", sa.String(), nullable=False),
        sa.Column("consent_id", sa.String(), nullable=True),
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("response_code_hash", sa.String(), nullable=True),
        sa.Column("rejections", sa.Integer(), nullable=False),
        sa.Column("session_hash", sa.String(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('consent', 'withdrawal')", name=op.f("ck_presentation_request_kind_known")
        ),
        sa.CheckConstraint(
            "state IN ('open', 'answered', 'refused', 'replaced')",
            name=op.f("ck_presentation_request_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["consent_id"], ["consent.id"], name=op.f("fk_presentation_request_consent_id")
        ),
        sa.ForeignKeyConstraint(
            ["consent_request_id"],
            ["consent_request.id"],
            name=op.f("fk_presentation_request_consent_request_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_presentation_request_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_presentation_request")),
    )
    op.create_index(
        op.f("ix_presentation_request_consent_request_id"),
        "presentation_request",
        ["consent_request_id"],
        unique=False,
    )
    op.create_table(
        "served_request",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("presentation_request_id", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("served_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["presentation_request_id"],
            ["presentation_request.id"],
            name=op.f("fk_served_request_presentation_request_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_served_request_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_served_request")),
    )
    op.create_index(
        op.f("ix_served_request_presentation_request_id"),
        "served_request",
        ["presentation_request_id"],
        unique=False,
    )
    # ### end Alembic commands ###
    for statement in append_only.create(op.get_bind().dialect.name):
        op.execute(statement)


def downgrade() -> None:
    """Drop everything."""
    for statement in append_only.drop(op.get_bind().dialect.name):
        op.execute(statement)
    op.drop_index(op.f("ix_served_request_presentation_request_id"), table_name="served_request")
    op.drop_table("served_request")
    op.drop_index(
        op.f("ix_presentation_request_consent_request_id"), table_name="presentation_request"
    )
    op.drop_table("presentation_request")
    op.drop_table("issued_credential")
    op.drop_index(op.f("ix_evidence_consent_id"), table_name="evidence")
    op.drop_table("evidence")
    op.drop_index("ix_consent_subject", table_name="consent")
    op.drop_index(op.f("ix_consent_request_id"), table_name="consent")
    op.drop_index("ix_consent_expiry", table_name="consent")
    op.drop_index(
        "ix_consent_ended",
        table_name="consent",
        sqlite_where=sa.text("state IN ('withdrawn', 'superseded')"),
        postgresql_where=sa.text("state IN ('withdrawn', 'superseded')"),
    )
    op.drop_index("ix_consent_decision", table_name="consent")
    op.drop_table("consent")
    op.drop_index(op.f("ix_wallet_authorization_invitation_id"), table_name="wallet_authorization")
    op.drop_index(op.f("ix_wallet_authorization_expires_at"), table_name="wallet_authorization")
    op.drop_table("wallet_authorization")
    op.drop_index(op.f("ix_deferred_issuance_invitation_id"), table_name="deferred_issuance")
    op.drop_index(op.f("ix_deferred_issuance_expires_at"), table_name="deferred_issuance")
    op.drop_table("deferred_issuance")
    op.drop_index(op.f("ix_credential_copy_subject_id"), table_name="credential_copy")
    op.drop_index(
        "ix_credential_copy_ended",
        table_name="credential_copy",
        sqlite_where=sa.text("state = 'superseded'"),
        postgresql_where=sa.text("state = 'superseded'"),
    )
    op.drop_table("credential_copy")
    op.drop_index(op.f("ix_invitation_contact_id"), table_name="invitation")
    op.drop_table("invitation")
    op.drop_index("ix_consent_request_contact", table_name="consent_request")
    op.drop_table("consent_request")
    op.drop_index(op.f("ix_status_list_partner_id"), table_name="status_list")
    op.drop_table("status_list")
    op.drop_index("ix_contact_subject", table_name="contact")
    op.drop_table("contact")
    op.drop_table("attribute_mapping")
    op.drop_table("template")
    op.drop_index(op.f("ix_subject_tenant_id"), table_name="subject")
    op.drop_table("subject")
    op.drop_index("ix_signing_key_use", table_name="signing_key")
    op.drop_table("signing_key")
    op.drop_table("purpose")
    op.drop_table("partner")
    op.drop_table("officer")
    op.drop_table("attribute")
    op.drop_table("algorithm")
    op.drop_index(op.f("ix_access_token_subject"), table_name="access_token")
    op.drop_table("access_token")
    op.drop_index(op.f("ix_used_once_expires_at"), table_name="used_once")
    op.drop_table("used_once")
    op.drop_table("tenant")
    op.drop_table("secret")
    op.drop_table("log_tile")
    op.drop_table("log_head")
    op.drop_index(op.f("ix_idempotency_expires_at"), table_name="idempotency")
    op.drop_table("idempotency")
    op.drop_index("ix_checkpoint_time_source", table_name="checkpoint_time")
    op.drop_table("checkpoint_time")
    op.drop_table("checkpoint")
    op.drop_table("audit_pending")
    op.drop_index("ix_audit_entry_subject", table_name="audit_entry")
    op.drop_index("ix_audit_entry_consent", table_name="audit_entry")
    op.drop_table("audit_entry")
    # ### end Alembic commands ###
