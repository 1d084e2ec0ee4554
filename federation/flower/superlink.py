"""The closed SuperLink, as a process: `python -m federation.flower.superlink DIRECTORY ...`.

`federation.flower` starts it, with its SuperExec beside it. What is closed, of Flower 1.42:

1. The Control API answers to the coordinator's token alone (`CoordinatorAlone`); the release has a
   hook for that in its enterprise edition only, so the application is made here.
2. Members reach `/v1/fleet/*` and nothing else (`fleet.FleetAlone`), with TLS.
3. A SuperNode shows a registered key, and takes part only while it is admitted (`Admission`): one
   that is not leaves in mid-round; what was under way to it becomes an error there.
4. Tasks are handed out to a SuperExec that shows the secret, never by starting them itself.
5. Applications are those that were put here with their signatures (`PUT /bundle`). Flower's own hub
   is not asked, and a bundle sent along with a start has no signatures, so members refuse it.
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from flwr.common.config import get_fab_config, get_metadata_from_config
from flwr.common.constant import (
    ISOLATION_MODE_PROCESS,
    NOOP_ACCOUNT_NAME,
    NOOP_FLWR_AID,
    SUPERLINK_NODE_ID,
    TRANSPORT_TYPE_GRPC_RERE,
)
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.auth.typing import AccountInfo
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.fab import Fab
from flwr.superlink import main as flower_main
from flwr.superlink.auth_plugin import ControlAuthnPlugin
from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.dependencies.account import get_account
from flwr.superlink.dependencies.linkstate import get_linkstate
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.servicer.control import control_handlers

from federation.flower.fleet import MOST_CONNECTIONS, FleetAlone
from federation.flower.places import LOOPBACK, Certificate, Places, write_private

OURS: Final = "/v1/control/consortium"
SHUTDOWN_SECONDS: Final = 5
"""Below Flower's own prefix, so that its authentication covers it too."""

Account = Annotated[AccountInfo, Depends(get_account)]
State = Annotated[LinkState, Depends(get_linkstate)]


class CoordinatorAlone(ControlAuthnPlugin):
    """Whoever shows the token is the one account of the open-source release; nobody else is any."""

    def __init__(self, token: bytes) -> None:
        self._digest = hashlib.sha256(token).digest()

    def get_login_details(self) -> NoReturn:
        """There is no login."""
        raise _no_accounts()

    def validate_tokens_in_metadata(
        self, metadata: Sequence[tuple[str, str | bytes]]
    ) -> tuple[bool, AccountInfo | None]:
        """Compare what was shown with the token, in constant time."""
        if len(metadata) != 1:
            return False, None
        shown = metadata[0][1]
        given = shown if isinstance(shown, bytes) else shown.encode()
        if not hmac.compare_digest(hashlib.sha256(given).digest(), self._digest):
            return False, None
        return True, AccountInfo(flwr_aid=NOOP_FLWR_AID, account_name=NOOP_ACCOUNT_NAME)

    def get_auth_tokens(self, device_code: str) -> NoReturn:  # noqa: ARG002 (Flower's interface)
        """No token is given out."""
        raise _no_accounts()

    def refresh_tokens(self, metadata: Sequence[tuple[str, str | bytes]]) -> NoReturn:  # noqa: ARG002
        """No token is renewed."""
        raise _no_accounts()


def _no_accounts() -> FlowerError:
    return FlowerError(ApiErrorCode.NO_ACCOUNT_AUTH, "one token, of the coordinator, and no login")


class Admission(NoOpFederationManager):
    """The one federation, of the nodes that are admitted: none until the coordinator says which."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        self.nodes: frozenset[int] = frozenset()
        if file.exists():
            self.nodes = frozenset(json.loads(file.read_bytes()))

    def admit(self, nodes: frozenset[int]) -> None:
        """Let these nodes take part and no others; durable when it returns."""
        write_private(self._file, json.dumps(sorted(nodes)).encode())
        self.nodes = nodes

    def filter_nodes(self, node_ids: set[int], federation_id: str) -> set[int]:
        """Of these nodes, those that take part: Flower asks before each message, both ways."""
        present: set[int] = super().filter_nodes(node_ids, federation_id)
        return present & (self.nodes | {SUPERLINK_NODE_ID})

    def has_node(self, node_id: int, federation_id: str) -> bool:
        """Whether a node takes part."""
        return node_id in self.filter_nodes({node_id}, federation_id)


def routes(admission: Admission) -> APIRouter:
    """What the coordinator asks for beside Flower's own Control API."""
    router = APIRouter(prefix=OURS)

    @router.put("/admitted", status_code=204)
    async def consortium_admit(request: Request, _account: Account) -> None:
        sent = _json(await request.body())
        nodes = sent.get("nodes")
        if not isinstance(nodes, list) or not all(type(one) is int for one in nodes):
            raise HTTPException(422, "nodes is a list of node ids")
        await asyncio.to_thread(admission.admit, frozenset(nodes))

    @router.put("/bundle")
    async def consortium_bundle(
        request: Request, _account: Account, state: State
    ) -> dict[str, str]:
        sent = _json(await request.body())
        try:
            return await asyncio.to_thread(_keep_bundle, state, sent)
        except (KeyError, TypeError, ValueError) as error:
            raise HTTPException(422, f"no bundle with its signatures: {error}") from None

    return router


def _json(body: bytes) -> dict[str, Any]:
    try:
        sent = json.loads(body)
    except ValueError:
        sent = None
    if not isinstance(sent, dict):
        raise HTTPException(422, "the body is a JSON object")
    return sent


def _keep_bundle(state: LinkState, sent: dict[str, Any]) -> dict[str, str]:
    content = base64.b64decode(sent["bundle"], validate=True)
    # "valid_license" is Flower's word for a SuperLink that can have bundles verified at all.
    verifications = {"valid_license": "Valid"}
    for one in sent["signatures"]:
        told = {"signed_at": int(one["signed_at"]), "signature": str(one["signature"])}
        verifications[str(one["key"])] = json.dumps(told)
    name, _version = get_metadata_from_config(get_fab_config(content))
    kept = state.store_app(
        fab=Fab(hashlib.sha256(content).hexdigest(), content, verifications),
        federation_id=NOOP_FEDERATION_ID,
        app_id=f"@{name}",
        app_type=TaskType.SERVER_APP,
        added_by=NOOP_FLWR_AID,
    )
    return {"application": f"@{name}", "hash": kept}


def _no_hub(*_arguments: object) -> tuple[bytes, dict[str, str], str | None]:
    raise FlowerError(ApiErrorCode.FAB_DOWNLOAD_FAILURE, "no applications of others: put it here")


def application(places: Places, own: Certificate, control_port: int) -> FastAPI:
    """The SuperLink's application, closed; `own` is the certificate of the loopback port."""
    admission = Admission(places.admitted)
    # The release takes these two from its enterprise edition. A name that is gone is an error here
    # and no silent opening: the attributes are looked up before they are replaced.
    for module, name, replacement in (
        (flower_main, "get_federation_manager", lambda **_: admission),
        (control_handlers, "_get_remote_fab", _no_hub),
    ):
        if not callable(getattr(module, name)):
            raise TypeError(f"{module.__name__}.{name} is not what it was: look at this release")
        setattr(module, name, replacement)
    pem = tuple(file.read_bytes() for file in (own.root, own.certificate, own.key))
    config = SuperLinkLifespanConfig(
        control_address="",
        health_server_address=None,
        host=LOOPBACK,
        port=control_port,
        insecure=False,
        certificates=pem,
        superexec_auth_secret=places.superexec_secret.read_bytes(),
        authn_plugin=CoordinatorAlone(places.control_token.read_bytes()),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=str(own.root),
        ssl_certfile=str(own.certificate),
        ssl_keyfile=str(own.key),
        database=str(places.database),
        isolation=ISOLATION_MODE_PROCESS,
        runtime_dependency_install=False,
    )
    made: FastAPI = flower_main.create_app(config, SuperLinkLifespan)
    made.include_router(routes(admission))
    return made


class _Server(uvicorn.Server):
    """A server beside another one: signals are this module's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def serve(
    app: FastAPI, *, own: Certificate, control_port: int, outside: Certificate, host: str, port: int
) -> None:
    """Serve the coordinator on the loopback and members on `host`, until told to stop."""

    def server(served: Any, at: tuple[str, int], tls: Certificate, **more: Any) -> _Server:  # noqa: ANN401
        return _Server(
            uvicorn.Config(
                served,
                host=at[0],
                port=at[1],
                ssl_certfile=tls.certificate,
                ssl_keyfile=str(tls.key),
                server_header=False,
                ws="none",
                log_level="warning",
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                **more,
            )
        )

    inside = server(app, (LOOPBACK, control_port), own)
    members = server(
        FleetAlone(app), (host, port), outside, lifespan="off", limit_concurrency=MOST_CONNECTIONS
    )

    def stop() -> None:
        inside.should_exit = members.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with asyncio.TaskGroup() as group:
        # Whichever ends first ends the other: half a SuperLink is none.
        for one in (inside, members):
            group.create_task(one.serve()).add_done_callback(lambda _: stop())


def main() -> None:
    """Serve; the arguments are for `federation.flower` to give."""
    parser = argparse.ArgumentParser(prog="federation.flower.superlink")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--control-port", type=int, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    given = parser.parse_args()
    places = Places.open(given.directory)
    loopback = places.directory / "loopback.pem"
    own = Certificate(loopback, places.directory / "loopback.key", loopback)
    outside = Certificate(given.certificate, given.key, given.certificate)
    asyncio.run(
        serve(
            application(places, own, given.control_port),
            own=own,
            control_port=given.control_port,
            outside=outside,
            host=given.host,
            port=given.port,
        )
    )


if __name__ == "__main__":
    main()
