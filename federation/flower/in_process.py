"""A grid whose nodes are functions of this process: real strategies and applications, no servers.

For tests of an application, and for simulations: what a round costs here is the training.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NoReturn

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from federation.flower.run_settings import Settings

UNAVAILABLE: Final = 5
"""Flower's code for a node that is not there."""

Node = Callable[[Message], Message]


class InProcess(Grid):
    """Nodes by their ids; each is a function from a message to its reply."""

    def __init__(self, nodes: Mapping[int, Node]) -> None:
        self._nodes = dict(nodes)
        self._sent = 0
        # Of the process, as the release has it: messages cannot be made without.
        TaskIdentity.run_id, TaskIdentity.task_id = 1, 1
        TaskIdentity.node_id = SUPERLINK_NODE_ID

    def set_run(self, run: object) -> None:
        """There is one run."""

    @property
    def run(self) -> NoReturn:
        """There is nothing to say of it."""
        raise AttributeError("a grid in one process has no run")

    def create_message(self, *_arguments: object, **_named: object) -> NoReturn:
        """Make a `Message` by itself: this way is the release's old one."""
        raise AttributeError("make a Message by itself")

    def get_node_ids(self) -> Iterable[int]:
        """The nodes' ids."""
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> NoReturn:  # noqa: ARG002
        """Messages are answered at once: `send_and_receive`."""
        raise AttributeError("use send_and_receive")

    def pull_messages(self, message_ids: Iterable[str]) -> NoReturn:  # noqa: ARG002
        """Messages are answered at once: `send_and_receive`."""
        raise AttributeError("use send_and_receive")

    def send_and_receive(
        self,
        messages: Iterable[Message],
        *,
        timeout: float | None = None,  # noqa: ARG002 (nothing is waited for)
    ) -> list[Message]:
        """Let each node answer, one after the other. What an application raises comes through."""
        return [self._answered(message) for message in messages]

    def _answered(self, message: Message) -> Message:
        # What a SuperLink would have set on the way: replies name what they answer.
        self._sent += 1
        message.metadata.__dict__["_message_id"] = str(self._sent)
        node = self._nodes.get(message.metadata.dst_node_id)
        if node is None:
            return Message(Error(UNAVAILABLE, "no such node"), reply_to=message)
        return node(message)


def node_of(
    application: ClientApp, node: int, config: Mapping[str, str], settings: Settings | None = None
) -> Node:
    """A node that runs an application; its state stays from message to message.

    `settings` are the run's, which a SuperNode would have from the bundle and the run.
    """
    context = Context(
        run_id=1,
        node_id=node,
        node_config=dict(config),
        state=RecordDict(),
        run_config=dict(settings or {}),
    )
    return lambda message: application(message, context)
