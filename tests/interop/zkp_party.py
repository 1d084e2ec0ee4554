"""The other implementation of `zkp`, in zkp/ beside this file, and digitalbazaar's BBS."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.npm import compiled
from tests.programs import require
from zkp.bbs import Signature
from zkp.curve import scalar_from_bytes
from zkp.keys import PublicKey
from zkp.layout import PresentedCredential
from zkp.presentation import HeldCredential, Presentation
from zkp.request import ProofRequest

HERE = Path(__file__).parent
REASON = "run the second implementation of the proofs"


class Refused(Exception):
    """What the other one refused; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Party:
    """A node process that answers one line of JSON with one."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    @classmethod
    def start(cls) -> Self:
        node = require("node", REASON)
        compiled(HERE, "zkp", REASON)
        return cls(
            subprocess.Popen(
                [node, HERE / "zkp.mjs"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def accepts(self, call: str, **told: object) -> bool:
        """Whether it does: a proof may be refused by saying no, or by saying why."""
        try:
            return bool(self(call, **told))
        except Refused:
            return False

    def __call__(self, call: str, **told: object) -> Any:  # noqa: ANN401 (JSON)
        """What it found. Raises `Refused`; an error that is not of its own family is a failure."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": call, **plain(told)}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "refused" in answer:
            assert not answer["refused"].startswith("not typed"), answer["refused"]
            raise Refused(answer["refused"])
        return answer["found"]

    def prove(self, asked: ProofRequest, held: Mapping[str, HeldCredential]) -> Presentation:
        used = {name: held_json(held[name]) for name in asked.credentials}
        made = self("prove", request=asked.to_json(), held=used)
        credentials = {
            name: PresentedCredential(
                PublicKey.from_bytes(bytes.fromhex(one["key"])),
                bytes.fromhex(one["header"]),
                one["bound"],
                one["revealed"],
            )
            for name, one in made["credentials"].items()
        }
        return Presentation(credentials, bytes.fromhex(made["proof"]))

    def verify(
        self, asked: ProofRequest, shown: Presentation, issuers: Mapping[str, frozenset[bytes]]
    ) -> None:
        credentials = {
            name: {
                "key": one.key.data,
                "header": one.header,
                "bound": one.bound,
                "revealed": dict(one.revealed),
            }
            for name, one in shown.credentials.items()
        }
        presentation = {"credentials": credentials, "proof": shown.proof}
        accepted = {name: sorted(keys) for name, keys in issuers.items()}
        self("verify", request=asked.to_json(), presentation=presentation, issuers=accepted)


def held_json(held: HeldCredential) -> dict[str, Any]:
    told: dict[str, Any] = {
        "key": held.key.data,
        "header": held.header,
        "signature": held.signature.to_bytes(),
        "values": dict(held.values),
    }
    if held.holder_secret is not None:
        told["holder_secret"] = bytes(held.holder_secret.to_be_bytes())
    return told


def plain(told: Any) -> Any:  # noqa: ANN401 (JSON, but for bytes)
    """The same, with bytes as hex."""
    if isinstance(told, bytes):
        return told.hex()
    if isinstance(told, Mapping):
        return {name: plain(one) for name, one in told.items()}
    return [plain(one) for one in told] if isinstance(told, list | tuple) else told


def signature(told: str) -> Signature:
    return Signature.from_bytes(bytes.fromhex(told))


def scalar(told: str) -> Any:  # noqa: ANN401 (the backend's)
    return scalar_from_bytes(bytes.fromhex(told))
