"""Credentials: keys, certificates, identifiers, SD-JWT VC, status lists, verification.

Pure functions over values: no clock (`now` is an argument, Unix seconds), no network, no
storage. `credentials.verify` is the only place that builds `Verified...` values, and every
refusal is a leaf of `CredentialError` with a stable `code`.
"""

from credentials.errors import CredentialError
from credentials.issue import issue_sd_jwt_vc
from credentials.keys import PublicKey, Signer, SoftwareKey, sign_jws, thumbprint, verify_jws
from credentials.model import StatusReference, VerifiedCredential, VerifiedPresentation
from credentials.pki import TrustedChain, create_root, issue_leaf, verify_chain, x5c
from credentials.sdjwt import UnverifiedPresentation, bind, parse, present
from credentials.sealing import MasterKey
from credentials.status import (
    StatusCheck,
    StatusList,
    StatusResolver,
    issue_status_token,
    verify_status_token,
)
from credentials.status_indexes import index_permutation
from credentials.verify import verify_credential, verify_presentation

__all__ = [
    "CredentialError",
    "MasterKey",
    "PublicKey",
    "Signer",
    "SoftwareKey",
    "StatusCheck",
    "StatusList",
    "StatusReference",
    "StatusResolver",
    "TrustedChain",
    "UnverifiedPresentation",
    "VerifiedCredential",
    "VerifiedPresentation",
    "bind",
    "create_root",
    "index_permutation",
    "issue_leaf",
    "issue_sd_jwt_vc",
    "issue_status_token",
    "parse",
    "present",
    "sign_jws",
    "thumbprint",
    "verify_chain",
    "verify_credential",
    "verify_jws",
    "verify_presentation",
    "verify_status_token",
    "x5c",
]
