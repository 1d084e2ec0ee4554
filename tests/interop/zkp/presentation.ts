/** Presentations: one proof of every statement of a request, made and verified. */
import {
  ProofCommitment,
  TYPED,
  domain,
  shownToBytes,
  slice,
  type Shown,
  type Signature,
} from "./bbs.js";
import {
  G1_BYTES,
  G2_GENERATOR,
  IDENTITY,
  SCALAR_BYTES,
  ZkpError,
  equal,
  g1FromBytes,
  g2FromBytes,
  hashToG1Xmd,
  join,
  modulo,
  multiply,
  pairingProductIsOne,
  randomScalar,
  randomWeight,
  scalarFromBytes,
  scalarToBytes,
  sumOfProducts,
  u64,
  utf8,
  type G1Point,
  type Scalar,
} from "./curve.js";
import { Compiler, EPOCH, keyOf } from "./predicates.js";
import { type LinearSystem } from "./linear.js";
import { canonicalRequest, readRequest, type ProofRequest } from "./request.js";
import {
  STATUS_TOKEN,
  attributeOf,
  headerOf,
  integerOf,
  largest,
  readHeader,
  scalarOf,
  scalarsOf,
  type Schema,
  type Values,
} from "./schema.js";
import { Transcript } from "./transcript.js";

const PROTOCOL = "consent-broker presentation v1";
const PROOF_VERSION = 1;
const BITS_TAG = utf8("CONSENT-BROKER-ZKP-V1_BLS12381G1_XMD:SHA-256_SSWU_RO_PEDERSEN_");
const HOLDER = ""; // in place of an attribute's name: the holder's secret

/** A credential in its holder's hands. */
export interface HeldCredential {
  readonly key: Uint8Array;
  readonly header: Uint8Array;
  readonly signature: Signature;
  readonly values: Values;
  readonly holderSecret?: Scalar;
}
/** What a presentation shows of a credential. */
export interface PresentedCredential {
  readonly key: Uint8Array;
  readonly header: Uint8Array;
  readonly bound: boolean;
  readonly revealed: Values;
}
export interface Presentation {
  readonly credentials: Readonly<Record<string, PresentedCredential>>;
  readonly proof: Uint8Array;
}
interface Layout {
  readonly schemas: ReadonlyMap<string, Schema>;
  readonly shown: ReadonlyMap<string, readonly string[]>;
  /** The index of each hidden message of a credential, and the number of its variable. */
  readonly hidden: ReadonlyMap<string, readonly (readonly [number, number])[]>;
  readonly compiler: Compiler;
  readonly system: LinearSystem;
}
type Public = Pick<PresentedCredential, "key" | "header" | "bound">;

const refused = (why: string) => new ZkpError("proof_invalid", why);
const invalid = (why: string) => new ZkpError("statement_invalid", why);

const points = new Map<string, G1Point>();
function point(name: string): G1Point {
  const found = points.get(name) ?? hashToG1Xmd(utf8(name), BITS_TAG);
  points.set(name, found);
  return found;
}
const bitPoint = (number: number): G1Point => point(`G${number + 1}`);

/** Who stands where: it follows from the request and from what is public of the credentials. */
function layoutOf(request: ProofRequest, given: ReadonlyMap<string, Public>): Layout {
  if (given.size !== request.credentials.length) throw invalid("credentials are missing");
  const schemas = new Map(
    request.credentials.map((name) => {
      const credential = given.get(name);
      if (!credential) throw invalid("a presentation has the credentials that the request names");
      return [name, readHeader(credential.header).schema] as const;
    }),
  );
  const open = new Set<string>();
  for (const statement of request.statements) {
    if (statement.type === "reveal") open.add(keyOf(statement));
    if (statement.type === "not_revoked") {
      const [credential, token] = [given.get(statement.credential)!, given.get(statement.token)!];
      const schema = schemas.get(statement.token)!;
      const isToken = equal(headerOf(schema, ""), headerOf(STATUS_TOKEN, ""));
      if (!equal(credential.key, token.key) || token.bound || !isToken) {
        throw invalid("a status token is of the credential's own issuer key and of its schema");
      }
      open.add(keyOf({ credential: statement.token, attribute: EPOCH }));
    }
  }
  const variables = new Map<string, number>();
  const hidden = new Map<string, (readonly [number, number])[]>();
  const shown = new Map<string, string[]>();
  for (const [name, schema] of schemas) {
    const names = schema.attributes.map((one) => one.name);
    if (given.get(name)!.bound) names.push(HOLDER);
    const places = names.map((attribute) => keyOf({ credential: name, attribute }));
    const ofThis: (readonly [number, number])[] = [];
    places.forEach((place, index) => {
      if (open.has(place)) return;
      ofThis.push([index, variables.size]);
      variables.set(place, variables.size);
    });
    hidden.set(name, ofThis);
    shown.set(name, names.filter((_, index) => open.has(places[index]!)));
  }
  const compiler = new Compiler(schemas, variables);
  request.statements.forEach((statement) => compiler.add(statement));
  return { schemas, shown, hidden, compiler, system: compiler.system() };
}

/** Prove every statement. Throws `ZkpError`, `statement_false` where one is not true. */
export function prove(
  told: ProofRequest,
  held: Readonly<Record<string, HeldCredential>>,
): Presentation {
  const request = readRequest(told);
  const of = (name: string) => {
    const found = Object.hasOwn(held, name) ? held[name] : undefined;
    if (!found) throw invalid("the wallet has no credential of this name");
    return found;
  };
  const given = new Map(
    request.credentials.map((name) => [name, { ...of(name), bound: of(name).holderSecret !== undefined }]),
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
  const bits = proveBits(transcript, values.slice(system.attributes), blindings.slice(system.attributes));
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
  const [alpha, beta, tau0, tau1] = [1, 2, 3, 4].map(randomScalar) as [Scalar, Scalar, Scalar, Scalar];
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
  return { points: [b, a, r1, r0], answers: [modulo(alpha + c * beta), modulo(tau0 + c * tau1)], c };
}

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
  const credentials = Object.assign(Object.create(null), presentation.credentials) as Presentation["credentials"];
  for (const name of request.credentials) {
    const { key, revealed } = credentials[name]!;
    const accepted = Object.hasOwn(issuers, name) ? issuers[name]! : [];
    if (!accepted.some((one) => equal(one, key))) throw refused("the issuer is not accepted");
    const [shown, asked] = [Object.keys(revealed), layout.shown.get(name)!];
    if (shown.length !== asked.length || !asked.every((one) => Object.hasOwn(revealed, one))) {
      throw invalid("a presentation reveals exactly what the request asks for");
    }
  }
  checkEpochs(request, credentials);
  const proof = readProof(presentation.proof, layout.system, request.credentials.length);
  const transcript = begin(request, layout, credentials, proof.shown.map(shownToBytes));
  const [b, a, r1, r0] = proof.bits ?? [];
  const y = b && a ? drawY(transcript, b, a) : 0n;
  const c = r1 && r0 ? drawC(transcript, r1, r0) : drawWithoutBits(transcript);
  const responses = layout.system.complete(proof.free, c);
  const terms: (readonly [G1Point, Scalar])[] = [];
  const add = (...equation: (readonly [G1Point, Scalar])[]) => {
    const weight = randomWeight();
    for (const [one, factor] of equation) terms.push([one, modulo(factor * weight)]);
  };
  request.credentials.forEach((name, number) => {
    const schema = layout.schemas.get(name)!;
    const { aBar, bBar, d, t1, t2 } = proof.shown[number]!;
    const [e, r1_, r3] = proof.scalars[number]!;
    const generators = TYPED.generators(schema.attributes.length + Number(credentials[name]!.bound));
    const known = revealedMessages(credentials[name]!, schema);
    add([bBar, c], [aBar, e], [d, r1_], [t1, -1n]);
    add(
      [TYPED.p1, c],
      [generators[0]!, c * domainOf(credentials[name]!, schema)],
      ...known.map(([index, message]) => [generators[index + 1]!, c * message] as const),
      [d, r3],
      ...layout.hidden.get(name)!.map(([index, at]) => [generators[index + 1]!, responses[at]!] as const),
      [t2, -1n],
    );
  });
  if (b && a && r1 && r0) {
    const f = responses.slice(layout.system.attributes);
    let [product, power] = [0n, y];
    for (const one of f) {
      product += power * one * (c - one);
      power = modulo(power * y);
    }
    add([b, c], [a, 1n], ...f.map((one, at) => [bitPoint(at), -one] as const), [point("H"), -proof.z]);
    add([r1, c], [r0, 1n], [point("G"), -product], [point("H"), -proof.zT]);
  }
  if (!sumOfProducts(terms).equals(IDENTITY)) throw refused("the proof does not show what was asked");
  request.credentials.forEach((name, number) => {
    const { aBar, bBar } = proof.shown[number]!;
    const pairs = [
      { g1: aBar, g2: g2FromBytes(credentials[name]!.key) },
      { g1: bBar, g2: G2_GENERATOR.negate() },
    ];
    if (!pairingProductIsOne(pairs)) throw refused("a credential is not of its issuer");
  });
}

function readProof(proof: Uint8Array, system: LinearSystem, credentials: number) {
  const four = system.bits > 0 ? 4 : 0;
  const pointCount = 5 * credentials + four;
  const scalarCount = 3 * credentials + four / 2 + system.free.length;
  const expected = 1 + pointCount * G1_BYTES + scalarCount * SCALAR_BYTES;
  if (proof.length !== expected || proof[0] !== PROOF_VERSION) {
    throw refused(`a proof of this request has ${expected} bytes and version 1`);
  }
  const body = proof.subarray(1);
  const rest = body.subarray(pointCount * G1_BYTES);
  const read = Array.from({ length: pointCount }, (_, at) => g1FromBytes(slice(body, at, G1_BYTES)));
  const numbers = Array.from({ length: scalarCount }, (_, at) =>
    scalarFromBytes(slice(rest, at, SCALAR_BYTES)),
  );
  const shown = Array.from({ length: credentials }, (_, at): Shown => {
    const [aBar, bBar, d, t1, t2] = read.slice(5 * at) as [G1Point, G1Point, G1Point, G1Point, G1Point];
    return { aBar, bBar, d, t1, t2 };
  });
  const scalars = shown.map((_, at) => numbers.slice(3 * at, 3 * at + 3) as [Scalar, Scalar, Scalar]);
  const left = numbers.slice(3 * credentials);
  const bits = four ? read.slice(-4) : undefined;
  const [z, zT] = four ? (left as [Scalar, Scalar]) : [0n, 0n];
  return { shown, scalars, bits, z, zT, free: left.slice(four / 2) };
}

function begin(
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

function drawY(transcript: Transcript, b: G1Point, a: G1Point): Scalar {
  transcript.add("B", b.toBytes(true));
  transcript.add("A", a.toBytes(true));
  return transcript.challenge("y");
}

function drawC(transcript: Transcript, r1: G1Point, r0: G1Point): Scalar {
  transcript.add("R1", r1.toBytes(true));
  transcript.add("R0", r0.toBytes(true));
  return transcript.challenge("c");
}

function drawWithoutBits(transcript: Transcript): Scalar {
  transcript.challenge("y");
  return transcript.challenge("c");
}

function domainOf(credential: PresentedCredential, schema: Schema): Scalar {
  const count = schema.attributes.length + Number(credential.bound);
  return domain(credential.key, credential.header, count, TYPED);
}

function revealedMessages(credential: PresentedCredential, schema: Schema): [number, Scalar][] {
  return Object.entries(credential.revealed)
    .map(([name, value]): [number, Scalar] => {
      const [index, attribute] = attributeOf(schema, name);
      return [index, scalarOf(attribute, value)];
    })
    .sort(([one], [other]) => one - other);
}

function checkEpochs(
  request: ProofRequest,
  credentials: Readonly<Record<string, PresentedCredential>>,
): void {
  for (const statement of request.statements) {
    if (statement.type !== "not_revoked") continue;
    if (credentials[statement.token]!.revealed[EPOCH] !== statement.epoch) {
      throw invalid("the status token is of another epoch than was asked for");
    }
  }
}
