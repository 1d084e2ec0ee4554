"""What a member has verified, kept for its next process; how often each one verifies.

Run by the environment of `make federation` for `test_warm.py`: prints one JSON object.
"""

import base64
import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from credentials.keys import thumbprint
from credentials.verify import verify_credential
from federation.errors import FederationError
from federation.flower.locks import held
from federation.flower.settings import MEMBER, MemberHome, SettingsWrong
from federation.flower.warm import WarmCache
from tests.federation.world import NOW, Broker

PLACE = Path(sys.argv[1])
STATE = PLACE / "state"
KEPT, SECRET = STATE / "consents.kept", STATE / "consents.secret"
BROKER, OTHER = Broker(), Broker()
CONSENTS = [BROKER.consent(number) for number in range(1, 5)]


def settle(broker: Broker) -> None:
    (PLACE / "member.toml").write_text(MEMBER)
    trust_file(broker)
    STATE.mkdir(exist_ok=True)


def trust_file(broker: Broker, *stolen: bytes) -> None:
    """As the operator's export says, with the certificates of stolen keys."""
    named = [
        {"certificate_sha256": hashlib.sha256(one).hexdigest(), "since": NOW, "log_size": 1}
        for one in stolen
    ]
    told = {"roots": [base64.b64encode(broker.root).decode()], "compromised": named}
    (PLACE / "trust.json").write_text(json.dumps(told))


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
    for size in (0, 5):
        found[f"a secret of {size} bytes"] = after(lambda: SECRET.write_bytes(bytes(size)))  # noqa: B023
    found["a pipe in the secret's place"] = after(lambda: in_its_place(SECRET, os.mkfifo))
    found["a link in its place"] = after(lambda: linked(SECRET))
    found["kept, and others write it"] = after(lambda: KEPT.chmod(0o666))
    fewer = CONSENTS[:2]
    process(fewer)
    old = KEPT.read_bytes()
    found["an old one"] = after(lambda: KEPT.write_bytes(old))
    found["a folder in its place"] = after(lambda: in_its_place(KEPT, os.mkdir))
    found["left over"] = [one.name for one in STATE.glob(".new-*")]
    KEPT.rmdir()
    return found


def in_its_place(file: Path, make: Callable[[Path], object]) -> None:
    file.unlink()
    make(file)


def linked(file: Path) -> None:
    file.rename(PLACE / "elsewhere")
    file.symlink_to(PLACE / "elsewhere")


def unfit() -> dict[str, Any]:
    """A consent that the form has no place for is verified each time, and nothing is written."""
    odd = [*CONSENTS, BROKER.consent(5, sub="客户")]
    found = {"first": process(odd)}
    written = KEPT.stat().st_ino, KEPT.stat().st_mtime_ns
    found["next"] = process(odd)
    return found | {"as it was": written == (KEPT.stat().st_ino, KEPT.stat().st_mtime_ns)}


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
    """By this process alone: what tells the next one is the trust file."""
    process()
    cache = WarmCache(MemberHome.read(PLACE / "member.toml"))
    cache.learn(CONSENTS, NOW)
    cache.forget({thumbprint(BROKER.key.public_jwk())})
    known = [len(cache.consents), KEPT.exists()]
    return [*known, dict(cache.learn(CONSENTS, NOW)), process()[0]]


def stolen() -> dict[str, Any]:
    """The trust file names the certificate of the key that signed these consents."""
    process()
    trust_file(BROKER, base64.b64decode(BROKER.chain[0]))
    found: dict[str, Any] = {"known before": [process(), process()]}
    KEPT.unlink(missing_ok=True)
    found["never seen"] = process()
    trust_file(BROKER, b"another certificate")
    found["another one's"] = process()
    trust_file(BROKER)
    (PLACE / "trust.json").write_text('{"roots": [], "compromised": [{"certificate_sha256": "x"}]}')
    try:
        process()
    except SettingsWrong as error:
        found["unreadable"] = "64 hexadecimal digits" in str(error)
    trust_file(BROKER)
    return found


if __name__ == "__main__":
    settle(BROKER)
    parts = (rows, files, trust, times, unwritten, unfit, forgotten, stolen)
    sys.stdout.write(json.dumps({part.__name__: part() for part in parts}))
