"""Whatever is sent to whichever operation: no 5xx, and answers as the OpenAPI document has them.

Requests are made from the document (schemathesis): well-formed ones, and ones that break it in
one place. Each is sent as a partner, an officer, a wallet or nobody, to the tenant at the root or
to another, with the names of things that exist in place of some of the invented ones.
"""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CheckFunction
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from tests.broker.builders import TENANT
from tests.faults.lengths import SOAK, short_or_long
from tests.faults.operations import (
    OTHER,
    ROLES,
    TIMEOUT,
    Operation,
    Served,
    described,
    name_what_exists,
    operations,
    pages,
)

EXAMPLES = short_or_long(8, 300)
# What an operation may answer although it is a 5xx: the specification of status lists asks for it.
ALLOWED = {("GET", "/status/{list_id}"): {501}}
DOCUMENTED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def attack(broker: Served, operation: Operation, *documented: CheckFunction, examples: int) -> int:
    """Send requests made for an operation; the number that was sent."""
    sent = 0
    allowed = ALLOWED.get((operation.method.upper(), operation.path), set())
    cases = {
        mode: operation.as_strategy(generation_mode=mode)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    }

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=not SOAK,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def send(draw: st.DataObject) -> None:
        nonlocal sent
        case = draw.draw(cases[draw.draw(st.sampled_from(list(cases)))])
        tenant_id = draw.draw(st.sampled_from((TENANT, OTHER)))
        name_what_exists(draw, case, broker.known)
        answer = case.call(
            base_url=broker.base(tenant_id),
            session=broker.session,
            headers=broker.headers(tenant_id, draw.draw(st.sampled_from(ROLES))),
            timeout=TIMEOUT,
            allow_redirects=False,
        )
        sent += 1
        assert answer.status_code < 500 or answer.status_code in allowed, answer.text
        if documented:
            case.validate_response(answer, checks=list(documented))

    send()
    return sent


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_operation_answers_as_documented(operated: Served, subtests: pytest.Subtests) -> None:
    for operation in operations(described(operated.address)):
        with subtests.test(operation.label):
            assert attack(operated, operation, *DOCUMENTED, examples=EXAMPLES) > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_page_fails(operated: Served, subtests: pytest.Subtests) -> None:
    for operation in operations(pages()):
        with subtests.test(operation.label):
            assert attack(operated, operation, examples=EXAMPLES) > 0
