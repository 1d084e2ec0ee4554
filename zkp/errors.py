"""The one error family of this package.

Whatever bytes they are given, the parsers and checks of `zkp` raise a leaf of `ZkpError` and
nothing else. `code` is stable across releases. Messages say cause and cure and never hold an
attribute's value or a secret.
"""

from typing import ClassVar


class ZkpError(Exception):
    """Root of the family. Catch this to catch everything this package refuses."""

    code: ClassVar[str] = "zkp_error"


class Malformed(ZkpError):
    """The input is not in the form that it is said to be in."""

    code: ClassVar[str] = "malformed"


class TooLarge(ZkpError):
    """The input exceeds a cap on size or count; nothing was computed with it."""

    code: ClassVar[str] = "too_large"


class PointInvalid(ZkpError):
    """Bytes that are no point of the prime-order subgroup other than the identity, canonically."""

    code: ClassVar[str] = "point_invalid"


class ScalarInvalid(ZkpError):
    """Bytes that are no integer below the order of the group, in 32 bytes."""

    code: ClassVar[str] = "scalar_invalid"


class KeyInvalid(ZkpError):
    """A key that is none of this suite."""

    code: ClassVar[str] = "key_invalid"


class SignatureInvalid(ZkpError):
    """The signature is not one of this key over this header and these messages."""

    code: ClassVar[str] = "signature_invalid"


class ProofInvalid(ZkpError):
    """The proof does not show what it is said to show."""

    code: ClassVar[str] = "proof_invalid"


class SchemaInvalid(ZkpError):
    """A schema of attributes that cannot be one."""

    code: ClassVar[str] = "schema_invalid"


class AttributeInvalid(ZkpError):
    """A value that its attribute's type does not have, or that is out of its bounds."""

    code: ClassVar[str] = "attribute_invalid"


class StatementInvalid(ZkpError):
    """A statement that says nothing, contradicts another, or is of what is not there."""

    code: ClassVar[str] = "statement_invalid"


class StatementFalse(ZkpError):
    """The prover's own attributes do not have the property: there is nothing to prove."""

    code: ClassVar[str] = "statement_false"
