/**
 * BBS signatures (draft-irtf-cfrg-bbs-signatures, July 2025): suites, keys, sign, verify, proofs.
 *
 *     B = P1 + Q domain + H_1 m_1 + ... + H_L m_L        A = B / (SK + e)
 */
import {
  G1_BYTES,
  G2_GENERATOR,
  SCALAR_BYTES,
  ZkpError,
  equal,
  expandXmd,
  expandXof,
  g1FromBytes,
  g2FromBytes,
  hashToG1Xmd,
  hashToG1Xof,
  hashToScalar,
  inverse,
  join,
  modulo,
  multiply,
  pairingProductIsOne,
  publicPoint,
  randomScalar,
  scalarFromBytes,
  scalarToBytes,
  sumOfProducts,
  u64,
  utf8,
  type Expand,
  type G1Point,
  type Scalar,
} from "./curve.js";

export const MOST_MESSAGES = 128;

/** A ciphersuite with an interface (`api_id`) over it; it keeps its generators. */
export class Interface {
  readonly apiId: Uint8Array;
  private readonly points: G1Point[] = [];
  private value: Uint8Array | undefined;
  private first: G1Point | undefined;

  constructor(
    private readonly suite: string,
    name: string,
    private readonly expand: Expand,
    private readonly toG1: (message: Uint8Array, tag: Uint8Array) => G1Point,
  ) {
    this.apiId = utf8(suite + name);
  }

  /** P1, which belongs to the suite and not to the interface. */
  get p1(): G1Point {
    this.first ??= this.next(
      utf8(this.suite + "H2G_HM2S_"),
      "BP_MESSAGE_GENERATOR_SEED",
      1,
      undefined,
    )[1];
    return this.first;
  }

  /** Q, H_1, ... H_n for n messages. */
  generators(messages: number): G1Point[] {
    if (messages > MOST_MESSAGES) throw new ZkpError("too_large", "too many messages");
    while (this.points.length <= messages) {
      const number = this.points.length + 1;
      const [value, point] = this.next(this.apiId, "MESSAGE_GENERATOR_SEED", number, this.value);
      this.value = value;
      this.points.push(point);
    }
    return this.points.slice(0, messages + 1);
  }

  hash(...parts: readonly Uint8Array[]): Scalar {
    return hashToScalar(join(...parts), join(this.apiId, utf8("H2S_")), this.expand);
  }

  messageScalar(message: Uint8Array): Scalar {
    const tag = join(this.apiId, utf8("MAP_MSG_TO_SCALAR_AS_HASH_"));
    return hashToScalar(message, tag, this.expand);
  }

  /** One step of `create_generators`. */
  private next(
    api: Uint8Array,
    seed: string,
    number: number,
    before: Uint8Array | undefined,
  ): [Uint8Array, G1Point] {
    const seedTag = join(api, utf8("SIG_GENERATOR_SEED_"));
    const from = before ?? this.expand(join(api, utf8(seed)), seedTag, 48);
    const value = this.expand(join(from, u64(number)), seedTag, 48);
    return [value, this.toG1(value, join(api, utf8("SIG_GENERATOR_DST_")))];
  }
}

const SHA_256_SUITE = "BBS_BLS12381G1_XMD:SHA-256_SSWU_RO_";
const SHAKE_256_SUITE = "BBS_BLS12381G1_XOF:SHAKE-256_SSWU_RO_";
export const SHA_256 = new Interface(SHA_256_SUITE, "H2G_HM2S_", expandXmd, hashToG1Xmd);
export const SHAKE_256 = new Interface(SHAKE_256_SUITE, "H2G_HM2S_", expandXof, hashToG1Xof);
/** The interface of typed attributes. */
export const TYPED = new Interface(
  SHA_256_SUITE,
  "H2G_CONSENT_BROKER_TYPED_V1_",
  expandXmd,
  hashToG1Xmd,
);

export interface Signature {
  readonly a: G1Point;
  readonly e: Scalar;
}

export function signatureToBytes(signature: Signature): Uint8Array {
  return join(signature.a.toBytes(true), scalarToBytes(signature.e));
}

export function signatureFromBytes(data: Uint8Array): Signature {
  try {
    return { a: g1FromBytes(data.subarray(0, G1_BYTES)), e: notZero(data.subarray(G1_BYTES)) };
  } catch {
    throw new ZkpError("signature_invalid", "not a signature of BBS");
  }
}

export const publicKey = (secret: Scalar): Uint8Array => publicPoint(secret).toBytes(true);

export function domain(
  key: Uint8Array,
  header: Uint8Array,
  messages: number,
  suite: Interface,
): Scalar {
  const points = suite.generators(messages).map((point) => point.toBytes(true));
  return suite.hash(key, u64(messages), ...points, suite.apiId, u64(header.length), header);
}

/** P1 + Q domain + the sum of H_i m_i over the messages given by index. */
export function base(
  messages: ReadonlyMap<number, Scalar>,
  bound: Scalar,
  total: number,
  suite: Interface,
): G1Point {
  const points = suite.generators(total);
  let sum = suite.p1.add(multiply(points[0]!, bound));
  for (const [index, message] of messages) sum = sum.add(multiply(points[index + 1]!, message));
  return sum;
}

export const byIndex = (messages: readonly Scalar[]): Map<number, Scalar> =>
  new Map(messages.entries());

/** `commitment` is a holder's, for a message that the issuer does not see (`holder.ts`). */
export function sign(
  secret: Scalar,
  header: Uint8Array,
  messages: readonly Scalar[],
  suite: Interface,
  commitment?: G1Point,
): Signature {
  const total = messages.length + (commitment ? 1 : 0);
  const bound = domain(publicKey(secret), header, total, suite);
  const told = [secret, ...messages, bound].map(scalarToBytes);
  const e = suite.hash(...told, ...(commitment ? [commitment.toBytes(true)] : []));
  const exponent = modulo(secret + e);
  if (exponent === 0n || e === 0n) {
    throw new ZkpError("signature_invalid", "this message cannot be signed by this key");
  }
  const point = base(byIndex(messages), bound, total, suite);
  return { a: multiply(commitment ? point.add(commitment) : point, inverse(exponent)), e };
}

export function verify(
  key: Uint8Array,
  signature: Signature,
  header: Uint8Array,
  messages: readonly Scalar[],
  suite: Interface,
): boolean {
  const bound = domain(key, header, messages.length, suite);
  const signed = base(byIndex(messages), bound, messages.length, suite);
  return pairingProductIsOne([
    { g1: signature.a, g2: g2FromBytes(key) },
    { g1: multiply(signature.a, signature.e).subtract(signed), g2: G2_GENERATOR },
  ]);
}

/** What a prover sends first of a credential, in the order in which it is sent. */
export interface Shown {
  readonly aBar: G1Point;
  readonly bBar: G1Point;
  readonly d: G1Point;
  readonly t1: G1Point;
  readonly t2: G1Point;
}

export const shownToBytes = (shown: Shown): Uint8Array =>
  join(...[shown.aBar, shown.bBar, shown.d, shown.t1, shown.t2].map((one) => one.toBytes(true)));

/** The first move of a proof; the second is `respond`, once. */
export class ProofCommitment {
  private constructor(
    readonly shown: Shown,
    private readonly secrets: readonly [Scalar, Scalar, Scalar, Scalar, Scalar, Scalar],
  ) {}

  static make(
    signature: Signature,
    messages: readonly Scalar[],
    bound: Scalar,
    blindings: ReadonlyMap<number, Scalar>,
    suite: Interface,
  ): ProofCommitment {
    const [r1, r2, e_, r1_, r3_] = [1, 2, 3, 4, 5].map(randomScalar) as [
      Scalar,
      Scalar,
      Scalar,
      Scalar,
      Scalar,
    ];
    const d = multiply(base(byIndex(messages), bound, messages.length, suite), r2);
    const aBar = multiply(signature.a, modulo(r1 * r2));
    const bBar = multiply(d, r1).subtract(multiply(aBar, signature.e));
    const t1 = multiply(aBar, e_).add(multiply(d, r1_));
    let t2 = multiply(d, r3_);
    const points = suite.generators(messages.length);
    for (const [index, blinding] of blindings) {
      t2 = t2.add(multiply(points[index + 1]!, blinding));
    }
    return new ProofCommitment({ aBar, bBar, d, t1, t2 }, [
      r1,
      inverse(r2),
      signature.e,
      e_,
      r1_,
      r3_,
    ]);
  }

  respond(c: Scalar): [Scalar, Scalar, Scalar] {
    const [r1, r3, e, e_, r1_, r3_] = this.secrets;
    return [modulo(e_ + e * c), modulo(r1_ - r1 * c), modulo(r3_ - r3 * c)];
  }
}

/** `CoreProofGen`: three points, e^, r1^, r3^, the m^_j of the hidden messages, c. */
export function prove(
  key: Uint8Array,
  signature: Signature,
  header: Uint8Array,
  messages: readonly Scalar[],
  disclosed: readonly number[],
  presentationHeader: Uint8Array,
  suite: Interface,
): Uint8Array {
  const hidden = [...messages.keys()].filter((index) => !disclosed.includes(index));
  const blindings = new Map(hidden.map((index) => [index, randomScalar()]));
  const bound = domain(key, header, messages.length, suite);
  const made = ProofCommitment.make(signature, messages, bound, blindings, suite);
  const shown = new Map(disclosed.map((index) => [index, messages[index]!]));
  const c = challenge(made.shown, shown, bound, presentationHeader, suite);
  const answers = hidden.map((index) => modulo(blindings.get(index)! + messages[index]! * c));
  const { aBar, bBar, d } = made.shown;
  return join(
    ...[aBar, bBar, d].map((point) => point.toBytes(true)),
    ...[...made.respond(c), ...answers, c].map(scalarToBytes),
  );
}

/** `CoreProofVerify`. Throws `ZkpError` for what does not verify. */
export function verifyProof(
  key: Uint8Array,
  proof: Uint8Array,
  header: Uint8Array,
  disclosed: ReadonlyMap<number, Scalar>,
  presentationHeader: Uint8Array,
  suite: Interface,
): void {
  const wrong = () => new ZkpError("proof_invalid", "the proof does not show what it should");
  const rest = proof.subarray(3 * G1_BYTES);
  const count = rest.length / SCALAR_BYTES;
  if (proof.length < 3 * G1_BYTES || !Number.isInteger(count) || count < 4) throw wrong();
  const [aBar, bBar, d] = [0, 1, 2].map((number) => g1FromBytes(slice(proof, number, G1_BYTES)));
  const scalars = Array.from({ length: count }, (_, at) => notZero(slice(rest, at, SCALAR_BYTES)));
  const [e, r1, r3] = scalars as [Scalar, Scalar, Scalar];
  const c = scalars[count - 1]!;
  const total = disclosed.size + count - 4;
  if ([...disclosed.keys()].some((index) => index < 0 || index >= total)) throw wrong();
  const bound = domain(key, header, total, suite);
  const points = suite.generators(total);
  const t1 = sumOfProducts([
    [bBar!, c],
    [aBar!, e],
    [d!, r1],
  ]);
  const hidden = [...Array(total).keys()].filter((index) => !disclosed.has(index));
  const t2 = sumOfProducts([
    [suite.p1, c],
    [points[0]!, modulo(bound * c)],
    ...[...disclosed].map(([at, one]) => [points[at + 1]!, modulo(one * c)] as const),
    ...hidden.map((at, number) => [points[at + 1]!, scalars[3 + number]!] as const),
    [d!, r3],
  ]);
  const shown: Shown = { aBar: aBar!, bBar: bBar!, d: d!, t1, t2 };
  const ordered = new Map([...disclosed].sort(([one], [other]) => one - other));
  const expected = challenge(shown, ordered, bound, presentationHeader, suite);
  const pairs = [
    { g1: aBar!, g2: g2FromBytes(key) },
    { g1: bBar!, g2: G2_GENERATOR.negate() },
  ];
  if (!equal(scalarToBytes(expected), scalarToBytes(c)) || !pairingProductIsOne(pairs)) {
    throw wrong();
  }
}

function challenge(
  shown: Shown,
  disclosed: ReadonlyMap<number, Scalar>,
  bound: Scalar,
  presentationHeader: Uint8Array,
  suite: Interface,
): Scalar {
  const told = [...disclosed].flatMap(([index, message]) => [u64(index), scalarToBytes(message)]);
  return suite.hash(
    u64(disclosed.size),
    ...told,
    shownToBytes(shown),
    scalarToBytes(bound),
    u64(presentationHeader.length),
    presentationHeader,
  );
}

export const slice = (data: Uint8Array, number: number, size: number): Uint8Array =>
  data.subarray(number * size, (number + 1) * size);

function notZero(data: Uint8Array): Scalar {
  const scalar = scalarFromBytes(data);
  if (scalar === 0n) throw new ZkpError("scalar_invalid", "zero is no scalar of a proof");
  return scalar;
}
