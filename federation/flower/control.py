"""What the coordinator asks of its SuperLink: nodes, bundles, runs.

Over Flower's Control API, protobuf over HTTP with TLS, by the token of `places.Places`. Every call
either does what it says or raises `ControlRefused`.
"""

import base64
import json
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import httpx  # noqa: TID251 (Flower's own client; httpx2 is not in its environment)
from flwr.common.serde import user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from federation.errors import FederationError
from federation.flower.bundle import Bundle
from federation.flower.places import LOOPBACK

OURS: Final = "/v1/control/consortium"
SECONDS: Final = 60
UNKNOWN: Final = "unknown"
NOT_FOUND: Final = 404
Answer = TypeVar("Answer")


class ControlRefused(FederationError):
    """The SuperLink did not do what it was asked for; the message says what it answered."""

    code = "control_refused"

    def __init__(self, message: str, status: int = 0) -> None:
        """Refuse; `status` is the HTTP one, 0 where there was no answer."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Node:
    """A registered SuperNode: `status` as Flower says it (`online`, `offline`, ...)."""

    id: int
    status: str
    public_key: bytes


@dataclass(frozen=True)
class Run:
    """A run.

    `status` is `pending`, `starting`, `running`, or how it ended: `completed`, `failed`, `stopped`,
    and `unknown` where the SuperLink knows no such run any more.
    """

    id: int
    status: str
    details: str

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in {"completed", "failed", "stopped", UNKNOWN}


@dataclass(frozen=True)
class Kept:
    """A bundle that the SuperLink has: its application's name and its hash."""

    application: str
    hash: str


class Control:
    """One coordinator's client; a context manager."""

    def __init__(self, port: int, token: str, root: bytes) -> None:
        """Speak to the SuperLink on this machine's `port`; `root` is its certificate, PEM."""
        self._token = token
        address = f"{LOOPBACK}:{port}"
        self._flower = ControlHttpClient.from_server_address(
            server_address=address, insecure=False, root_certificates=root, interceptors=[self]
        )
        context = ssl.create_default_context(cadata=root.decode("ascii"))
        self._ours = httpx.Client(
            base_url=f"https://{address}{OURS}",
            verify=context,
            timeout=SECONDS,
            trust_env=False,
            headers={"authorization": f"Bearer {token}"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flower.close()
        self._ours.close()

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Show the token with each of Flower's calls."""
        context.request.headers["authorization"] = f"Bearer {self._token}"
        return call_next(context)

    def nodes(self) -> list[Node]:
        """The registered nodes."""
        answer = self._asked(lambda: self._flower.ListNodes(ListNodesRequest()))
        return [Node(one.node_id, one.status, one.public_key) for one in answer.nodes_info]

    def register(self, public_key: bytes) -> int:
        """Register a node by its public key (NIST curve, PEM) and return its id.

        One that is registered keeps its id. It takes part once it is admitted.
        """
        for node in self.nodes():
            if node.public_key == public_key and node.status != "unregistered":
                return node.id
        request = RegisterNodeRequest(public_key=public_key)
        return int(self._asked(lambda: self._flower.RegisterNode(request)).node_id)

    def unregister(self, node: int) -> None:
        """Take a node's registration back: its key opens nothing from then on."""
        self._asked(lambda: self._flower.UnregisterNode(UnregisterNodeRequest(node_id=node)))

    def admit(self, nodes: Iterable[int]) -> None:
        """Let exactly these nodes take part. One that did and is not named leaves in mid-round."""
        self._put("/admitted", {"nodes": sorted(nodes)})

    def put(self, bundle: Bundle) -> Kept:
        """Put an application with its signatures there, for runs and for the members to verify."""
        answer = self._put(
            "/bundle",
            {
                "bundle": base64.b64encode(bundle.content).decode(),
                "signatures": [one.to_json() for one in bundle.signatures],
            },
        )
        return Kept(answer["application"], answer["hash"])

    def start(self, kept: Kept, config: Mapping[str, bool | float | int | str]) -> int:
        """Start a run of an application and return its id.

        `config` replaces settings that the bundle names under `[tool.flwr.app.config]`.
        """
        request = StartRunRequest(
            app_spec=kept.application,
            fab=Fab(hash_str=kept.hash),
            override_config=user_config_to_proto(dict(config)),
        )
        return int(self._asked(lambda: self._flower.StartRun(request)).run_id)

    def stop(self, run: int) -> None:
        """Stop a run."""
        self._asked(lambda: self._flower.StopRun(StopRunRequest(run_id=run)))

    def run(self, run: int) -> Run:
        """How a run stands."""
        try:
            answer = self._asked(lambda: self._flower.ListRuns(ListRunsRequest(run_id=run)))
        except ControlRefused as error:
            if error.status != NOT_FOUND:
                raise
            return Run(run, UNKNOWN, "")
        return _run(answer.run_dict[run])

    def runs(self) -> list[Run]:
        """The newest 20 runs, newest first: Flower cleans up after each that is over and listed."""
        answer = self._asked(lambda: self._flower.ListRuns(ListRunsRequest()))
        return [_run(answer.run_dict[one]) for one in answer.run_dict]

    def _put(self, path: str, sent: Mapping[str, Any]) -> dict[str, str]:
        answer = self._asked(lambda: self._ours.put(path, json=sent).raise_for_status())
        return json.loads(answer.content) if answer.content else {}

    @staticmethod
    def _asked(call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except httpx.HTTPStatusError as error:
            said = error.response.text[:500]
            raise ControlRefused(
                f"the SuperLink answered {error.response.status_code}: {said}",
                error.response.status_code,
            ) from None
        except httpx.HTTPError as error:
            raise ControlRefused(f"the SuperLink did not answer: {error}") from None


def _run(told: Any) -> Run:  # noqa: ANN401 (a protobuf message without types here)
    status = told.status
    return Run(told.run_id, status.sub_status or status.status, status.details)
