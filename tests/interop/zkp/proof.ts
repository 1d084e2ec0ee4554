/** What prover and verifier have in common: constant points, the transcript, the proof's bytes. */
import { TYPED, domain, slice, type Shown } from "./bbs.js";
import {
  G1_BYTES,
  SCALAR_BYTES,
  ZkpError,
  g1FromBytes,
  hashToG1Xmd,
  scalarFromBytes,
  u64,
  utf8,
  type G1Point,
  type Scalar,
} from "./curve.js";
import { type Layout, type PresentedCredential } from "./layout.js";
import { type LinearSystem } from "./linear.js";
import { canonicalRequest, type ProofRequest } from "./request.js";
import { attributeOf, scalarOf, type Schema } from "./schema.js";
import { Transcript } from "./transcript.js";

const PROTOCOL = "consent-broker presentation v1";
export const PROOF_VERSION = 1;
const BITS_TAG = utf8("CONSENT-BROKER-ZKP-V1_BLS12381G1_XMD:SHA-256_SSWU_RO_PEDERSEN_");

export const refused = (why: string) => new ZkpError("proof_invalid", why);

const points = new Map<string, G1Point>();
export function point(name: string): G1Point {
  const found = points.get(name) ?? hashToG1Xmd(utf8(name), BITS_TAG);
  points.set(name, found);
  return found;
}
/** The point of a bit, numbered from 0. */
export const bitPoint = (number: number): G1Point => point(`G${number + 1}`);

export interface BitPoints {
  readonly b: G1Point;
  readonly a: G1Point;
  readonly r1: G1Point;
  readonly r0: G1Point;
}

/** A proof's parts, each a valid point or scalar; its length follows from the request. */
export function readProof(proof: Uint8Array, system: LinearSystem, credentials: number) {
  const four = system.bits > 0 ? 4 : 0;
  const pointCount = 5 * credentials + four;
  const scalarCount = 3 * credentials + four / 2 + system.free.length;
  const expected = 1 + pointCount * G1_BYTES + scalarCount * SCALAR_BYTES;
  if (proof.length !== expected || proof[0] !== PROOF_VERSION) {
    throw refused(`a proof of this request has ${expected} bytes and version 1`);
  }
  const body = proof.subarray(1);
  const rest = body.subarray(pointCount * G1_BYTES);
  const read = Array.from({ length: pointCount }, (_, at) =>
    g1FromBytes(slice(body, at, G1_BYTES)),
  );
  const numbers = Array.from({ length: scalarCount }, (_, at) =>
    scalarFromBytes(slice(rest, at, SCALAR_BYTES)),
  );
  const shown = Array.from({ length: credentials }, (_, at): Shown => {
    const [aBar, bBar, d, t1, t2] = read.slice(5 * at) as [
      G1Point,
      G1Point,
      G1Point,
      G1Point,
      G1Point,
    ];
    return { aBar, bBar, d, t1, t2 };
  });
  const scalars = shown.map(
    (_, at) => numbers.slice(3 * at, 3 * at + 3) as [Scalar, Scalar, Scalar],
  );
  const left = numbers.slice(3 * credentials);
  const [b, a, r1, r0] = read.slice(-4) as [G1Point, G1Point, G1Point, G1Point];
  const bits: BitPoints | undefined = four ? { b, a, r1, r0 } : undefined;
  const [z, zT] = four ? (left as [Scalar, Scalar]) : [0n, 0n];
  return { shown, scalars, bits, z, zT, free: left.slice(four / 2) };
}

/** The transcript up to the commitments of the credentials. */
export function begin(
  request: ProofRequest,
  layout: Layout,
  credentials: Readonly<Record<string, PresentedCredential>>,
  firsts: readonly Uint8Array[],
): Transcript {
  const transcript = new Transcript(PROTOCOL);
  transcript.add("request", canonicalRequest(request));
  transcript.add("system", layout.system.toBytes());
  request.credentials.forEach((name, number) => {
    const credential = credentials[name]!;
    const schema = layout.schemas.get(name)!;
    transcript.add("credential", utf8(name));
    transcript.add("key", credential.key);
    transcript.add("header", credential.header);
    transcript.add("bound", new Uint8Array([Number(credential.bound)]));
    for (const [index, message] of revealedMessages(credential, schema)) {
      transcript.add("index", u64(index));
      transcript.addScalar("revealed", message);
    }
    transcript.addScalar("domain", domainOf(credential, schema));
    transcript.add("points", firsts[number]!);
  });
  return transcript;
}

export function drawY(transcript: Transcript, b: G1Point, a: G1Point): Scalar {
  transcript.add("B", b.toBytes(true));
  transcript.add("A", a.toBytes(true));
  return transcript.challenge("y");
}

export function drawC(transcript: Transcript, r1: G1Point, r0: G1Point): Scalar {
  transcript.add("R1", r1.toBytes(true));
  transcript.add("R0", r0.toBytes(true));
  return transcript.challenge("c");
}

export function drawWithoutBits(transcript: Transcript): Scalar {
  transcript.challenge("y");
  return transcript.challenge("c");
}

export function domainOf(credential: PresentedCredential, schema: Schema): Scalar {
  const count = schema.attributes.length + Number(credential.bound);
  return domain(credential.key, credential.header, count, TYPED);
}

export function revealedMessages(
  credential: PresentedCredential,
  schema: Schema,
): [number, Scalar][] {
  return Object.entries(credential.revealed)
    .map(([name, value]): [number, Scalar] => {
      const [index, attribute] = attributeOf(schema, name);
      return [index, scalarOf(attribute, value)];
    })
    .sort(([one], [other]) => one - other);
}
