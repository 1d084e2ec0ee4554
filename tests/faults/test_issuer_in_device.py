"""A tenant's issuer key in a PKCS#11 device: the whole way of a consent, and what may go wrong."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from broker.composition import build_context, prepare
from broker.domain.errors import KeyDeviceUnavailable
from broker.domain.evidence import verify_evidence
from broker.domain.terms import Label
from broker.settings import SettingsError, read_settings
from broker.usecases import key_rotation
from broker.usecases.context import Context
from broker.usecases.device_keys import device_of
from broker.usecases.key_making import LEAF_DAYS
from broker.usecases.keys import RENEWAL_DAYS, SECONDS_PER_DAY, KeyRing
from broker.usecases.tenant import add_tenant
from broker.usecases.trust import trust
from credentials.certificate import read_certificate
from dev.running import running_broker
from tests.broker.journeys import whole_way
from tests.broker.log_fixtures import pending_bodies
from tests.faults.soft_hsm import PIN, Device


def _uri(device: Device, name: str = "issuer-{tenant}", token: str = "broker") -> str:
    return f"pkcs11:token={token};object={name}?module-path={device.module}"


@pytest.fixture
def deployed(device: Device, tmp_path: Path, stack: ExitStack) -> Context:
    return _deploy(device, tmp_path, stack)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def _deploy(device: Device, home: Path, stack: ExitStack, name: str = "issuer-{tenant}") -> Context:
    environ = {
        "BROKER_HOME": str(home),
        "BROKER_ISSUER_KEY": _uri(device, name),
        "BROKER_PKCS11_PIN": PIN,
    }
    ctx = build_context(read_settings(environ))
    stack.enter_context(closing(ctx.db))
    stack.enter_context(closing(ctx.keys))
    prepare(ctx)
    return ctx


def _started(environ: dict[str, str]) -> None:
    ctx = build_context(read_settings(environ))
    with closing(ctx.db), closing(ctx.keys):
        prepare(ctx)


def _add_two(ctx: Context) -> None:
    name = Label("二", "Two")
    add_tenant(ctx, "two", name=name, contact="privacy@two.example", country="CN")


@pytest.mark.timeout(300)
def test_the_whole_way_with_a_key_that_never_leaves_the_device(
    device: Device, tmp_path: Path
) -> None:
    environment = {"BROKER_ISSUER_KEY": _uri(device), "BROKER_PKCS11_PIN": PIN}
    with running_broker(tmp_path, environment) as broker:
        steps, kept, anchors = whole_way(broker)
        assert {"evidence", "tampered"} <= set(steps)
        assert verify_evidence(kept.evidence, anchors).verdict == "verified"
        listed = json.loads(broker.run("keys", "list", "--json").stdout)["keys"]
    (issuer,) = [key for key in listed if key["purpose"] == "issuer"]
    assert (issuer["device"], issuer["state"]) == ("pkcs11", "active")


@pytest.mark.parametrize(
    ("uri", "pin", "message"),
    [
        ("token=broker", "0000", "PinIncorrect"),
        ("token=elsewhere", PIN, "NoSuchToken"),
        ("token=broker", "", "BROKER_PKCS11_PIN"),
    ],
)
def test_a_device_that_does_not_open_stops_the_start(
    device: Device, tmp_path: Path, uri: str, pin: str, message: str
) -> None:
    key = _uri(device).replace("token=broker", uri)
    environ = {"BROKER_HOME": str(tmp_path), "BROKER_ISSUER_KEY": key, "BROKER_PKCS11_PIN": pin}
    with pytest.raises(SettingsError, match=message) as failed:
        _started(environ)
    assert PIN not in str(failed.value)


def test_a_new_key_in_the_device_takes_over(
    device: Device, tmp_path: Path, stack: ExitStack, deployed: Context
) -> None:
    first = deployed.keys.issuer("demo")
    with pytest.raises(KeyDeviceUnavailable, match="the same key as before"):
        key_rotation.rotate(deployed, "issuer", "demo")
    renamed = _deploy(device, tmp_path, stack, "newer-{tenant}")
    second = renamed.keys.issuer("demo")
    assert second.signer.public_jwk() != first.signer.public_jwk()
    states = {row["id"]: row["state"] for row in key_rotation.every_key(renamed)}
    assert (states[first.kid], states[second.kid]) == ("retired", "active")
    (entry,) = pending_bodies(renamed.db, renamed.keys, "demo", "key.rotated")
    assert entry == {"purpose": "issuer", "key": second.kid, "automatic": True}
    # Whoever has not been told of the new name goes on with the older key.
    deployed.keys.refresh()
    assert deployed.keys.issuer("demo").kid == first.kid
    # And renews its certificate: what it signs would be worth nothing otherwise.
    now = deployed.now() + (LEAF_DAYS - RENEWAL_DAYS + 1) * SECONDS_PER_DAY
    settings = deployed.settings
    held = device_of(settings)
    going_on = KeyRing(deployed.db, deployed.master, lambda: now, settings.public_url, held)
    stack.enter_context(closing(going_on))
    going_on.renew("demo")
    third = going_on.issuer("demo")
    assert third.kid != first.kid
    assert third.signer.public_jwk() == first.signer.public_jwk()
    assert read_certificate(third.leaf).not_after > now
    going_on.renew("demo")
    assert going_on.issuer("demo").kid == third.kid


def test_a_key_that_was_marked_is_not_used_again(deployed: Context) -> None:
    key = deployed.keys.issuer("demo")
    done = key_rotation.compromise(deployed, key.kid, deployed.now())
    assert done.replaced_by is None
    assert len(trust(deployed).compromised) == 1
    with pytest.raises(KeyDeviceUnavailable, match="marked as compromised"):
        deployed.keys.issuer("demo")


def test_each_tenant_has_a_key_of_its_own(device: Device, tmp_path: Path, stack: ExitStack) -> None:
    shared = _deploy(device, tmp_path / "shared", stack, "issuer-demo")
    with pytest.raises(KeyDeviceUnavailable, match="tenant"):
        _add_two(shared)
    own = _deploy(device, tmp_path / "own", stack)
    _add_two(own)
    keys = {own.keys.issuer(tenant).signer.public_jwk()["x"] for tenant in ("demo", "two")}
    assert len(keys) == 2


def test_without_the_setting_the_device_key_is_missed(
    device: Device, tmp_path: Path, stack: ExitStack, deployed: Context
) -> None:
    del deployed
    ctx = build_context(read_settings({"BROKER_HOME": str(tmp_path)}))
    stack.enter_context(closing(ctx.db))
    with pytest.raises(SettingsError, match="BROKER_ISSUER_KEY"):
        prepare(ctx)
    key_rotation.rotate(ctx, "issuer", "demo")
    assert ctx.keys.issuer("demo").signer.alg == "ES256"
