"""Agents: programs of a partner that act by themselves, each with a key of its own.

What an agent has done it says in a compact JWS (RFC 7515) of type `agent-action+jwt`, signed by the
key that it is registered with. Its payload holds exactly these claims:

    iss         the agent's id
    aud         the broker's address for the tenant
    iat         when it was signed, Unix seconds
    jti         the agent's own name of the action: each once
    action      one of read, profile, train, share, publish
    decisions   the entries (`context.id`) of the permits that it rests on, 1 to 50
    consents    the consents of those decisions, each once

How it may evolve: a reader refuses claims that it does not know; new ones mean a new type.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.domain.errors import AgentActionInvalid
from broker.domain.kill_switch import KillSwitch
from broker.domain.terms import ACTIONS
from credentials.errors import CredentialError
from credentials.json_reader import read_json_object
from credentials.jws import PublicKey, Signer, parse_jws, sign_jws

ACTION_TYPE: Final = "agent-action+jwt"
LONGEST_ACTION: Final = 16_384
CLOCK_SKEW: Final = 60
SIGNED_WITHIN: Final = 300
"""How old a signature may be when it comes, in seconds."""

PERMIT_SECONDS: Final = 3_600
"""How long after a permit an agent may act on it: a permit is for now."""

MOST_DECISIONS: Final = 50
CLAIMS: Final = frozenset({"iss", "aud", "iat", "jti", "action", "decisions", "consents"})
_JTI = re.compile(r"[A-Za-z0-9_-]{8,64}")
_ID = re.compile(r"[a-z]{1,2}-[a-z2-7]{20}")


@dataclass(frozen=True)
class AgentAction:
    """An action as its agent signed it."""

    agent: str
    jti: str
    signed_at: int
    action: str
    decisions: tuple[str, ...]
    consents: tuple[str, ...]


@dataclass(frozen=True)
class Permitted:
    """A decision that an action names, as the log has it; `consent_live` is as of now.

    `agent` is the mark of the agent that it was asked for, `partner` who asked. Where `counted`,
    the permit is one use of a consent that counts them, and carries one action.
    """

    id: str
    permit: bool
    partner: str
    agent: str | None
    action: str
    consent: str | None
    purpose: str
    time: int
    consent_live: bool
    counted: bool = False


def sign_action(signer: Signer, stated: AgentAction, audience: str) -> str:
    """The action as the agent sends it."""
    claims = {
        "iss": stated.agent,
        "aud": audience,
        "iat": stated.signed_at,
        "jti": stated.jti,
        "action": stated.action,
        "decisions": list(stated.decisions),
        "consents": list(stated.consents),
    }
    return sign_jws(signer, {"typ": ACTION_TYPE}, claims)


def claimed_agent(token: str) -> str:
    """Which agent a token says it is of, to find the key by; nothing of it is verified.

    Raises `AgentActionInvalid`.
    """
    name = _claims(token, None).get("iss")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise AgentActionInvalid("iss is the id of a registered agent")
    return name


def read_action(token: str, key: Mapping[str, Any], audience: str, now: int) -> AgentAction:
    """Read an action strictly; raises `AgentActionInvalid` that names what is wrong.

    1. It is a compact JWS of the type and no longer than allowed, by the key's own algorithm.
    2. The signature verifies under the agent's registered public key (`key`).
    3. The payload is a JSON object with exactly the claims of this module, each of its form.
    4. It is for this tenant, and was signed a moment ago.
    """
    # 1. and 2.
    claims = _claims(token, key)
    # 3.
    if claims.keys() != CLAIMS:
        raise AgentActionInvalid(
            f"an action holds exactly these claims: {', '.join(sorted(CLAIMS))}"
        )
    jti, signed_at, action = claims["jti"], claims["iat"], claims["action"]
    if not isinstance(jti, str) or not _JTI.fullmatch(jti):
        raise AgentActionInvalid("jti is 8 to 64 letters, digits, - and _")
    if not isinstance(action, str) or action not in ACTIONS:
        raise AgentActionInvalid(f"action is one of {', '.join(sorted(ACTIONS))}")
    decisions, consents = _ids(claims, "decisions"), _ids(claims, "consents")
    # 4.
    if claims["aud"] != audience:
        raise AgentActionInvalid("aud is not this tenant's address")
    if type(signed_at) is not int or not now - SIGNED_WITHIN <= signed_at <= now + CLOCK_SKEW:
        raise AgentActionInvalid(f"iat must be a time within the last {SIGNED_WITHIN} seconds")
    return AgentAction(str(claims["iss"]), jti, signed_at, action, decisions, consents)


def judge(
    stated: AgentAction,
    found: Sequence[Permitted],
    *,
    partner: str,
    mark: str,
    switches: Iterable[KillSwitch],
    now: int,
) -> tuple[str, ...]:
    """Why an action does not rest on what it names: codes, none where it does.

    `found` are those of its decisions that the log has; `mark` is how decisions name this agent;
    `switches` are the tenant's kill switches that are on.
    """
    own = [one for one in found if one.partner == partner]
    told = {
        "kill_switch": any(_stops(switch, partner, own) for switch in switches),
        "decision_unknown": {one.id for one in own} != set(stated.decisions),
        "decision_denied": any(not one.permit for one in own),
        "decision_of_another_agent": any(one.agent != mark for one in own),
        "decision_too_old": any(now - one.time > PERMIT_SECONDS for one in own),
        "action_differs": any(one.action != stated.action for one in own),
        "consents_differ": _consents(own) != set(stated.consents),
        "consent_over": any(not one.consent_live for one in own),
    }
    return tuple(code for code, failed in told.items() if failed)


def _stops(switch: KillSwitch, partner: str, found: Iterable[Permitted]) -> bool:
    if switch.kind == "tenant":
        return True
    if switch.kind == "partner":
        return switch.id == partner
    # A purpose as the log has it: dpv:ServicePersonalisation#algo:churn-v3@1.
    part = 0 if switch.kind == "purpose" else 1
    return any(one.purpose.split("#algo:")[part:][:1] == [switch.id] for one in found)


def _consents(found: Iterable[Permitted]) -> set[str]:
    return {one.consent for one in found if one.consent is not None}


def _claims(token: str, key: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        jws = parse_jws(token, typ=ACTION_TYPE, max_characters=LONGEST_ACTION)
        if key is not None:
            jws.verify(PublicKey(key))
        return dict(read_json_object(jws.payload))
    except CredentialError as error:
        raise AgentActionInvalid(f"not an action by the agent's registered key: {error}") from None


def _ids(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = claims[name]
    if not isinstance(value, list) or not 0 < len(value) <= MOST_DECISIONS:
        raise AgentActionInvalid(f"{name} is a list of 1 to {MOST_DECISIONS} ids")
    if not all(isinstance(one, str) and _ID.fullmatch(one) for one in value):
        raise AgentActionInvalid(f"{name} holds ids, like e-7m3xk2p5qz4vt6nw8y2b")
    if len(set(value)) != len(value):
        raise AgentActionInvalid(f"{name} names each once")
    return tuple(value)
