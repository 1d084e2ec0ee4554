"""`consent-broker guardian`: minors among a partner's contacts, and who signs for them."""

import json
from typing import Annotated

import typer

from broker.api.guardians import MinorOut, minor_out
from broker.cli.composed import Json, Tenant, composed
from broker.domain.addresses import ROOT_TENANT
from broker.usecases import guardian as usecases

guardian = typer.Typer(
    help="Minors, and who signs their consents too. 未成年人的监护人。", no_args_is_help=True
)

Partner = Annotated[str, typer.Option("--partner", help="Whose contact it is. 合作方编号。")]
Contact = Annotated[str, typer.Argument(help="The minor's contact, like ct-4k2v... 联系人编号。")]


@guardian.command("set")
def set_guardian(
    subject_ref: Annotated[str, typer.Argument(help="The partner's reference. 未成年人的引用。")],
    guardian_ref: Annotated[
        str, typer.Option("--guardian", help="The reference to the guardian. 监护人的引用。")
    ],
    age_band: Annotated[
        str, typer.Option("--age-band", help="under_13 to under_16, the lowest. 年龄段。")
    ],
    partner: Partner,
    relation: Annotated[
        str, typer.Option("--relation", help="parent or legal_guardian. 关系。")
    ] = "parent",
    alone: Annotated[
        bool, typer.Option("--alone", help="The child has no wallet. 仅由监护人签署。")
    ] = False,
    of_age_at: Annotated[
        int | None,
        typer.Option(help="From when on (Unix seconds) to ask in person. 自何时起改问本人。"),
    ] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """Say that a contact is a minor, and who the guardian is. 登记未成年人及其监护人。

    Consents asked from now on take both signatures where a law asks for it (PIPL 31, GDPR 8).
    """
    with composed() as ctx:
        marked = usecases.mark(
            ctx,
            tenant,
            partner,
            subject_ref,
            age_band=age_band,
            guardian_ref=guardian_ref,
            relation=relation,
            alone=alone,
            of_age_at=of_age_at,
        )
    _tell(minor_out(marked), as_json=as_json)


@guardian.command("show")
def show(contact_id: Contact, tenant: Tenant = ROOT_TENANT, as_json: Json = False) -> None:
    """What is said of a minor. 查看。"""
    with composed() as ctx:
        marked = usecases.find(ctx, tenant, None, contact_id)
    _tell(minor_out(marked), as_json=as_json)


@guardian.command("remove")
def remove(
    contact_id: Contact, partner: Partner, tenant: Tenant = ROOT_TENANT, as_json: Json = False
) -> None:
    """Say that a contact is no minor: it is asked again in person. 撤销登记，改问本人。"""
    with composed() as ctx:
        usecases.unmark(ctx, tenant, partner, contact_id)
    told = {"id": contact_id, "minor": False}
    typer.echo(json.dumps(told) if as_json else f"{contact_id} is no minor")


def _tell(told: MinorOut, *, as_json: bool) -> None:
    if as_json:
        typer.echo(told.model_dump_json())
        return
    typer.echo(f"minor     {told.id}  {told.age_band}")
    typer.echo(f"guardian  {told.guardian}  {told.relation}{'  alone' if told.alone else ''}")
    if told.of_age_at is not None:
        typer.echo(f"asked in person from {told.of_age_at}")
