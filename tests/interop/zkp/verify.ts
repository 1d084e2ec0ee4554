/** Verify a presentation. */
import { TYPED, shownToBytes, type Shown } from "./bbs.js";
import {
  G2_GENERATOR,
  IDENTITY,
  ZkpError,
  equal,
  g2FromBytes,
  modulo,
  pairingProductIsOne,
  randomWeight,
  sumOfProducts,
  type G1Point,
  type Scalar,
} from "./curve.js";
import { checkEpochs, layoutOf, type Presentation, type PresentedCredential } from "./layout.js";
import {
  begin,
  bitPoint,
  domainOf,
  drawC,
  drawWithoutBits,
  drawY,
  point,
  readProof,
  refused,
  revealedMessages,
  type BitPoints,
} from "./proof.js";
import { readRequest, type ProofRequest } from "./request.js";
import { type Schema } from "./schema.js";

type Term = readonly [G1Point, Scalar];

/**
 * Verify a presentation of a request that the caller sent, whose nonce was not used before and
 * whose epochs are current. `issuers` are the accepted keys for each credential. Throws `ZkpError`.
 */
export function verify(
  told: ProofRequest,
  presentation: Presentation,
  issuers: Readonly<Record<string, readonly Uint8Array[]>>,
): void {
  const request = readRequest(told);
  const given = new Map(Object.entries(presentation.credentials));
  const layout = layoutOf(request, given);
  const credentials = Object.assign(
    Object.create(null),
    presentation.credentials,
  ) as Presentation["credentials"];
  for (const name of request.credentials) {
    const { key, revealed } = credentials[name]!;
    const accepted = Object.hasOwn(issuers, name) ? issuers[name]! : [];
    if (!accepted.some((one) => equal(one, key))) throw refused("the issuer is not accepted");
    const [shown, asked] = [Object.keys(revealed), layout.shown.get(name)!];
    if (shown.length !== asked.length || !asked.every((one) => Object.hasOwn(revealed, one))) {
      throw new ZkpError(
        "statement_invalid",
        "a presentation reveals exactly what the request asks for",
      );
    }
  }
  checkEpochs(request, credentials);
  const proof = readProof(presentation.proof, layout.system, request.credentials.length);
  const transcript = begin(request, layout, credentials, proof.shown.map(shownToBytes));
  const { bits } = proof;
  const y = bits ? drawY(transcript, bits.b, bits.a) : 0n;
  const c = bits ? drawC(transcript, bits.r1, bits.r0) : drawWithoutBits(transcript);
  const responses = layout.system.complete(proof.free, c);
  const equations = request.credentials.flatMap((name, number) => {
    const answers = layout.hidden.get(name)!.map(([index, at]) => [index, responses[at]!] as const);
    const schema = layout.schemas.get(name)!;
    return ofCredential(
      credentials[name]!,
      schema,
      proof.shown[number]!,
      proof.scalars[number]!,
      answers,
      c,
    );
  });
  if (bits)
    equations.push(
      ...ofBits(bits, proof.z, proof.zT, responses.slice(layout.system.attributes), y, c),
    );
  // Each times a weight of its own: the sum of those that hold and one that does not is not zero.
  const terms = equations.flatMap((equation) => {
    const weight = randomWeight();
    return equation.map(([one, factor]): Term => [one, modulo(factor * weight)]);
  });
  if (!sumOfProducts(terms).equals(IDENTITY))
    throw refused("the proof does not show what was asked");
  request.credentials.forEach((name, number) => {
    const { aBar, bBar } = proof.shown[number]!;
    const pairs = [
      { g1: aBar, g2: g2FromBytes(credentials[name]!.key) },
      { g1: bBar, g2: G2_GENERATOR.negate() },
    ];
    if (!pairingProductIsOne(pairs)) throw refused("a credential is not of its issuer");
  });
}

/** (1) and (2): the credential's signature, and its hidden messages. */
function ofCredential(
  credential: PresentedCredential,
  schema: Schema,
  { aBar, bBar, d, t1, t2 }: Shown,
  [e, r1, r3]: readonly [Scalar, Scalar, Scalar],
  answers: readonly (readonly [number, Scalar])[],
  c: Scalar,
): Term[][] {
  const generators = TYPED.generators(schema.attributes.length + Number(credential.bound));
  const of = (index: number) => generators[index + 1]!;
  return [
    [
      [bBar, c],
      [aBar, e],
      [d, r1],
      [t1, -1n],
    ],
    [
      [TYPED.p1, c],
      [generators[0]!, c * domainOf(credential, schema)],
      ...revealedMessages(credential, schema).map(([index, one]): Term => [of(index), c * one]),
      [d, r3],
      ...answers.map(([index, answer]): Term => [of(index), answer]),
      [t2, -1n],
    ],
  ];
}

/** (3) and (4): what was committed to, and that it is bits. */
function ofBits(
  { b, a, r1, r0 }: BitPoints,
  z: Scalar,
  zT: Scalar,
  f: readonly Scalar[],
  y: Scalar,
  c: Scalar,
): Term[][] {
  let [product, power] = [0n, y];
  for (const one of f) {
    product += power * one * (c - one);
    power = modulo(power * y);
  }
  return [
    [[b, c], [a, 1n], ...f.map((one, at): Term => [bitPoint(at), -one]), [point("H"), -z]],
    [
      [r1, c],
      [r0, 1n],
      [point("G"), -product],
      [point("H"), -zT],
    ],
  ];
}
