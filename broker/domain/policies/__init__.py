"""The texts of the broker's Cedar policies and of the schema that they are validated against."""

from importlib.resources import files

CONSENT_POLICIES = files(__name__).joinpath("consent.cedar").read_text(encoding="utf-8")
CONSENT_SCHEMA = files(__name__).joinpath("consent.cedarschema").read_text(encoding="utf-8")

__all__ = ["CONSENT_POLICIES", "CONSENT_SCHEMA"]
