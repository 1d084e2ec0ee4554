"""For the demonstration: a registry that attests a date of birth, and the question about it."""

import datetime as dt
from typing import Any

from credentials.jcs import b64url
from wallet_adapters.loopback import HeldAttributes
from zkp import TYPED, Attribute, HeldCredential, Schema, SecretKey, sign

PERSON = Schema("person/1", (Attribute("birth_date", "date"),))
ADULT_YEARS = 18


def attested(issuer: str, birth_date: str) -> tuple[HeldAttributes, str]:
    """A credential of a date of birth, by a key of its own, and that key (base64url)."""
    key = SecretKey.generate()
    header, values = PERSON.header(issuer), {"birth_date": birth_date}
    signature = sign(key, header, PERSON.scalars(values), TYPED)
    held = HeldCredential(key.public, header, signature, values)
    return HeldAttributes.of(held), b64url(key.public.data)


def adult(template: str, subject_ref: str, issuer: str, key: str, now: int) -> dict[str, Any]:
    """The body of a proof request: 18 or older today (UTC), by this issuer's word."""
    today = dt.datetime.fromtimestamp(now, dt.UTC).date().isoformat()
    return {
        "template": template,
        "subject_ref": subject_ref,
        "credentials": {
            "person": {"schema": PERSON.id, "issuers": [{"issuer": issuer, "key": key}]}
        },
        "statements": [
            {
                "type": "older_than",
                "credential": "person",
                "attribute": "birth_date",
                "years": ADULT_YEARS,
                "on": today,
            }
        ],
    }
