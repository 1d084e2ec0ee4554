"""What Flower runs: rounds at the coordinator, training at each member."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from churn.training import (
    Model,
    Numbers,
    auc,
    count_rows,
    first_model,
    fitted,
    gradients_of,
    read_rows,
    scores,
)
from federation.flower.member import Task, Trained
from federation.flower.serving import run_stage
from federation.flower.site import Private, take_part

HERE = Path(__file__).resolve().parent.parent
client = ClientApp()
server = ServerApp()


def train_rows(task: Task, rows: Sequence[int], data: Path) -> Trained:
    """Train on these rows; the metric is how well the model they were given ranks them."""
    inputs, labels = read_rows(data)
    inputs, labels = inputs[list(rows)], labels[list(rows)]
    said = task.campaign.parameters
    model = fitted(
        task.model,
        inputs,
        labels,
        steps=int(said["steps"]),
        rate=float(said["learning_rate"]),
        shrinkage=float(said["shrinkage"]),
        near=float(task.campaign.aggregation.mu or 0),
    )
    return Trained(model, {"auc": auc(scores(task.model, inputs), labels)})


def gradients(task: Task, model: Model, rows: Sequence[int], data: Path) -> Mapping[str, Numbers]:
    """For campaigns with privacy: of each of these rows by itself."""
    inputs, labels = read_rows(data)
    shrinkage = float(task.campaign.parameters["shrinkage"])
    found: Mapping[str, Numbers] = gradients_of(
        model, inputs[list(rows)], labels[list(rows)], shrinkage
    )
    return found


def evaluate(task: Task, model: Model) -> Mapping[str, float]:  # noqa: ARG001 (of both kinds)
    """There are no public rows to judge a private model by."""
    return {}


@client.train()
def train(message: Message, context: Context) -> Message:
    """A round at a member."""
    private = Private(gradients, evaluate)
    return take_part(message, train_rows, count_rows, HERE, context, private)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """A stage's rounds."""
    run_stage(grid, context, first_model())
