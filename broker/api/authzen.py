"""AuthZEN 1.0 on the wire: strict where it says must, lenient elsewhere.

Unknown fields are ignored, `context` is optional, a missing required field is refused. Read by
hand: a decision takes less time than a validating model of its request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import orjson

from broker.domain.access import Question
from broker.domain.access_request import Denial
from broker.domain.errors import InvalidRequest, InvalidTerms
from broker.domain.fee import DeclaredValue, read_value
from broker.domain.own_attribute import read_own
from broker.domain.terms import parse_purpose

LONGEST_TEXT = 1024
MOST_EVALUATIONS = 100
USUAL, MOST_RESULTS = 50, 100
PARTS = ("subject", "action", "resource", "context")
Kind = Literal["subject", "resource", "action"]
Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation: the question, and which partner its subject is (empty: none that we know).

    `value` is what the use is worth by the caller's own word, where it was declared.
    """

    partner_id: str
    question: Question
    value: DeclaredValue | None = None
    supported: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """A search: an evaluation in which what is looked for is empty; `same` is all but the page."""

    evaluation: Evaluation
    subject_type: str
    resource_type: str
    limit: int
    token: str
    same: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Evaluations:
    """A batch; `single` where the request held no list and is answered as one evaluation."""

    items: tuple[Evaluation, ...]
    semantic: Semantic
    single: bool


def parse_evaluation(body: bytes) -> Evaluation:
    """One evaluation request (section 5.1). Raises `InvalidRequest`, which names the field."""
    return _evaluation(_body(body))


def parse_evaluations(body: bytes) -> Evaluations:
    """A batch (section 6.1): what stands at the top is the default of each evaluation.

    Raises `InvalidRequest`; then nothing of the batch has been evaluated.
    """
    request = _body(body)
    options = _object(request, "options")
    semantic = options.get("evaluations_semantic", "execute_all")
    if semantic not in get_args(Semantic):
        raise InvalidRequest(
            f"options.evaluations_semantic is one of {', '.join(get_args(Semantic))}"
        )
    listed = request.get("evaluations")
    if listed is None or listed == []:
        return Evaluations((_evaluation(request),), semantic, single=True)
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise InvalidRequest("evaluations is a list of objects")
    if len(listed) > MOST_EVALUATIONS:
        raise InvalidRequest(f"a batch holds at most {MOST_EVALUATIONS} evaluations")
    defaults = {name: request[name] for name in PARTS if name in request}
    items = [
        _evaluation({**defaults, **item}, f"evaluations.{index}.")
        for index, item in enumerate(listed)
    ]
    return Evaluations(tuple(items), semantic, single=False)


def parse_access_request(body: bytes) -> tuple[Evaluation, Denial, str]:
    """An access request (draft 1 of its profile): evaluation, denial, the notice's language.

    Raises `InvalidRequest`, which names the field.
    """
    request = _body(body)
    if "items" in request:
        raise InvalidRequest("items: one access request at a time")
    denial = _object(request, "denial")
    names = ("evaluation_id", "expires_at", "template", "binding_token")
    language = _optional(_object(request, "requested_access"), "language", "requested_access.")
    if language not in {None, "zh", "en"}:
        raise InvalidRequest("requested_access.language is zh or en")
    return (
        _evaluation(request),
        Denial(*(_required(denial, name, "denial.") for name in names)),
        language or "zh",
    )


def parse_search(body: bytes, kind: Kind) -> Search:
    """A search request (sections 8.4 to 8.6). Raises `InvalidRequest`, which names the field.

    An id of what is looked for is ignored, as the specification has it. A later page may leave
    `limit` out, as its example does.
    """
    request = _body(body)
    page = _object(request, "page")
    limit = page.get("limit", USUAL)
    if type(limit) is not int or limit < 0:
        raise InvalidRequest("page.limit is a number, 0 or more")
    token = _optional(page, "token", "page.") or ""
    same = {name: value for name, value in request.items() if name != "page"}
    asked: dict[str, Any] = dict(same)
    if kind == "action":
        asked["action"] = {"name": ""}
    elif isinstance(asked.get(kind), dict):
        asked[kind] = {**asked[kind], "id": ""}
    return Search(
        _evaluation(asked),
        asked["subject"]["type"],
        asked["resource"]["type"],
        min(limit, MOST_RESULTS),
        token,
        same,
    )


def _evaluation(request: Mapping[str, Any], where: str = "") -> Evaluation:
    for name in PARTS[:3]:
        if name not in request:
            raise InvalidRequest(f"{where}{name} is required")
    subject = _object(request, "subject", where)
    action = _object(request, "action", where)
    resource = _object(request, "resource", where)
    context = _object(request, "context", where)
    subject_properties = _object(subject, "properties", f"{where}subject.")
    _object(action, "properties", f"{where}action.")
    properties = _object(resource, "properties", f"{where}resource.")

    kind = _required(subject, "type", f"{where}subject.")
    name = _required(subject, "id", f"{where}subject.")
    partner_id, agent = "", None
    if kind == "partner":
        partner_id = name
    elif kind == "agent":
        agent = name
        partner_id = _optional(subject_properties, "partner", f"{where}subject.properties.") or ""

    attribute = _required(resource, "id", f"{where}resource.")
    if _required(resource, "type", f"{where}resource.") != "attribute":
        attribute = ""  # no such thing is in any dictionary
    purpose_id, algorithm_id, version = _purpose(_optional(context, "purpose", f"{where}context."))
    return Evaluation(
        partner_id,
        Question(
            action=_required(action, "name", f"{where}action."),
            attribute=attribute,
            purpose_id=purpose_id,
            algorithm_id=algorithm_id,
            algorithm_version=version,
            territory=_optional(context, "territory", f"{where}context."),
            subject_ref=_optional(properties, "subject_ref", f"{where}resource.properties."),
            consent_id=_optional(properties, "consent", f"{where}resource.properties."),
            agent=agent,
            source=_source(properties, context, where),
            own=read_own(context["own"], f"{where}context.own") if "own" in context else (),
        ),
        read_value(context["value"], f"{where}context.value") if "value" in context else None,
        _supported(context, f"{where}context."),
    )


def _source(properties: Mapping[str, Any], context: Mapping[str, Any], where: str) -> str | None:
    """The outside source that the value is from, said of the resource or in the context."""
    of_resource = _optional(properties, "source", f"{where}resource.properties.")
    of_context = _optional(context, "source", f"{where}context.")
    if of_resource is not None and of_context not in {None, of_resource}:
        raise InvalidRequest(f"{where}context.source is another than resource.properties.source")
    return of_context if of_resource is None else of_resource


def _supported(context: Mapping[str, Any], where: str) -> frozenset[str] | None:
    """The obligations that a caller can carry out (Obligations Profile, "Negotiation")."""
    if "supported_obligations" not in context:
        return None
    listed = context["supported_obligations"]
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise InvalidRequest(f"{where}supported_obligations is a list of texts")
    return frozenset(listed)


def _purpose(wire: str | None) -> tuple[str, str, str]:
    """The purpose's parts; empty, and so never registered, where it is not stated or unreadable."""
    if wire is None:
        return "", "", ""
    try:
        return parse_purpose(wire)
    except InvalidTerms:
        return "", "", ""


def _body(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("the body is not JSON in UTF-8") from error
    if not isinstance(value, dict):
        raise InvalidRequest("the body is a JSON object")
    return value


def _object(source: Mapping[str, Any], name: str, where: str = "") -> Mapping[str, Any]:
    value = source.get(name)
    if value is None:
        if name in source:
            raise InvalidRequest(f"{where}{name} is an object")
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where}{name} is an object")
    return value


def _required(source: Mapping[str, Any], name: str, where: str) -> str:
    value = _optional(source, name, where)
    if value is None:
        raise InvalidRequest(f"{where}{name} is required")
    return value


def _optional(source: Mapping[str, Any], name: str, where: str) -> str | None:
    if name not in source:
        return None
    value = source[name]
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or "\x00" in value:
        raise InvalidRequest(f"{where}{name} is text of at most {LONGEST_TEXT} characters")
    return value
