"""The form of step 2: what was ticked, and what is missing for it to work."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from starlette.datastructures import FormData

from broker.web.languages import Language
from broker.web.views import Answer, ConsentView, WhatView

SHARE, ANSWER = "share:", "answer:"


@dataclass(frozen=True)
class Choice:
    """What the customer ticked: attributes by consent, of consents with any; and the form again.

    `again` is the step as it was sent, with what is missing; None when it can go on.
    """

    chosen: Mapping[str, tuple[str, ...]]
    again: WhatView | None


def read_choice(form: FormData, view: WhatView, spoken: Language) -> Choice:
    """Read a posted form against what was asked; what was not asked for is ignored.

    An ordinary card shares what is ticked on it. A separate card shares nothing unless it is
    agreed to; agreeing covers what it needs, and its optional attributes as ticked.
    """
    chosen: dict[str, tuple[str, ...]] = {}
    consents = []
    for consent in view.request.consents:
        ticked = set(map(str, form.getlist(SHARE + consent.id)))
        answer = _answer(form, consent)
        shared = _shared(consent, ticked, answer)
        lacking = [one.label for one in consent.attributes if one.required and one.id not in shared]
        if answer == "agree" and not shared:
            lacking = [one.label for one in consent.attributes]
        if shared:
            chosen[consent.id] = shared
        elif answer != "agree":
            lacking = []
        consents.append(
            replace(
                consent,
                attributes=tuple(
                    replace(one, ticked=one.id in ticked) for one in consent.attributes
                ),
                answer=answer,
                missing=spoken.listed(lacking),
            )
        )
    request = replace(view.request, consents=tuple(consents))
    if any(consent.missing for consent in consents):
        return Choice(chosen, WhatView(request, "missing"))
    if not chosen:
        return Choice(chosen, WhatView(request, "nothing_ticked"))
    return Choice(chosen, None)


def _answer(form: FormData, consent: ConsentView) -> Answer | None:
    match form.get(ANSWER + consent.id):
        case "agree" if consent.kind != "ordinary":
            return "agree"
        case "refuse" if consent.kind != "ordinary":
            return "refuse"
        case _:
            return None


def _shared(consent: ConsentView, ticked: set[str], answer: Answer | None) -> tuple[str, ...]:
    if consent.kind == "ordinary":
        return tuple(one.id for one in consent.attributes if one.id in ticked)
    if answer != "agree":
        return ()
    return tuple(one.id for one in consent.attributes if one.required or one.id in ticked)
