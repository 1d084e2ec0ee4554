"""`consent-broker federation member offer` and `join`: by a credential, and in one command."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
)

from broker.cli.composed import REFUSED, USAGE, Json, Tenant, composed, read_file, read_json_file
from broker.domain.addresses import ROOT_TENANT
from broker.domain.errors import BrokerError
from broker.domain.membership import QUERY, TYPE, statement
from broker.domain.trust import LARGEST as LARGEST_TRUST
from broker.domain.trust import Trust
from broker.outbound.client import ApiError, Carrier, Client
from broker.usecases.membership import offer_membership
from credentials.errors import CredentialError
from credentials.jcs import b64url
from credentials.keys import PublicKey, SoftwareKey, thumbprint
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback import (
    HeldCredential,
    PresentationRequest,
    Wallet,
    accept_offer,
    answer_request,
)

LARGEST_KEY = 8_192
LARGEST_OFFER = 8_192
LARGEST_CREDENTIAL = 65_536
P256_BYTES = 32


def register(commands: typer.Typer) -> None:
    """Add the commands."""
    commands.command("offer")(offer)
    commands.command("join")(join)


def offer(
    partner_id: Annotated[str, typer.Argument(help="The partner's client id. 合作方编号。")],
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Offer a partner's node its membership credential. 向成员发放成员凭证。

    Prints the offer and a transaction code: send the code by another way than the offer.
    """
    with composed() as ctx:
        made = offer_membership(ctx, tenant, partner_id)
    if as_json:
        typer.echo(json.dumps(vars(made)))
        return
    typer.echo(f"offer    {made.offer}")
    typer.echo(f"tx code  {made.tx_code}   (by another way / 请另行发送)")
    typer.echo(
        "good for one day, once / 一天内有效，仅限一次: "
        "consent-broker federation member join --offer @FILE"
    )


def join(
    broker: Annotated[str, typer.Option(help="The consortium's address. 联邦地址。")],
    client_id: Annotated[str, typer.Option(help="Your client id. 合作方编号。")],
    client_key: Annotated[Path, typer.Option(help="Your private JWK. 合作方私钥文件。")],
    node_key: Annotated[
        Path, typer.Option(help="The node's private key: node/node.key, or PEM. 节点私钥文件。")
    ],
    receipt_key: Annotated[
        Path, typer.Option(help="The JWK for your receipts; its public part is sent. 回执密钥。")
    ],
    trust: Annotated[
        Path, typer.Option(help="Whom you trust: consent-broker trust export. 信任文件。")
    ],
    credential: Annotated[
        Path, typer.Option(help="Where the membership credential is kept. 成员凭证文件。")
    ] = Path("membership.sd-jwt"),
    offer_link: Annotated[
        str | None,
        typer.Option(
            "--offer",
            help="Take this offer first: @FILE with the link, - to be asked, or the link. "
            "先领取该成员凭证：@文件、-（提示输入）或链接。",
        ),
    ] = None,
    tx_code: Annotated[
        str | None,
        typer.Option(
            help="The code that came by another way: @FILE, - to be asked, or the code. "
            "另行收到的验证码：@文件、-（提示输入）或验证码。"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Join a consortium from the member's machine: take the offer, present it. 加入联邦。

    Needs no database: it speaks with the consortium's broker over HTTP. With --offer the
    membership credential is fetched, bound to the node's key, and kept; without, the kept one is
    presented again, as after a revocation was lifted by a new one.

    Other users of the machine see a command's arguments (ps): hand in offer and code by @FILE or -.
    In a terminal the code is asked for where it is not given.
    同机其他用户可见命令行参数，请用 @文件 或 -。
    """
    own = _node_key(read_file(node_key, LARGEST_KEY))
    partner = read_json_file(client_key, LARGEST_KEY)
    try:
        receipts = PublicKey(read_json_file(receipt_key, LARGEST_KEY)).jwk
        wallet = Wallet(anchors=list(Trust.parse(read_file(trust, LARGEST_TRUST)).roots))
        client = Client(broker.rstrip("/"), client_id, partner.get("private_jwk", partner))
    except (BrokerError, CredentialError) as error:
        typer.echo(f"consent-broker: {error}", err=True)
        raise typer.Exit(USAGE) from None
    if offer_link is not None:
        offer_link = _given(offer_link, "Offer / 凭证链接")
        asked = "-" if tx_code is None and sys.stdin.isatty() else tx_code
        tx_code = None if asked is None else _given(asked, "Transaction code / 验证码")
    carry = Carrier()
    try:
        if offer_link is not None:
            _take(wallet, offer_link, tx_code, own, carry, credential)
        else:
            wallet.credentials = [_kept(credential, own)]
        _present(wallet, client, broker.rstrip("/"), client_id, receipts, carry)
    except (ApiError, WalletProtocolError, CredentialError) as error:
        typer.echo(f"consent-broker: not admitted: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    except httpx2.HTTPError as error:
        typer.echo(f"consent-broker: {broker} cannot be reached: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    finally:
        carry.close()
        client.close()
    node = thumbprint(own.public_jwk())
    told = {"member": client_id, "state": "admitted", "node": node}
    typer.echo(json.dumps(told) if as_json else f"{client_id} is admitted, by its node {node}")


def _take(
    wallet: Wallet,
    link: str,
    tx_code: str | None,
    own: SoftwareKey,
    carry: Carrier,
    file: Path,
) -> None:
    """Fetch the credential by its offer, and keep it before anything else is done with it."""
    kept = None
    try:
        # Before the offer is used up: a folder that takes no file is noticed here. It is for the
        # owner alone, and takes the place of an earlier credential when it is whole.
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".new-")
        kept = Path(name)
        with os.fdopen(handle, "w", encoding="ascii") as output:
            output.write(_accepted(wallet, link, tx_code, own, carry))
            output.flush()
            os.fsync(output.fileno())
        kept.replace(file)
    except OSError as error:
        typer.echo(f"consent-broker: cannot write {file}: {error.strerror}", err=True)
        raise typer.Exit(USAGE) from None
    finally:
        if kept is not None:
            kept.unlink(missing_ok=True)


def _accepted(
    wallet: Wallet, link: str, tx_code: str | None, own: SoftwareKey, carry: Carrier
) -> str:
    [held] = accept_offer(
        wallet,
        link,
        carry=carry,
        now=int(time.time()),
        tx_code=tx_code,
        dpop_key=SoftwareKey.generate("ES256"),
        key=own,
    )
    return held.credential


def _given(value: str, name: str) -> str:
    """What is not for everybody's eyes: in a file (`@FILE`), asked for (`-`), or as it stands."""
    if value == "-":
        return str(typer.prompt(name, hide_input=True, err=True)).strip()
    if value.startswith("@"):
        return read_file(Path(value[1:]), LARGEST_OFFER).decode("ascii", "replace").strip()
    return value


def _kept(file: Path, own: SoftwareKey) -> HeldCredential:
    text = read_file(file, LARGEST_CREDENTIAL).decode("ascii", "replace").strip()
    held = HeldCredential(
        credential=text, holder_key=own.private_jwk(), issuer="", vct="", configuration_id=""
    )
    claims = held.claims()
    return HeldCredential(
        credential=text,
        holder_key=own.private_jwk(),
        issuer=str(claims.get("iss", "")),
        vct=str(claims.get("vct", "")),
        configuration_id="",
    )


def _present(
    wallet: Wallet,
    client: Client,
    broker: str,
    member: str,
    receipts: Mapping[str, str],
    carry: Carrier,
) -> None:
    """Answer the broker's request, if it asks for exactly what is meant to be signed."""
    asked = client.post("/v1/federation/join-requests", {"receipt_key": dict(receipts)})
    meant = statement(broker, member, receipts)

    def agree(request: PresentationRequest) -> Collection[str]:
        signs: list[Mapping[str, Any]] = [one.content for one in request.transaction_data]
        return (QUERY,) if signs == [meant] else ()

    answer_request(
        wallet,
        str(asked["wallet_link"]),
        carry=carry,
        now=int(time.time()),
        grant=agree,
        known_types=(TYPE,),
    )


def _node_key(data: bytes) -> SoftwareKey:
    """A node's private key, as `federation.flower node-key` writes it, or PEM; exit 2 without."""
    load = load_ssh_private_key if b"OPENSSH" in data else load_pem_private_key
    try:
        key = load(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        typer.echo(
            "consent-broker: the node's key is a private key on P-256, OpenSSH or PEM, without a "
            "password: python -m federation.flower node-key",
            err=True,
        )
        raise typer.Exit(USAGE)
    numbers = key.private_numbers()
    public = numbers.public_numbers
    parts = {"d": numbers.private_value, "x": public.x, "y": public.y}
    encoded = {name: b64url(value.to_bytes(P256_BYTES, "big")) for name, value in parts.items()}
    return SoftwareKey.from_private_jwk({"kty": "EC", "crv": "P-256", **encoded})
