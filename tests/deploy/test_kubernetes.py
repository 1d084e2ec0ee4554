"""The Kubernetes manifests are what the API takes, and ask for no more than they need."""

from ipaddress import ip_network
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.manifests import KUBERNETES, documents, manifests

OLDEST = "1.29"  # ReadWriteOncePod is generally available
NEWEST = "1.37"
OBJECTS = manifests()
NAMES = [f"{one['kind']}-{one['metadata']['name']}" for _, one in OBJECTS]
PODS = [one["spec"]["template"]["spec"] for _, one in OBJECTS if "template" in one.get("spec", {})]
KINDS = {
    *("Namespace", "ConfigMap", "Secret", "Job", "StatefulSet", "Service"),
    *("PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"),
}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("one", [one for _, one in OBJECTS], ids=NAMES)
def test_the_api_takes_it(one: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(one, version, strict=True)


def test_the_check_notices_a_misspelt_field() -> None:
    broker = yaml.safe_load(yaml.safe_dump(find("StatefulSet")))
    broker["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broker, NEWEST, strict=True)


def test_nothing_is_missing() -> None:
    assert {one["kind"] for _, one in OBJECTS} == KINDS
    listed = set(documents(KUBERNETES / "kustomization.yaml")[0]["resources"])
    # Secrets are made by hand, and the migration runs before the rest.
    apart = {"secret.template.yaml", "migrate.yaml"}
    assert listed | apart == {file for file, _ in OBJECTS}
    assert not listed & apart


@pytest.mark.parametrize("pod", PODS, ids=["broker", "migrate"])
def test_pods_keep_to_the_restricted_standard(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        assert not container["image"].endswith(":latest")
        assert ":" in container["image"]
        # The read-only root leaves these to write to, and secrets are files.
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted == {"/var/lib/consent-broker", "/run/secrets/broker", "/tmp"}  # noqa: S108
        assert not {"DATABASE_URL", "BROKER_MASTER_KEY"} & {one["name"] for one in container["env"]}


def test_the_broker_is_asked_what_each_probe_is_for() -> None:
    pod = find("StatefulSet")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    paths = {
        name: container[f"{name}Probe"]["httpGet"]["path"]
        for name in ("startup", "readiness", "liveness")
    }
    assert paths == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
    # Time to leave the load balancer and to finish requests, within what the pod is given.
    assert "preStop" in container["lifecycle"]
    assert pod["terminationGracePeriodSeconds"] >= 30


def test_only_the_migration_gets_the_owner_of_the_tables() -> None:
    owner = {
        one["kind"]
        for _, one in OBJECTS
        if one["kind"] in {"StatefulSet", "Job"}
        for volume in one["spec"]["template"]["spec"]["volumes"]
        if volume.get("secret", {}).get("secretName") == "consent-broker-owner"
    }
    assert owner == {"Job"}


def test_a_pod_is_never_adopted_by_itself() -> None:
    # It would switch off what notices that the database is an old backup.
    assert "adopt" not in str(PODS)


def test_few_reach_the_broker_and_fewer_are_believed_on_who_calls() -> None:
    policies = [one for _, one in OBJECTS if one["kind"] == "NetworkPolicy"]
    sources = [
        source
        for policy in policies
        for rule in policy["spec"].get("ingress", ())
        for source in rule["from"]
    ]
    assert sources
    # Single pods of another namespace, never all that run there.
    assert all(source["podSelector"]["matchLabels"] for source in sources)
    believed = find("ConfigMap")["data"]["FORWARDED_ALLOW_IPS"].split(",")
    assert all(ip_network(one).num_addresses <= 256 for one in believed)


def test_selectors_find_the_pods() -> None:
    broker = find("StatefulSet")
    labels = broker["spec"]["template"]["metadata"]["labels"].items()
    assert broker["spec"]["serviceName"] in {
        one["metadata"]["name"] for _, one in OBJECTS if one["kind"] == "Service"
    }
    for _, one in OBJECTS:
        if one["kind"] == "Service":
            assert one["spec"]["selector"].items() <= labels
    assert find("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels
    target = find("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("StatefulSet", broker["metadata"]["name"])


def find(kind: str) -> dict[str, Any]:
    return next(one for _, one in OBJECTS if one["kind"] == kind)
