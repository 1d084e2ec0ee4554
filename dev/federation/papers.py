"""What a consortium writes down: its campaign, and each one's settings."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from federation.campaign import SCHEMA, parameters_hash

if TYPE_CHECKING:  # the environment with Flower, where the rest is used too, has no broker
    from broker.usecases.partner import NewClient

PURPOSE: Final = "dpv:ServicePersonalisation#algo:churn-v3@1"
DAY: Final = 86_400
PARAMETERS: Final = {"learning_rate": "0.3", "shrinkage": "0.005", "steps": 15}


def campaign_json(
    members: Sequence[str],
    *,
    salt_hash: str,
    bundle_hash: str,
    rounds: int,
    **changes: Any,  # noqa: ANN401 (of a campaign)
) -> dict[str, Any]:
    """A campaign of one stage; `changes` replace its usual parts."""
    named, now = sorted(members), int(time.time())
    usual = dict.fromkeys(("server_clip", "mu", "trim", "byzantine"))
    return {
        "schema": SCHEMA,
        "id": "churn-together",
        "purpose": PURPOSE,
        "attributes": ["purchase_count_12m"],
        "territories": ["CN"],
        "valid_from": now - DAY,
        "valid_until": now + DAY,
        "salt_hash": salt_hash,
        "bundle_hash": bundle_hash,
        "parameters": PARAMETERS,
        "parameters_hash": parameters_hash(dict(PARAMETERS)),
        "members": named,
        "minimum_members": 2,
        "minimum_rows": 5,
        "cohort": 5,
        "privacy": None,
        "aggregation": {"method": "fedavg", "secure": False, **usual},
        "rounds": rounds,
        "rollout": [{"stage": "consortium", "members": named, "gates": [], "approvals": 1}],
        "unlearning": "exclude",
        **changes,
    }


def write_key(file: Path, client: "NewClient") -> None:
    """A client's id and key, as the broker prints them."""
    file.write_text(json.dumps(client.to_json()))
    file.chmod(0o600)


def write_member(directory: Path, **values: str | int) -> None:
    """A member's settings; what others gave it lies above its directory."""
    write_settings(
        directory / "member.toml",
        client_key="client.jwk",
        trust="../trust.json",
        board="../board.json",
        trusted_entities="../board.yaml",
        bundles="../bundles",
        root_certificates="../coordinator/state/link/members.pem",
        consents="consents.txt",
        peers="../peers.json",
        **values,
    )


def write_coordinator(directory: Path, **values: str | int) -> None:
    """The coordinator's settings."""
    file, key = directory / "coordinator.toml", "coordinator.jwk"
    write_settings(file, client_key=key, bundles="../bundles", **values)


def write_settings(file: Path, **values: str | int) -> None:
    """A settings file, TOML."""
    # JSON's texts and numbers are TOML's too.
    file.write_text("".join(f"{name} = {json.dumps(one)}\n" for name, one in values.items()))


def write_table(file: Path, name: str, values: Mapping[str, str]) -> None:
    """A table at the end of a settings file."""
    lines = [f"{json.dumps(key)} = {json.dumps(one)}" for key, one in values.items()]
    file.write_text(file.read_text() + "\n".join(["", f"[{name}]", *lines, ""]))
