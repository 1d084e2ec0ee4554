"""AnonCreds, run in an environment of its own: prove that somebody is 18 or older, and check it.

Each line says what to do how often, like `verify 3`; the answer is milliseconds of processor time
for one call, or bytes for `bytes 1`.
"""

import sys
import time

import anoncreds

NAMES = [
    *("birth_date", "name", "city", "income"),
    *("balance", "revocation_id", "employer", "country"),
]
SCHEMA, DEFINITION, ISSUER = "did:example:schema", "did:example:definition", "did:example:issuer"


def main() -> None:
    """Issue a credential of eight attributes once; then measure whenever asked."""
    schema = anoncreds.Schema.create("person", "1", ISSUER, NAMES)
    definition, secret, correctness = anoncreds.CredentialDefinition.create(
        SCHEMA, schema, ISSUER, "1", "CL"
    )
    link = anoncreds.create_link_secret()
    offer = anoncreds.CredentialOffer.create(SCHEMA, DEFINITION, correctness)
    asked, metadata = anoncreds.CredentialRequest.create("e", None, definition, link, "l", offer)
    values = dict.fromkeys(NAMES, "7") | {"birth_date": "20081126"}
    issued = anoncreds.Credential.create(definition, secret, offer, asked, values)
    credential = issued.process(metadata, link, definition)
    predicate = {"name": "birth_date", "p_type": "<=", "p_value": 20081126}
    request = anoncreds.PresentationRequest.load(
        {
            "nonce": anoncreds.generate_nonce(),
            "name": "18 or older",
            "version": "1",
            "requested_attributes": {},
            "requested_predicates": {"older": predicate},
        }
    )
    schemas, definitions = {SCHEMA: schema}, {DEFINITION: definition}

    def prove() -> anoncreds.Presentation:
        shown = anoncreds.PresentCredentials()
        shown.add_predicates(credential, "older")
        return anoncreds.Presentation.create(request, shown, None, link, schemas, definitions)

    made = prove()

    def verify() -> None:
        if not made.verify(request, schemas, definitions):
            raise SystemExit("its own proof does not verify")

    for line in sys.stdin:
        what, calls = line.split()
        if what == "bytes":
            print(len(made.to_json()), flush=True)
            continue
        act = {"prove": prove, "verify": verify}[what]
        start = time.process_time()
        for _ in range(int(calls)):
            act()
        print((time.process_time() - start) * 1000 / int(calls), flush=True)


main()
