"""The audit log, public and read-only: C2SP tlog-tiles below `/log/`, and proofs for the entitled.

What the tiles and bundles hold is salted hashes: anybody can watch that the log only grows, and
nobody learns from it what happened, to whom or how often with which partner.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from broker.api.deps import AnyCaller, Ctx
from broker.domain.errors import InvalidTilePath, NotFound
from broker.domain.tiles import parse_tile_path
from broker.usecases import log_reading

router = APIRouter(tags=["log"])

NOTE_TYPE = "text/plain; charset=utf-8"
TILE_TYPE = "application/octet-stream"

# A checkpoint is replaced at most once a second; a tile, once it is published, never.
CHECKPOINT_HEADERS = {"Cache-Control": "public, max-age=1", "Access-Control-Allow-Origin": "*"}
TILE_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Access-Control-Allow-Origin": "*",
}

_NOTE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"example": "broker.example/log\n42\nq83v...=\n\n— ..."}}}
}
_TILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {TILE_TYPE: {}}, "description": "Never changes."},
    404: {"description": "Not the address of a tile, or the published log does not reach it."},
}


@router.get("/log/checkpoint", response_class=Response, responses=_NOTE)
async def get_checkpoint(ctx: Ctx) -> Response:
    """The newest signed checkpoint of the log (c2sp.org/tlog-checkpoint)."""
    note = await ctx.db.read(log_reading.checkpoint)
    return Response(note, media_type=NOTE_TYPE, headers=CHECKPOINT_HEADERS)


@router.get("/log/tile/entries/{address:path}", response_class=Response, responses=_TILE)
async def get_entries(ctx: Ctx, address: str) -> Response:
    """A bundle of log entries, as in `000` or `x001/234.p/17` (c2sp.org/tlog-tiles).

    Each entry is the 32-byte salted hash of an act, after its length as a big-endian uint16.
    """
    return await _tile(ctx, "entries", address)


@router.get("/log/tile/{level}/{address:path}", response_class=Response, responses=_TILE)
async def get_tile(ctx: Ctx, level: str, address: str) -> Response:
    """A tile of the Merkle tree, as in `0/000` or `1/x001/234.p/17` (c2sp.org/tlog-tiles)."""
    return await _tile(ctx, level, address)


@router.get("/v1/log/proof", response_class=Response, responses=_NOTE)
async def get_proof(
    ctx: Ctx, caller: AnyCaller, entry: Annotated[str, Query(max_length=64)]
) -> Response:
    """The proof that an entry is in the log, one file that verifies offline (c2sp.org/tlog-proof).

    Officers get it for every entry of their tenant, partners for those of their own consents.
    `extra` is the entry's salt: leaf data = SHA-256(salt || canonical entry).
    """
    partner_id = None if caller.role == "officer" else caller.client_id
    proof = await ctx.db.read(
        lambda tx: log_reading.proof_of_entry(ctx, tx, caller.tenant_id, partner_id, entry)
    )
    return Response(proof, media_type=NOTE_TYPE, headers={"Cache-Control": "no-store"})


async def _tile(ctx: Ctx, level: str, address: str) -> Response:
    try:
        number, position, width = parse_tile_path(level, address)
    except InvalidTilePath as error:
        raise NotFound(str(error)) from None
    data = await ctx.db.read(lambda tx: log_reading.tile(tx, number, position, width))
    return Response(data, media_type=TILE_TYPE, headers=TILE_HEADERS)
