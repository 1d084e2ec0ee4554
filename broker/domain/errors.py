"""The broker's error family: each leaf has a stable `code`, which the API maps to a status.

A message names the cause and the cure and never holds personal data. Deny and a rejected
presentation are values, not errors: they are returned, and their audit entry commits.
"""

from typing import ClassVar


class BrokerError(Exception):
    """Something that a caller did or met, with a stable code."""

    code: ClassVar[str] = "error"


class InvalidTerms(BrokerError):
    """Terms, or a purpose's wire form, that cannot be read."""

    code = "invalid_terms"


class InvalidTemplate(BrokerError):
    """A consent template that its schema or the law's separations refuse."""

    code = "invalid_template"


class InvalidRequest(BrokerError):
    """A request that is understood and cannot be done as it stands."""

    code = "invalid_request"


class StatementShows(BrokerError):
    """A statement that, proven, would show the attribute: not for the broker to ask."""

    code = "statement_shows_attribute"


class TooManyQuestions(BrokerError):
    """A partner has asked so many different statements of an attribute already."""

    code = "too_many_questions"

    def __init__(self, schema: str, attribute: str, allowed: int) -> None:
        """`allowed` is how many a partner has within a year (`domain/proof_question.py`)."""
        super().__init__(
            f"you have asked {allowed} different statements about this attribute within a year, "
            "and more would find out what it hides: ask one of those again "
            "(GET /v1/proof-questions), or have the operator raise BROKER_PROOF_QUESTIONS"
        )
        self.schema, self.attribute, self.allowed = schema, attribute, allowed


class EpochNotCurrent(BrokerError):
    """That a credential is not revoked was asked for another epoch than it is."""

    code = "epoch_not_current"


class StateConflict(BrokerError):
    """The thing is not in the state that this act needs (or another act came first)."""

    code = "state_conflict"


class NotFound(BrokerError):
    """No such thing, or not the caller's: the two are not told apart."""

    code = "not_found"


class Gone(BrokerError):
    """It was there and is over: answered, expired or replaced."""

    code = "gone"


class Erased(Gone):
    """It was erased at the customer's wish; what the law still holds is not for this caller."""

    code = "erased"


class ReceiptInvalid(BrokerError):
    """A deletion receipt that does not hold; the message says what is wrong with it."""

    code = "deletion_receipt_invalid"


class Unauthorized(BrokerError):
    """No valid token."""

    code = "unauthorized"


class Forbidden(BrokerError):
    """A valid token of a role that may not do this."""

    code = "forbidden"


class IdempotencyConflict(BrokerError):
    """The same Idempotency-Key came with another request."""

    code = "idempotency_conflict"


class IdempotencyKeyRequired(BrokerError):
    """The call creates something, and must carry an Idempotency-Key so that a retry is safe."""

    code = "idempotency_key_required"


class IdempotencyInProgress(BrokerError):
    """The first call with this Idempotency-Key is still being answered."""

    code = "idempotency_in_progress"


class IdempotencyReplayed(BrokerError):
    """The call was done before, and its answer is lost: it held a secret, or its process died."""

    code = "idempotency_replayed"


class UnknownPurpose(BrokerError):
    """The purpose, algorithm or version is not registered with the tenant."""

    code = "unknown_purpose"


class UnknownAttribute(BrokerError):
    """The attribute is neither canonical nor one of the partner's own names."""

    code = "unknown_attribute"


class UnknownPartner(BrokerError):
    """The partner is not registered, or suspended."""

    code = "unknown_partner"


class UnknownVault(BrokerError):
    """There is no vault of this name."""

    code = "unknown_vault"


class NoSealingKey(BrokerError):
    """The partner has registered no key that wallets could seal to."""

    code = "no_sealing_key"


class ConsentNotLive(BrokerError):
    """The consent is not granted, or not in force now: nothing is put into a vault under it."""

    code = "consent_not_live"


class VaultUnreachable(BrokerError):
    """A vault does not answer, or refuses us; trying again may help."""

    code = "vault_unreachable"


class EnvelopeDamaged(BrokerError):
    """A vault gives no envelope, or another than was put into it."""

    code = "envelope_damaged"


class RangeNotSatisfiable(BrokerError):
    """The range that was asked for begins behind the end."""

    code = "range_not_satisfiable"


class TransferStopped(BrokerError):
    """What a transfer rested on has ended while it ran; the rest is not sent."""

    code = "transfer_stopped"


class LogUnavailable(BrokerError):
    """The audit log is rolled back or more than a minute behind: nothing may be granted."""

    code = "log_unavailable"


class LogError(BrokerError):
    """Something of the audit log that cannot be read, believed or continued."""

    code = "log_error"


class MalformedNote(LogError):
    """Bytes that are not a signed note, or a verifier key that is not one."""

    code = "log_note_malformed"


class UnverifiedNote(LogError):
    """A signed note without a good signature of a trusted key."""

    code = "log_note_unverified"


class MalformedCheckpoint(LogError):
    """A note whose text is not a checkpoint."""

    code = "log_checkpoint_malformed"


class MalformedProof(LogError):
    """A log proof that cannot be read, or sizes and indexes that no proof can have."""

    code = "log_proof_malformed"


class InvalidProof(LogError):
    """A log proof that does not lead to the root."""

    code = "log_proof_invalid"


class InvalidTilePath(LogError):
    """Not the address of a tile."""

    code = "log_tile_path_invalid"


class MalformedEntry(LogError):
    """An audit entry that cannot be read or written as canonical JSON."""

    code = "log_entry_malformed"


class UnreadableEntry(LogError):
    """A sealed audit entry that this key does not open, or that is not what the log holds."""

    code = "log_entry_unreadable"


class LogConflict(LogError):
    """Another sequencer advanced the log first; nothing was done."""

    code = "log_conflict"


class LogRolledBack(LogError):
    """The log does not extend the head signed last: nothing is signed, nothing permitted."""

    code = "log_rolled_back"


class WitnessRefused(LogError):
    """A witness has not cosigned a checkpoint; the message says what it answered."""

    code = "log_witness_refused"


class TimeStampInvalid(BrokerError):
    """Not a timestamp of this text by a trusted authority; the message says which step failed."""

    code = "timestamp_invalid"


class KeyDeviceUnavailable(BrokerError, OSError):
    """A key device does not sign; an OSError too, as of any device that does not answer."""

    code = "key_device_unavailable"


class AgentActionInvalid(BrokerError):
    """Not an action by a registered agent's key; the message names what is wrong."""

    code = "agent_action_invalid"


class BundleDamaged(BrokerError):
    """An evidence bundle whose bytes are not what was handed out; the message says where."""

    code = "bundle_damaged"


class InvalidTrust(BrokerError):
    """A trust file that cannot be read."""

    code = "invalid_trust"


class EvidenceInvalid(BrokerError):
    """Evidence that does not hold together; the message names what."""

    code = "evidence_invalid"


class BackupInvalid(BrokerError):
    """A backup that is damaged, of another version, or sealed under another master key."""

    code = "backup_invalid"


class BackupRefused(BrokerError):
    """A backup or a restore that cannot be done as things stand; the message says what to do."""

    code = "backup_refused"


class InvalidPolicies(BrokerError):
    """Policies that do not parse, do not fit their schema, or lack what a reason is made of."""

    code = "invalid_policies"


class OutgoingError(BrokerError):
    """A request to somebody else that was not made or not answered; `reason` says which rule.

    `reason` is one short, stable word. Neither it nor the message holds anything of the answer.
    """

    code = "fetch_error"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class FetchRefused(OutgoingError):
    """Our rules forbid the address or the answer; asking again changes nothing."""

    code = "fetch_refused"


class FetchFailed(OutgoingError):
    """The other side could not be reached, was too slow, or answered with an error."""

    code = "fetch_failed"
