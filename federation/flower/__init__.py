"""Running Flower, closed: the only place that knows Flower's internals.

Everything here runs in the environment that `make federation` prepares, in processes of its own;
neither the broker nor the library around it imports it. `docs/federation.md` shows its use.

    places       the files of a SuperLink and of a SuperNode: keys, certificates, secrets
    processes    programs that run together, with an environment that keeps Flower to itself
    fleet        what of a SuperLink members can reach
    superlink    the SuperLink: control only by token, members only while they are admitted
    bundle       an application as it is built, and signed by the board
    control      what the coordinator asks of the SuperLink
    member       a member's part of a round: gate, training, receipt
    rounds       the coordinator's: opened, checked, aggregated, kept, closed
    broker       the broker over HTTP, as a coordinator and a member call it
    strategy, models, in_process   aggregation; models on disk; a grid without servers

Which of Flower's internals this rests on, `tests/federation/flower` checks against the pinned
release, with real processes.
"""
