/** What is asked of a holder: statements over one or several credentials, for one occasion. */
import { ZkpError, utf8 } from "./curve.js";
import { sorted, type Value } from "./schema.js";

export interface Place {
  readonly credential: string;
  readonly attribute: string;
}
export type Statement = Place &
  (
    | { readonly type: "reveal" }
    | { readonly type: "at_most" | "at_least"; readonly value: Value }
    | { readonly type: "between"; readonly low: Value; readonly high: Value }
    | { readonly type: "older_than"; readonly years: number; readonly on: string }
    | { readonly type: "member_of" | "not_member_of"; readonly values: readonly Value[] }
    | { readonly type: "equal"; readonly other: Place }
    | { readonly type: "not_revoked"; readonly token: string; readonly epoch: number }
  );
/** The JSON form itself; `nonce` and `request_hash` are base64url without padding. */
export interface ProofRequest {
  readonly version: "consent-broker-proof/1";
  readonly credentials: readonly string[];
  readonly statements: readonly Statement[];
  readonly nonce: string;
  readonly audience: string;
  readonly request_hash: string;
}

const VERSION = "consent-broker-proof/1";
const MEMBERS: Record<Statement["type"], readonly string[]> = {
  reveal: [],
  at_most: ["value"],
  at_least: ["value"],
  between: ["low", "high"],
  older_than: ["years", "on"],
  member_of: ["values"],
  not_member_of: ["values"],
  equal: ["other"],
  not_revoked: ["token", "epoch"],
};
const REQUEST = ["audience", "credentials", "nonce", "request_hash", "statements", "version"];

const wrong = (why: string): ZkpError => new ZkpError("statement_invalid", why);

/** A request from JSON of others. */
export function readRequest(told: unknown): ProofRequest {
  if (!isObject(told) || !hasMembers(told, REQUEST) || told["version"] !== VERSION) {
    throw wrong(`a proof request is of version ${VERSION}, with its members`);
  }
  const { credentials, statements, nonce, request_hash: hash, audience } = told;
  if (!Array.isArray(credentials) || !Array.isArray(statements)) throw wrong("lists are missing");
  if (credentials.length > 8 || statements.length > 32) {
    throw new ZkpError("too_large", "at most 32 statements over 8 credentials");
  }
  if (!credentials.every(isText) || !isText(audience)) throw wrong("names are text");
  if (!isBytes(nonce) || nonce.length < 22 || !isBytes(hash))
    throw wrong("nonce and hash are base64url");
  statements.forEach(readStatement);
  const named = new Set((statements as Statement[]).flatMap(credentialsOf));
  const unique = new Set(credentials);
  if (unique.size !== credentials.length || !sameSet(unique, named) || !named.size) {
    throw wrong("the credentials are those that the statements name, each once");
  }
  return told as unknown as ProofRequest;
}

function readStatement(told: unknown): void {
  const type = isObject(told) ? (told["type"] as Statement["type"]) : undefined;
  const members = type !== undefined && Object.hasOwn(MEMBERS, type) ? MEMBERS[type] : undefined;
  if (
    !isObject(told) ||
    !members ||
    !hasMembers(told, ["type", "credential", "attribute", ...members])
  ) {
    throw wrong("a statement is of a known type, with the members of its type");
  }
  const fits = ["credential", "attribute", ...members].every((name) => READERS[name]!(told[name]));
  if (!fits) throw wrong("a member of a statement is of another form");
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string =>
  typeof value === "string" &&
  value.length > 0 &&
  [...value].length <= 2048 &&
  !/\p{Surrogate}/u.test(value);
const isWhole = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isValue = (value: unknown): boolean => Number.isSafeInteger(value) || isText(value);
const isPlace = (value: unknown): boolean =>
  isObject(value) &&
  hasMembers(value, ["credential", "attribute"]) &&
  isText(value["credential"]) &&
  isText(value["attribute"]);
const READERS: Record<string, (value: unknown) => boolean> = {
  credential: isText,
  attribute: isText,
  value: isValue,
  low: isValue,
  high: isValue,
  years: isWhole,
  on: isText,
  values: (value) => Array.isArray(value) && value.length > 0 && value.every(isValue),
  other: isPlace,
  token: isText,
  epoch: isWhole,
};

/** Base64url without padding, and no bits set beyond the last byte. */
function isBytes(value: unknown): value is string {
  if (typeof value !== "string" || value.length > 2048 || !/^[A-Za-z0-9_-]*$/.test(value))
    return false;
  const last = ALPHABET.indexOf(value.slice(-1));
  return [true, false, last % 16 === 0, last % 4 === 0][value.length % 4]!;
}
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const hasMembers = (told: Record<string, unknown>, names: readonly string[]): boolean =>
  sameSet(new Set(Object.keys(told)), new Set(names));
const sameSet = (one: ReadonlySet<unknown>, other: ReadonlySet<unknown>): boolean =>
  one.size === other.size && [...one].every((value) => other.has(value));

export function credentialsOf(statement: Statement): string[] {
  if (statement.type === "equal") return [statement.credential, statement.other.credential];
  if (statement.type === "not_revoked") return [statement.credential, statement.token];
  return [statement.credential];
}

/** The bytes that a challenge depends on: sorted members, in ASCII. */
export function canonicalRequest(request: ProofRequest): Uint8Array {
  const text = JSON.stringify(sorted(request));
  const escape = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return utf8(text.replace(/[^\x20-\x7e]/g, escape));
}
