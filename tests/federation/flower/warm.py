"""What a member has verified, kept for its next process; how often each one verifies.

Run by the environment of `make federation` for `test_warm.py`: prints one JSON object.
"""

import base64
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from credentials.verify import verify_credential
from federation.errors import FederationError
from federation.flower.locks import held
from federation.flower.settings import MEMBER, MemberHome
from federation.flower.warm import WarmCache
from tests.federation.world import NOW, Broker

PLACE = Path(sys.argv[1])
STATE = PLACE / "state"
KEPT, SECRET = STATE / "consents.kept", STATE / "consents.secret"
BROKER, OTHER = Broker(), Broker()
CONSENTS = [BROKER.consent(number) for number in range(1, 5)]


def settle(broker: Broker) -> None:
    (PLACE / "member.toml").write_text(MEMBER)
    trusted = {"roots": [base64.b64encode(broker.root).decode()]}
    (PLACE / "trust.json").write_text(json.dumps(trusted))
    STATE.mkdir(exist_ok=True)


def process(credentials: Sequence[str] = CONSENTS, now: int = NOW) -> list[int]:
    """As the process of one answer: how many it verified, knows, and refuses."""
    verified: list[str] = []

    def counted(credential: str, **more: Any) -> Any:  # noqa: ANN401
        verified.append(credential)
        return verify_credential(credential, **more)

    cache = WarmCache(MemberHome.read(PLACE / "member.toml"))
    with patch("federation.consents.verify_credential", counted):
        refused = cache.learn(credentials, now)
    return [len(verified), len(cache.consents), refused.total()]


def after(change: Callable[[], object]) -> list[list[int]]:
    """What the next process does after a change, and the one after it."""
    process()
    change()
    return [process(), process()]


def rows() -> dict[str, Any]:
    found = {"first": process(), "second": process()}
    found["one goes"] = process(CONSENTS[:3])
    found["it comes back"] = process()
    changed = [*CONSENTS[:3], CONSENTS[3][:-2] + "x~"]
    found["one is altered"] = process(changed)
    found["and refused again"] = process(changed)
    found["back"] = process()
    found["empty lines"] = process(["", *CONSENTS, ""])[1:]
    return found


def files() -> dict[str, Any]:
    found: dict[str, Any] = {}
    process()
    whole = KEPT.read_bytes()
    found["modes"] = [oct(one.stat().st_mode & 0o777) for one in (KEPT, SECRET)]
    found["torn"] = after(lambda: KEPT.write_bytes(whole[:-5]))
    found["altered"] = after(lambda: KEPT.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1])))
    found["gone"] = after(KEPT.unlink)
    found["no secret"] = after(SECRET.unlink)
    found["a secret that others read"] = after(lambda: SECRET.chmod(0o644))
    found["kept, and others write it"] = after(lambda: KEPT.chmod(0o666))
    fewer = CONSENTS[:2]
    process(fewer)
    old = KEPT.read_bytes()
    found["an old one"] = after(lambda: KEPT.write_bytes(old))
    found["a folder in its place"] = after(folder_in_its_place)
    found["left over"] = [one.name for one in STATE.glob(".new-*")]
    KEPT.rmdir()
    return found


def folder_in_its_place() -> None:
    KEPT.unlink()
    KEPT.mkdir()


def trust() -> dict[str, Any]:
    """Another issuer: nothing is believed of what was verified for the first."""
    process()
    settle(OTHER)
    found: dict[str, Any] = {"another": process(), "its own": process([OTHER.consent(9)])}
    settle(BROKER)
    return found | {"the first again": after(lambda: None)}


def times() -> dict[str, Any]:
    process()
    week = 7 * 86_400
    found: dict[str, Any] = {"a clock set back": process(now=NOW - 1)}
    process()
    return found | {"a week later": process(now=NOW + week)[0]}


def unwritten() -> dict[str, Any]:
    """Whoever cannot write knows what it verified all the same."""
    KEPT.unlink(missing_ok=True)
    busy = FederationError("another one writes")
    with held(KEPT.with_suffix(".lock"), busy):
        found: dict[str, Any] = {"another one writes": [process(), KEPT.exists()]}
    full = OSError(28, "No space left on device")
    with patch("federation.flower.warm.write_private", side_effect=full):
        found["no space"] = [process(), KEPT.exists()]
    return found


def forgotten() -> list[object]:
    process()
    cache = WarmCache(MemberHome.read(PLACE / "member.toml"))
    cache.learn(CONSENTS, NOW)
    cache.forget({"a-stolen-key"})
    return [len(cache.consents), KEPT.exists(), process()[0]]


if __name__ == "__main__":
    settle(BROKER)
    parts = (rows, files, trust, times, unwritten, forgotten)
    sys.stdout.write(json.dumps({part.__name__: part() for part in parts}))
