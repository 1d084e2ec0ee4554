"""The published JSON Schema of proof requests says what the reader takes."""

import json
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator

from tests.zkp.test_statements import TRUE
from tests.zkp.world import request
from zkp.errors import ZkpError
from zkp.request import ProofRequest

SCHEMA = json.loads(files("zkp").joinpath("schemas/proof-request-1.json").read_text("utf-8"))


def test_it_takes_every_kind_of_statement() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    told = request(*TRUE.values()).to_json()
    Draft202012Validator(SCHEMA).validate(told)
    assert {one["type"] for one in told["statements"]} >= {"reveal", "between", "not_revoked"}


@pytest.mark.parametrize("number", range(len(TRUE)))
@pytest.mark.parametrize("spoil", ["more", "less", "type"])
def test_what_it_refuses_the_reader_refuses(number: int, spoil: str) -> None:
    told = request(*TRUE.values()).to_json()
    statement = told["statements"][number]
    if spoil == "more":
        statement["x"] = 1
    elif spoil == "less":
        del statement[sorted(statement)[-2]]
    else:
        statement["type"] = "unknown"
    assert not Draft202012Validator(SCHEMA).is_valid(told)
    with pytest.raises(ZkpError):
        ProofRequest.from_json(told)
