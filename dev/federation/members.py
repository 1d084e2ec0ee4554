"""A member of a consortium: its directory, its customers, its program, and how it joins."""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.usecases.partner import NewClient
from dev.federation.customers import Customer
from dev.federation.programs import Program, until
from dev.running import CONSENT_BROKER


class RefusedError(RuntimeError):
    """A command ended with a refusal; `said` is what it told."""

    def __init__(self, command: str, said: str) -> None:
        """Name the command."""
        self.said = said
        super().__init__(f"{command}: {said}")


@dataclass
class Member:
    """A partner with its directory, its customers by row and its program."""

    client: NewClient
    directory: Path
    customers: list[Customer] = field(default_factory=list)
    program: Program | None = None

    @property
    def id(self) -> str:
        """Its client id."""
        return self.client.client_id

    @property
    def state(self) -> Path:
        """What its site keeps."""
        return self.directory / "state"

    def start(self, told: Callable[[str, dict[str, Any]], None]) -> Program:
        """As people do: `consent-broker federation member up`."""
        file = self.directory / "member.toml"
        command = [*CONSENT_BROKER, "federation", "member", "up", str(file), "--json"]
        self.program = Program(f"member {self.id}", command, told)
        self.program.start()
        return self.program

    def await_keys(self) -> None:
        """Until the first start has made its keys."""
        until((self.state / "receipt.jwk").exists, "the member's keys")

    def join(self, broker: str, offered: Mapping[str, str] | None = None) -> None:
        """Take the operator's offer and present the credential: `federation member join`.

        With the keys that the first start made; without an offer, the credential that is kept.
        Raises `RefusedError`.
        """
        command = ["federation", "member", "join", "--broker", broker, "--client-id", self.id]
        for name, file in (
            ("client-key", self.directory / "client.jwk"),
            ("node-key", self.state / "node.key"),
            ("receipt-key", self.state / "receipt.pub.jwk"),
            ("trust", self.directory.parent / "trust.json"),
            ("credential", self.state / "membership.sd-jwt"),
        ):
            command += [f"--{name}", str(file)]
        for option, name in (("offer", "offer"), ("tx-code", "tx_code")):
            if offered is not None:
                # By a file: whoever is on the machine sees what stands on a command line.
                (self.directory / option).write_text(offered[name])
                command += [f"--{option}", f"@{self.directory / option}"]
        finished = subprocess.run(
            [*CONSENT_BROKER, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            raise RefusedError(f"member join {self.id}", finished.stderr.strip())
