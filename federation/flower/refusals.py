"""Why a member of a settings file takes no part in a round, and what cures it."""

from typing import Final

from federation.errors import FederationError, ParametersDiffer


class RowsDiffer(FederationError):
    """There are not as many rows as lines of consents: a place would be another customer's."""

    code = "rows_differ"


class AnswerUnderWay(FederationError):
    """An earlier answer of this campaign still goes on: two would spend one round's budget."""

    code = "answer_under_way"


class RoundRepeated(FederationError):
    """This round, or a later one, has been kept meanwhile: it is not trained on twice."""

    code = "round_repeated"


class CampaignFollowed(FederationError):
    """Another campaign does this one's rounds anew: two would spend one budget."""

    code = "campaign_followed"


CURES: Final = {
    "lists_unavailable": "the broker's status lists could not be had or are of before the round: "
    "is the broker reachable, is this machine's clock right?",
    "too_few_rows": "fewer rows with a consent than the campaign asks for",
    "business_lines_missing": "this stage trains on one business line: say in `lines` of your "
    "settings where the line of each row is, one a line in the rows' order",
    "business_lines_differ": "lines has another number of lines than consents: one for each row, "
    "in the rows' order, an empty one for a row of no business line",
    "board_disagrees": "the campaign is not signed by the board in your board file",
    "bundle_differs": "the application that runs is not in your bundles folder, or not the one "
    "that the campaign names",
    "round_repeated": "this round, or a later one, was trained on before: nothing to mend",
    "answer_under_way": "the training of an earlier round has not ended on this machine: the "
    "coordinator's patience is too short for it, or it hangs",
    "campaign_followed": "another campaign does the rounds of this one anew: nothing to mend",
    "rows_differ": "the application reads another number of rows than consents has lines: one line "
    "for each row, in the rows' order, an empty one for a row without a consent",
    "campaign_invalid": "the campaign's time, stage, round or members do not fit: is the clock "
    "right?",
    "broker_refused": "the broker did not give the key of the round: are you still admitted?",
    "settings_wrong": "something that your settings name is not there or cannot be read",
    "stage_shut": "the stage before is not shown to be passed",
    "parameters_differ": "the coordinator started the run with settings that the board did not "
    "sign: it starts it without them, or the board signs a campaign with them",
}
_SAYS_IT: Final = frozenset({"settings_wrong", "campaign_followed"})


def cure_of(error: FederationError) -> str:
    """What is told to the member of a refusal: the cure, and why where only its message says it."""
    cure = CURES.get(error.code, "")
    if error.code in _SAYS_IT:
        return str(error)[:500]
    return f"{error}; {cure}"[:500] if isinstance(error, ParametersDiffer) else cure
