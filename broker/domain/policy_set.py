"""A tenant's own policies: Cedar text that only forbids, judged beside the broker's.

    @id("own.no-training-abroad") @law("contract") @code("own_training_abroad") @obligation("stop")
    @zh("我司合同不允许在境外训练。") @en("Our contracts allow no training abroad.")
    forbid (principal, action == Action::"train", resource) when { context.territory != "CN" };

A set is named by the hash of its text and never changes: a switch puts another in force. Texts are
for the schema `policies/consent.cedarschema`. Its next version only adds to it; a set that no
longer fits denies everything (`policy_error`) rather than being left out.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from cedarpy import Schema, policies_from_json_str, policies_to_json_str, validate_policies

from broker.domain.conditions import STEP_UP, Reason, read_conditions
from broker.domain.errors import InvalidPolicies
from broker.domain.own_attribute import schema_with, split
from credentials.jcs import b64url

BUILT_IN: Final = "built-in"
LARGEST_TEXT: Final = 32_768
MOST_POLICIES: Final = 64
# The engine's parser and validator recurse without end: a thousand nested brackets overflow the
# stack and end the process. These hold long before that, in whatever way a text is nested.
LONGEST_POLICY: Final = 2_000
DEEPEST: Final = 16

ID: Final = re.compile(r"own\.[a-z0-9][a-z0-9.-]{0,59}")
CODE: Final = re.compile(r"own_[a-z0-9_]{1,60}")
LONGEST_SENTENCE: Final = 300
# Strings and comments, in one expression: either may hold what begins the other. A string that is
# not closed goes to the end: where it had to be closed, each quote would be tried to the end anew.
_UNREAD = re.compile(r'"(?:[^"\\]|\\.)*"?|//[^\r\n]*', re.DOTALL)

_WRONG: Final = {
    "kind": "when",
    "body": {"<": {"left": {"Value": "text"}, "right": {"Value": 1}}},
}


@dataclass(frozen=True)
class PolicySet:
    """A set as it is stored: its number counts up within the tenant, 0 is the broker's alone.

    `digest` is what a tenant's row and a decision name it by; `created_at` is Unix seconds.
    """

    number: int
    digest: str
    text: str
    added_by: str
    created_at: int


def digest_of(text: str) -> str:
    """SHA-256 over the text (UTF-8), base64url: the name of a set."""
    return b64url(hashlib.sha256(text.encode()).digest())


def check_size(text: str) -> None:
    """Raise `InvalidPolicies` for a text that the engine should not even read."""
    if len(text) > LARGEST_TEXT or "\x00" in text:
        raise InvalidPolicies(f"a policy set is text of at most {LARGEST_TEXT} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidPolicies("a policy set is text in UTF-8") from None
    depth = 0
    for policy in _UNREAD.sub('""', text).split(";"):
        if len(policy) > LONGEST_POLICY:
            raise InvalidPolicies(
                f"a policy has at most {LONGEST_POLICY} characters, texts and comments aside: "
                "make two of it"
            )
        for letter in policy:
            depth += (letter in "([{") - (letter in ")]}")
            if depth > DEEPEST:
                raise InvalidPolicies(f"brackets are nested at most {DEEPEST} deep")
            if depth < 0:  # or what follows could be nested deeper by as much
                raise InvalidPolicies("a bracket is closed that was not opened")


def read_own_conditions(text: str, of_the_broker: Mapping[str, Reason]) -> Mapping[str, Reason]:
    """The conditions of a tenant's text, in its order.

    Raises `InvalidPolicies` for a permit, a template, a policy without its annotations, and for
    names, codes and obligations that callers could take for the broker's or could not know.
    """
    conditions, permits = read_conditions(text)
    if permits:
        raise InvalidPolicies("own policies only forbid: what permits is the customer's consent")
    if not 0 < len(conditions) <= MOST_POLICIES:
        raise InvalidPolicies(f"a policy set has 1 to {MOST_POLICIES} policies")
    known = {reason.obligation for reason in of_the_broker.values()} | {STEP_UP}
    for reason in conditions.values():
        _check(reason, known)
    return conditions


def _check(reason: Reason, obligations: set[str]) -> None:
    if ID.fullmatch(reason.id) is None:
        raise InvalidPolicies(f"the @id of an own policy is like own.no-nights: {reason.id[:64]}")
    if CODE.fullmatch(reason.code) is None:
        raise InvalidPolicies(f"{reason.id}: the @code of an own policy is like own_nights")
    if reason.obligation not in obligations:
        raise InvalidPolicies(
            f"{reason.id}: its @obligation is one of {', '.join(sorted(obligations))}"
        )
    for sentence in (reason.zh, reason.en, *reason.law):
        if not sentence.isprintable() or not 0 < len(sentence) <= LONGEST_SENTENCE:
            raise InvalidPolicies(
                f"{reason.id}: @law, @zh and @en are printable and have at most "
                f"{LONGEST_SENTENCE} letters"
            )


def never_applying(text: str, schema: str) -> list[str]:
    """The `@id`s of the policies of a validated text that no request can ever meet, in order.

    The validator lets them pass: it takes `resource has colour` for false where the schema knows no
    colour, and looks no further. So each is asked again with something of a wrong type at its end:
    where the validator does not get there, nothing does. Of a policy that is nested too deep for
    its JSON form it is not known, and it is not among them.
    """
    declared, text = split(text)
    told = Schema.from_str(schema_with(schema, declared))
    try:
        numbered = orjson.loads(policies_to_json_str(text))["staticPolicies"]
    except (ValueError, TypeError, RecursionError):
        return []
    found = []
    for name in sorted(numbered, key=lambda policy: int(policy.removeprefix("policy"))):
        policy = numbered[name]
        ended = {**policy, "conditions": [*policy["conditions"], _WRONG]}
        alone: dict[str, Any] = {
            "templates": {},
            "templateLinks": [],
            "staticPolicies": {name: ended},
        }
        try:
            whole = policies_from_json_str(orjson.dumps(alone).decode())
            never = validate_policies(whole, told).validation_passed
        except (ValueError, TypeError, RecursionError):
            continue
        if never:
            found.append(policy["annotations"]["id"])
    return found
