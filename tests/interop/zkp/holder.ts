/** A holder's secret, signed blindly as the last message of a credential. */
import { TYPED, publicKey, sign, type Signature } from "./bbs.js";
import {
  G1_BYTES,
  ZkpError,
  g1FromBytes,
  join,
  modulo,
  multiply,
  randomScalar,
  scalarFromBytes,
  scalarToBytes,
  type G1Point,
  type Scalar,
} from "./curve.js";
import { readHeader, scalarsOf, type Values } from "./schema.js";
import { Transcript } from "./transcript.js";

const PROTOCOL = "consent-broker holder commitment v1";

/** The holder's part: 112 bytes for the issuer, and the secret to keep. */
export function commit(
  key: Uint8Array,
  header: Uint8Array,
  nonce: Uint8Array,
): { commitment: Uint8Array; secret: Scalar } {
  const generator = lastGenerator(header);
  const [secret, blinding] = [randomScalar(), randomScalar()];
  const [point, first] = [multiply(generator, secret), multiply(generator, blinding)];
  const c = challenge(key, header, nonce, point, first);
  const response = modulo(blinding + c * secret);
  return {
    commitment: join(point.toBytes(true), scalarToBytes(c), scalarToBytes(response)),
    secret,
  };
}

/** The issuer's part: check that the secret is known, and sign it unseen behind the attributes. */
export function signBound(
  secret: Scalar,
  header: Uint8Array,
  values: Values,
  commitment: Uint8Array,
  nonce: Uint8Array,
): Signature {
  if (commitment.length !== G1_BYTES + 64) {
    throw new ZkpError("proof_invalid", "a holder's commitment has 112 bytes");
  }
  const point = g1FromBytes(commitment.subarray(0, G1_BYTES));
  const [c, response] = [0, 32].map((at) =>
    scalarFromBytes(commitment.subarray(G1_BYTES + at, G1_BYTES + at + 32)),
  ) as [Scalar, Scalar];
  const first = multiply(lastGenerator(header), response).subtract(multiply(point, c));
  if (challenge(publicKey(secret), header, nonce, point, first) !== c) {
    throw new ZkpError("proof_invalid", "the commitment does not show that its secret is known");
  }
  return sign(secret, header, scalarsOf(readHeader(header).schema, values), TYPED, point);
}

function lastGenerator(header: Uint8Array): G1Point {
  const count = readHeader(header).schema.attributes.length;
  return TYPED.generators(count + 1)[count + 1]!;
}

function challenge(
  key: Uint8Array,
  header: Uint8Array,
  nonce: Uint8Array,
  point: G1Point,
  first: G1Point,
): Scalar {
  const transcript = new Transcript(PROTOCOL);
  transcript.add("key", key);
  transcript.add("header", header);
  transcript.add("nonce", nonce);
  transcript.add("commitment", point.toBytes(true));
  transcript.add(
    "first",
    first.is0() ? join(new Uint8Array([0xc0]), new Uint8Array(47)) : first.toBytes(true),
  );
  return transcript.challenge("holder");
}
