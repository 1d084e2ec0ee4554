"""What partners have asked to be proven: for officers, and for each partner its own."""

import json
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import AnyCaller, Ctx
from broker.domain.proof_question import PERIOD_SECONDS
from broker.usecases import proof_question

router = APIRouter(tags=["proofs"])

DAY = 86_400


class ProofQuestionOut(BaseModel):
    """A statement that a partner has asked to be proven."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "partner": "p-3mTq",
                    "schema": "person/1",
                    "attribute": "birth_date",
                    "statement": {"type": "older_than", "years": 18},
                    "first_at": 1795000000,
                    "last_at": 1795600000,
                }
            ]
        }
    )
    partner: str
    schema_id: str = Field(alias="schema", description="The kind of credential.")
    attribute: str
    statement: dict[str, Any] = Field(description="An age without `on` was asked of the day.")
    first_at: int = Field(description="Unix seconds.")
    last_at: int = Field(description="Unix seconds, to a day.")


class ProofQuestionsOut(BaseModel):
    """The different statements of the last `days`, newest first, 1,000 at most."""

    allowed: int = Field(description="How many a partner may ask about one attribute.")
    days: int
    questions: list[ProofQuestionOut]


@router.get("/v1/proof-questions")
def get_proof_questions(ctx: Ctx, caller: AnyCaller) -> ProofQuestionsOut:
    """Which statements were asked to be proven: every partner's for officers, its own for each.

    The next one about an attribute of which as many were asked as are allowed is refused with
    `too_many_questions`; those that are here may be asked again.
    """
    own = caller.client_id if caller.role == "partner" else None
    found = proof_question.asked_by(ctx, caller.tenant_id, own)
    return ProofQuestionsOut(
        allowed=ctx.settings.proof_questions,
        days=PERIOD_SECONDS // DAY,
        questions=[
            ProofQuestionOut(
                partner=row.partner_id,
                schema=row.question.schema,
                attribute=row.question.attribute,
                statement=json.loads(row.question.statement),
                first_at=row.first_at,
                last_at=row.last_at,
            )
            for row in found
        ],
    )
