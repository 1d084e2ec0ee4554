/**
 * BLS12-381 behind a narrow, strict interface, and hashing to scalars and points.
 *
 * Scalars are bigints below the order. Points of G1 are 48 bytes, of G2 96 bytes, compressed; the
 * identity is no point, a point has one encoding. Nothing here needs more than a browser has.
 */
import { bls12_381 } from "@noble/curves/bls12-381.js";
import { pippenger } from "@noble/curves/abstract/curve.js";
import { expand_message_xmd, expand_message_xof } from "@noble/curves/abstract/hash-to-curve.js";
import { randomBytes } from "@noble/curves/utils.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { shake256 } from "@noble/hashes/sha3.js";

const { G1, G2, fields, pairingBatch } = bls12_381;
export type G1Point = InstanceType<typeof G1.Point>;
export type G2Point = InstanceType<typeof G2.Point>;
export type Scalar = bigint;

export const ORDER: bigint = fields.Fr.ORDER;
export const IDENTITY: G1Point = G1.Point.ZERO;
export const G2_GENERATOR: G2Point = G2.Point.BASE;
export const SCALAR_BYTES = 32;
export const G1_BYTES = 48;
export const G2_BYTES = 96;
const WIDE_BYTES = 48;

/** What this package refuses; `code` says of which kind. It never holds a value or a secret. */
export class ZkpError extends Error {
  constructor(
    readonly code: Code,
    message: string,
  ) {
    super(message);
    this.name = "ZkpError";
  }
}
export type Code =
  | "too_large"
  | "point_invalid"
  | "scalar_invalid"
  | "signature_invalid"
  | "proof_invalid"
  | "schema_invalid"
  | "attribute_invalid"
  | "statement_invalid"
  | "statement_false";

export const modulo = (value: bigint): Scalar => ((value % ORDER) + ORDER) % ORDER;
export const inverse = (value: Scalar): Scalar => fields.Fr.inv(value);

export function randomScalar(): Scalar {
  return modulo(toNumber(randomBytes(WIDE_BYTES)));
}

/** A weight of 128 random bits, other than zero. */
export function randomWeight(): Scalar {
  return toNumber(randomBytes(16)) + 1n;
}

export function scalarToBytes(scalar: Scalar): Uint8Array {
  return fromNumber(scalar, SCALAR_BYTES);
}

export function scalarFromBytes(data: Uint8Array): Scalar {
  const scalar = toNumber(data);
  if (data.length !== SCALAR_BYTES || scalar >= ORDER) {
    throw new ZkpError("scalar_invalid", "a scalar is 32 bytes, big-endian, below the order");
  }
  return scalar;
}

export function g1FromBytes(data: Uint8Array): G1Point {
  return strictly(data, G1_BYTES, G1.Point);
}

export function g2FromBytes(data: Uint8Array): G2Point {
  return strictly(data, G2_BYTES, G2.Point);
}

interface Decoded {
  is0(): boolean;
  assertValidity(): void;
  toBytes(compressed?: boolean): Uint8Array;
}

function strictly<P extends Decoded>(
  data: Uint8Array,
  size: number,
  group: { fromBytes(data: Uint8Array): P },
): P {
  const wrong = () => new ZkpError("point_invalid", "not a point of the group in canonical form");
  if (data.length !== size) throw wrong();
  let point: P;
  try {
    point = group.fromBytes(data);
    point.assertValidity(); // on the curve and in the subgroup
  } catch {
    throw wrong();
  }
  if (point.is0() || !equal(point.toBytes(true), data)) throw wrong();
  return point;
}

/** A point times a scalar that may be secret: constant time, as far as bigints are. */
export function multiply(point: G1Point, scalar: Scalar): G1Point {
  return scalar === 0n || point.is0() ? IDENTITY : point.multiply(scalar);
}

export function publicPoint(secret: Scalar): G2Point {
  return G2_GENERATOR.multiply(secret);
}

/** The sum of points times public scalars. */
export function sumOfProducts(terms: readonly (readonly [G1Point, Scalar])[]): G1Point {
  const used = terms.filter(([point, scalar]) => scalar !== 0n && !point.is0());
  if (used.length === 0) return IDENTITY;
  return pippenger(
    G1.Point,
    used.map(([point]) => point),
    used.map(([, scalar]) => scalar),
  );
}

/** Whether the product of the pairings is one. An empty product shows nothing. */
export function pairingProductIsOne(pairs: readonly { g1: G1Point; g2: G2Point }[]): boolean {
  if (pairs.length === 0) return false;
  const { Fp12 } = fields;
  return Fp12.eql(pairingBatch([...pairs]), Fp12.ONE);
}

export type Expand = (message: Uint8Array, tag: Uint8Array, length: number) => Uint8Array;

export const expandXmd: Expand = (message, tag, length) =>
  expand_message_xmd(message, tag, length, sha256);
export const expandXof: Expand = (message, tag, length) =>
  expand_message_xof(message, tag, length, 128, shake256);

export function hashToScalar(message: Uint8Array, tag: Uint8Array, expand: Expand): Scalar {
  return modulo(toNumber(expand(message, tag, WIDE_BYTES)));
}

export function hashToG1Xmd(message: Uint8Array, tag: Uint8Array): G1Point {
  return G1.hashToCurve(message, { DST: tag }) as G1Point;
}

/** The same with SHAKE-256: two field elements of 64 expanded bytes, mapped and added. */
export function hashToG1Xof(message: Uint8Array, tag: Uint8Array): G1Point {
  const uniform = expandXof(message, tag, 128);
  return mapped(uniform.subarray(0, 64)).add(mapped(uniform.subarray(64)));
}

/** The library takes one element and gives a point of the subgroup, whatever its types say. */
function mapped(element: Uint8Array): G1Point {
  const map = G1.mapToCurve as unknown as (element: bigint) => G1Point;
  return map(fields.Fp.create(toNumber(element)));
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

export function join(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export function equal(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/** A number in so many bytes, big-endian. */
export function fromNumber(value: number | bigint, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let rest = BigInt(value);
  for (let at = size - 1; at >= 0; at--, rest >>= 8n) bytes[at] = Number(rest & 255n);
  return bytes;
}

export const u64 = (value: number): Uint8Array => fromNumber(value, 8);

export function toNumber(bytes: Uint8Array): bigint {
  let hex = "0x0";
  for (const byte of bytes) hex += byte.toString(16).padStart(2, "0");
  return BigInt(hex);
}
