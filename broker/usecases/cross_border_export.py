"""The register of transfers for the regulator: read at one moment, vouched for, told in the log."""

from broker.domain.addresses import tenant_url
from broker.domain.cross_border_export import Register, vouch
from broker.domain.word import file_hash
from broker.store import cross_border as store
from broker.store import log_tree, partners, registry
from broker.usecases import audit, cross_border
from broker.usecases.context import Context, at_one_moment


def read(ctx: Context, tenant_id: str, year: int | None = None) -> Register:
    """The register of a year (else this one, in Beijing).

    Raises `InvalidRequest`, `NotFound` (tenant).
    """
    ctx = at_one_moment(ctx)
    counts = cross_border.counts(ctx, tenant_id, year)
    with ctx.db.reading() as tx:
        tenant = registry.tenant(tx, tenant_id)
        mechanisms = store.every(tx, tenant_id)
        names = {row.id: row.name for row in partners.of_tenant(tx, tenant_id)}
    named = {one.partner for one in mechanisms} | {one.exporter for one in mechanisms}
    return Register(
        tenant=tenant_id,
        name_zh=tenant.name_zh,
        name_en=tenant.name_en,
        year=counts[0].year,
        made_at=ctx.now(),
        mechanisms=tuple(mechanisms),
        counts=tuple(counts),
        partners={name: names[name] for name in sorted(named) if name in names},
    )


def signed(
    ctx: Context,
    found: Register,
    content: bytes,
    form: str,
    *,
    by: str = cross_border.OPERATOR,
) -> str:
    """The broker's word on a file that tells `found`; that it was exported is in the log."""
    key = ctx.keys.issuer(found.tenant)
    with ctx.db.reading() as tx:
        latest = log_tree.latest_checkpoint(tx)
    token = vouch(
        content,
        signer=key.signer,
        x5c=key.x5c,
        issuer=tenant_url(ctx.settings.public_url, found.tenant),
        year=found.year,
        form=form,
        now=found.made_at,
        checkpoint=None if latest is None else latest.note,
    )
    body = {"year": found.year, "form": form, "sha256": file_hash(content), "by": by}
    with ctx.db.transaction() as tx:
        audit.record(ctx, tx, tenant_id=found.tenant, type="transfer.exported", body=body)
    return token
