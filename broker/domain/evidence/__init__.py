"""An evidence bundle: what is in it, and how anybody checks it with no server and no network.

The files of the canonical zip (`bundle.py`):

    README.txt                      what this is and how to check it, Chinese and English
    manifest.jws                    all other files with their SHA-256, signed by the issuer
    terms.json                      the terms, canonical JSON: what was signed
    notice.json                     the template that the customer was shown, canonical JSON
    grant/, guardian/, withdrawal/  details.json, presentation.txt, request-object-NN.jwt
    credential/consent.txt, receipt.txt
    log/checkpoint.txt              the log's signed head
    log/NNN.json, NNN.tlog-proof    each log entry of the period with its salt and its proof
    log/time/NNN.tsr, .checkpoint   somebody else's timestamp on an earlier head, if there are any
    origin.json                     the roots and log key that the broker claims, not believed

`guardian/` is there where a minor and the guardian have both signed; a guardian who signed alone is
in grant/, as the terms say. A partner's bundle leaves out grant/, guardian/, withdrawal/ and the
receipt: it holds their hashes, in the credential and in the log. How it evolves: `schema` in the
manifest counts up; what is not known is refused, a file no less than a schema.
"""

from broker.domain.evidence.opened import MANIFEST_TYPE, REISSUED_SCHEMA, SCHEMA
from broker.domain.evidence.verify import Check, Report, verify_evidence
from broker.domain.word import file_hash

__all__ = [
    "MANIFEST_TYPE",
    "REISSUED_SCHEMA",
    "SCHEMA",
    "Check",
    "Report",
    "file_hash",
    "verify_evidence",
]
