"""The published JSON Schemas, as text."""

from importlib.resources import files

CONSENT_TEMPLATE = files(__name__).joinpath("consent-template-1.json").read_text(encoding="utf-8")
SUBJECT_EXPORT = files(__name__).joinpath("subject-export-1.json").read_text(encoding="utf-8")
CONSENT_RECORD = files(__name__).joinpath("consent-record-1.json").read_text(encoding="utf-8")
RECORD_CONTEXT = files(__name__).joinpath("consent-record-1.jsonld").read_text(encoding="utf-8")
DECISIONS_FACET = (
    files(__name__).joinpath("openlineage-decisions-facet-1.json").read_text(encoding="utf-8")
)

__all__ = [
    "CONSENT_RECORD",
    "CONSENT_TEMPLATE",
    "DECISIONS_FACET",
    "RECORD_CONTEXT",
    "SUBJECT_EXPORT",
]
