/** Who stands where: the hidden attributes of a presentation, and the system over them. */
import { type Signature } from "./bbs.js";
import { ZkpError, equal, type Scalar } from "./curve.js";
import { type LinearSystem } from "./linear.js";
import { Compiler, EPOCH, keyOf } from "./predicates.js";
import { type ProofRequest } from "./request.js";
import { STATUS_TOKEN, headerOf, readHeader, type Schema, type Values } from "./schema.js";

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
export interface Layout {
  readonly schemas: ReadonlyMap<string, Schema>;
  readonly shown: ReadonlyMap<string, readonly string[]>;
  /** The index of each hidden message of a credential, and the number of its variable. */
  readonly hidden: ReadonlyMap<string, readonly (readonly [number, number])[]>;
  readonly compiler: Compiler;
  readonly system: LinearSystem;
}
type Public = Pick<PresentedCredential, "key" | "header" | "bound">;

const invalid = (why: string) => new ZkpError("statement_invalid", why);

/** It follows from the request and from what is public of the credentials. */
export function layoutOf(request: ProofRequest, given: ReadonlyMap<string, Public>): Layout {
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
    shown.set(
      name,
      names.filter((_, index) => open.has(places[index]!)),
    );
  }
  const compiler = new Compiler(schemas, variables);
  request.statements.forEach((statement) => compiler.add(statement));
  return { schemas, shown, hidden, compiler, system: compiler.system() };
}

/** Of each status token the epoch that was asked for. */
export function checkEpochs(
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
