/** Typed attributes: how each value becomes a scalar, and the header that says so. */
import { TYPED, MOST_MESSAGES } from "./bbs.js";
import { ZkpError, utf8, type Scalar } from "./curve.js";

export type Value = string | number;
export type Attribute =
  | { readonly name: string; readonly type: "date" | "identifier" | "text" }
  | { readonly name: string; readonly type: "code"; readonly codes: readonly string[] }
  | {
      readonly name: string;
      readonly type: "number";
      readonly low: number;
      readonly high: number;
      readonly unit: string;
    };
export interface Schema {
  readonly id: string;
  readonly attributes: readonly Attribute[];
}

const FORMAT = "consent-broker-bbs/1";
const LONGEST_HEADER = 65_536;
const LONGEST_TEXT = 4096;
const DAY = 86_400_000;

/** The schema of status tokens: that an identifier was not revoked in an epoch. */
export const STATUS_TOKEN: Schema = {
  id: "status-token/1",
  attributes: [
    { name: "epoch", type: "number", low: 0, high: 2 ** 32 - 2, unit: "epoch" },
    { name: "revocation_id", type: "identifier" },
  ],
};

/** What is signed beside the attributes: canonical JSON (RFC 8785). */
export function headerOf(schema: Schema, issuer: string): Uint8Array {
  const attributes = schema.attributes.map((one) => ({ ...one }));
  const told = { attributes, format: FORMAT, issuer, schema: schema.id };
  return utf8(JSON.stringify(sorted(told)));
}

/** The schema and issuer of a header; refused unless it is exactly what `headerOf` makes. */
export function readHeader(header: Uint8Array): { schema: Schema; issuer: string } {
  const wrong = (why: string) => new ZkpError("schema_invalid", why);
  if (header.length > LONGEST_HEADER) throw new ZkpError("too_large", "the header is too long");
  let text: string;
  let told: { attributes: unknown; issuer: unknown; schema: unknown };
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
    told = JSON.parse(text);
  } catch {
    throw wrong("the header is not JSON");
  }
  if (typeof told !== "object" || told === null) throw wrong("the header is no object");
  const { attributes, issuer, schema: id } = told;
  if (!Array.isArray(attributes) || typeof issuer !== "string" || typeof id !== "string") {
    throw wrong("a header has attributes, an issuer and a schema");
  }
  const schema = { id, attributes: attributes.map(readAttribute) };
  const names = new Set(schema.attributes.map((one) => one.name));
  if (!id || names.size !== attributes.length || !names.size || names.size >= MOST_MESSAGES) {
    throw wrong("a schema has an id and attributes of different names");
  }
  const canonical = JSON.stringify(
    sorted({ attributes: schema.attributes, format: FORMAT, issuer, schema: id }),
  );
  if (canonical !== text) throw wrong("the header is of another format, or not canonical");
  return { schema, issuer };
}

function readAttribute(told: unknown): Attribute {
  const wrong = () => new ZkpError("schema_invalid", "an attribute's type or bounds are none");
  if (typeof told !== "object" || told === null) throw wrong();
  const { name, type, low, high, unit, codes } = told as Record<string, unknown>;
  if (typeof name !== "string" || !/^[a-z][a-z0-9_]{0,63}$/.test(name)) throw wrong();
  switch (type) {
    case "date":
    case "identifier":
    case "text":
      return { name, type };
    case "code": {
      const given = Array.isArray(codes) ? codes : [];
      const fit = given.every((one) => typeof one === "string" && one && [...one].length <= 64);
      if (!fit || given.length < 2 || given.length > 512 || new Set(given).size !== given.length) {
        throw wrong();
      }
      return { name, type, codes: given };
    }
    case "number":
      if (!whole(low) || !whole(high) || typeof unit !== "string") throw wrong();
      if (high <= low || high - low >= 2 ** 32) throw wrong();
      return { name, type, low, high, unit };
    default:
      throw wrong();
  }
}

export function attributeOf(schema: Schema, name: string): [number, Attribute] {
  const index = schema.attributes.findIndex((one) => one.name === name);
  const found = schema.attributes[index];
  if (!found) throw new ZkpError("statement_invalid", "the schema has no attribute of this name");
  return [index, found];
}

/** The largest scalar of a type; text has no order. */
export function largest(attribute: Attribute): bigint | undefined {
  switch (attribute.type) {
    case "date":
      return 65_535n;
    case "identifier":
      return 2n ** 128n - 1n;
    case "number":
      return BigInt(attribute.high - attribute.low);
    case "code":
      return BigInt(attribute.codes.length - 1);
    case "text":
      return undefined;
  }
}

/** The scalar of a value of any type but text. */
export function integerOf(attribute: Attribute, value: Value): bigint {
  const found = integer(attribute, value);
  const most = largest(attribute);
  if (found === undefined || most === undefined || found < 0n || found > most) {
    throw new ZkpError("attribute_invalid", `${attribute.name}: the value is not of its type`);
  }
  return found;
}

function integer(attribute: Attribute, value: Value): bigint | undefined {
  if (attribute.type === "number") {
    return whole(value) ? BigInt(value) - BigInt(attribute.low) : undefined;
  }
  if (typeof value !== "string") return undefined;
  switch (attribute.type) {
    case "date":
      return daysOf(value);
    case "code": {
      const place = attribute.codes.indexOf(value);
      return place < 0 ? undefined : BigInt(place);
    }
    case "identifier":
      return /^(0|[1-9][0-9]{0,38})$/.test(value) ? BigInt(value) : undefined;
    case "text":
      return undefined;
  }
}

export function scalarOf(attribute: Attribute, value: Value): Scalar {
  if (attribute.type !== "text") return integerOf(attribute, value);
  const fits = typeof value === "string" && [...value].length <= LONGEST_TEXT;
  if (!fits || /\p{Surrogate}/u.test(value)) {
    throw new ZkpError("attribute_invalid", `${attribute.name}: the value is no text that fits`);
  }
  return TYPED.messageScalar(utf8(value));
}

export type Values = Readonly<Record<string, Value>>;

/** The messages to sign: exactly the attributes of the schema, each within its bounds. */
export function scalarsOf(schema: Schema, values: Values): Scalar[] {
  if (Object.keys(values).length !== schema.attributes.length) {
    throw new ZkpError("attribute_invalid", "a credential has the attributes of its schema");
  }
  return schema.attributes.map((one) => {
    const value = values[one.name];
    if (value === undefined) throw new ZkpError("attribute_invalid", `${one.name} is missing`);
    return scalarOf(one, value);
  });
}

/** Days since 1900-01-01 of a date like 2026-11-26 that there is. */
export function daysOf(text: string): bigint | undefined {
  if (!/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(text)) return undefined;
  const time = Date.parse(`${text}T00:00:00Z`);
  if (Number.isNaN(time) || new Date(time).toISOString().slice(0, 10) !== text) return undefined;
  return BigInt(Math.round((time - Date.UTC(1900, 0, 1)) / DAY));
}

const whole = (value: unknown): value is number => Number.isSafeInteger(value);

/** The same JSON value, its members in the order of their names. */
export function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return Object.fromEntries(members.map(([name, one]) => [name, sorted(one)]));
}
