"""What `deploy/` holds, read."""

from pathlib import Path
from typing import Any

import yaml

from tests.programs import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def documents(path: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]


def compose() -> dict[str, Any]:
    """The compose file, its anchors resolved."""
    found: dict[str, Any] = documents(DEPLOY / "compose.yaml")[0]
    return found


def manifests() -> list[tuple[str, dict[str, Any]]]:
    """Every Kubernetes object by the file that it stands in; not what kustomize alone reads."""
    return [
        (path.name, document)
        for path in sorted(KUBERNETES.glob("*.yaml"))
        for document in documents(path)
        if document["kind"] != "Kustomization"
    ]
