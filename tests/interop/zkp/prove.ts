/** Make a presentation: one proof of every statement of a request. */
import { ProofCommitment, TYPED, shownToBytes } from "./bbs.js";
import {
  ZkpError,
  join,
  modulo,
  multiply,
  randomScalar,
  scalarToBytes,
  type G1Point,
  type Scalar,
} from "./curve.js";
import {
  checkEpochs,
  layoutOf,
  type HeldCredential,
  type Layout,
  type Presentation,
  type PresentedCredential,
} from "./layout.js";
import {
  PROOF_VERSION,
  begin,
  bitPoint,
  domainOf,
  drawC,
  drawWithoutBits,
  drawY,
  point,
} from "./proof.js";
import { readRequest, type ProofRequest } from "./request.js";
import { integerOf, largest, scalarsOf } from "./schema.js";
import { type Transcript } from "./transcript.js";

/** Prove every statement. Throws `ZkpError`, `statement_false` where one is not true. */
export function prove(
  told: ProofRequest,
  held: Readonly<Record<string, HeldCredential>>,
): Presentation {
  const request = readRequest(told);
  const of = (name: string) => {
    const found = Object.hasOwn(held, name) ? held[name] : undefined;
    if (!found)
      throw new ZkpError("statement_invalid", "the wallet has no credential of this name");
    return found;
  };
  const given = new Map(
    request.credentials.map((name) => [
      name,
      { ...of(name), bound: of(name).holderSecret !== undefined },
    ]),
  );
  const layout = layoutOf(request, given);
  const { system } = layout;
  const credentials: Record<string, PresentedCredential> = Object.create(null);
  const messages = new Map<string, Scalar[]>();
  for (const [name, { key, header, bound, values, holderSecret }] of given) {
    const shown = layout.shown.get(name)!.map((one) => [one, values[one]!] as const);
    credentials[name] = { key, header, bound, revealed: Object.fromEntries(shown) };
    const signed = scalarsOf(layout.schemas.get(name)!, values);
    messages.set(name, holderSecret === undefined ? signed : [...signed, holderSecret]);
  }
  checkEpochs(request, credentials);
  const values = witness(layout, given, messages);
  if (!system.holds(values)) throw new ZkpError("statement_false", "a statement is not true");
  const blindings = system.blindings();
  const commitments = request.credentials.map((name) =>
    ProofCommitment.make(
      given.get(name)!.signature,
      messages.get(name)!,
      domainOf(credentials[name]!, layout.schemas.get(name)!),
      new Map(layout.hidden.get(name)!.map(([index, at]) => [index, blindings[at]!])),
      TYPED,
    ),
  );
  const firsts = commitments.map((one) => shownToBytes(one.shown));
  const transcript = begin(request, layout, credentials, firsts);
  const bits = proveBits(
    transcript,
    values.slice(system.attributes),
    blindings.slice(system.attributes),
  );
  const answers = values.map((value, at) => modulo(blindings[at]! + bits.c * value));
  const proof = join(
    new Uint8Array([PROOF_VERSION]),
    ...firsts,
    ...bits.points.map((one) => one.toBytes(true)),
    ...commitments.flatMap((one) => one.respond(bits.c)).map(scalarToBytes),
    ...bits.answers.map(scalarToBytes),
    ...system.free.map((variable) => scalarToBytes(answers[variable]!)),
  );
  return { credentials, proof };
}

/** The value of every variable: hidden messages, then bits. */
function witness(
  layout: Layout,
  given: ReadonlyMap<string, HeldCredential>,
  messages: ReadonlyMap<string, readonly Scalar[]>,
): Scalar[] {
  const values: Scalar[] = [];
  const integers = new Map<number, bigint>();
  for (const [name, places] of layout.hidden) {
    for (const [index, variable] of places) {
      values[variable] = messages.get(name)![index]!;
      const attribute = layout.schemas.get(name)!.attributes[index];
      if (attribute && largest(attribute) !== undefined) {
        integers.set(variable, integerOf(attribute, given.get(name)!.values[attribute.name]!));
      }
    }
  }
  return [...values, ...layout.compiler.witness((variable) => integers.get(variable)!)];
}

/** The prover's side of the argument that b is a vector of bits. */
function proveBits(
  transcript: Transcript,
  bits: readonly Scalar[],
  blindings: readonly Scalar[],
): { points: G1Point[]; answers: Scalar[]; c: Scalar } {
  if (bits.length === 0) return { points: [], answers: [], c: drawWithoutBits(transcript) };
  const [alpha, beta, tau0, tau1] = [1, 2, 3, 4].map(randomScalar) as [
    Scalar,
    Scalar,
    Scalar,
    Scalar,
  ];
  const [g, h] = [point("G"), point("H")];
  let b = multiply(h, beta);
  let a = multiply(h, alpha);
  bits.forEach((bit, at) => {
    if (bit) b = b.add(bitPoint(at));
    a = a.add(multiply(bitPoint(at), blindings[at]!));
  });
  const y = drawY(transcript, b, a);
  let [one, zero, power] = [0n, 0n, y];
  bits.forEach((bit, at) => {
    const blinding = blindings[at]!;
    one += power * blinding * (1n - 2n * bit);
    zero -= power * blinding * blinding;
    power = modulo(power * y);
  });
  const r1 = multiply(g, modulo(one)).add(multiply(h, tau1));
  const r0 = multiply(g, modulo(zero)).add(multiply(h, tau0));
  const c = drawC(transcript, r1, r0);
  return {
    points: [b, a, r1, r0],
    answers: [modulo(alpha + c * beta), modulo(tau0 + c * tau1)],
    c,
  };
}
