/** Statements about hidden attributes, and the rows and bits that they become. */
import { ZkpError } from "./curve.js";
import { LinearSystem, type Row } from "./linear.js";
import { type Place, type Statement } from "./request.js";
import {
  attributeOf,
  daysOf,
  integerOf,
  largest,
  type Attribute,
  type Schema,
  type Value,
} from "./schema.js";

export const EPOCH = "epoch";
export const REVOCATION_ID = "revocation_id";
const MOST_BITS = 1024;
const MOST_SET = 256;

/** The integer of a hidden attribute, by the number of its variable. */
type Witness = (variable: number) => bigint;

const invalid = (why: string) => new ZkpError("statement_invalid", why);
const untrue = () => new ZkpError("statement_false", "a statement is not true of these attributes");

export const keyOf = (place: Place): string => JSON.stringify([place.credential, place.attribute]);

/** The last date of birth with which one is `years` old on a date, by the calendar. */
export function latestBirthday(years: number, on: string): string {
  if (daysOf(on) === undefined) throw invalid("the date is none");
  const year = Number(on.slice(0, 4)) - years;
  if (!Number.isSafeInteger(year) || years < 0 || year < 1) throw invalid("the years are none");
  const earliest = String(year).padStart(4, "0");
  const leap = daysOf(`${earliest}-02-29`) !== undefined;
  return `${earliest}-${on.slice(5) === "02-29" && !leap ? "02-28" : on.slice(5)}`;
}

export class Compiler {
  private readonly rows: Row[] = [];
  private readonly fill: ((witness: Witness) => bigint[])[] = [];
  private bits = 0;

  /** `variables` numbers the hidden attributes by `keyOf`; bits are numbered behind them. */
  constructor(
    private readonly schemas: ReadonlyMap<string, Schema>,
    private readonly variables: ReadonlyMap<string, number>,
  ) {}

  system(): LinearSystem {
    return new LinearSystem(this.variables.size, this.bits, this.rows);
  }

  /** The bits, by the integers of the hidden attributes; throws where a statement is false. */
  witness(of: Witness): bigint[] {
    return this.fill.flatMap((fill) => fill(of));
  }

  add(statement: Statement): void {
    switch (statement.type) {
      case "reveal":
        this.attribute(statement);
        return;
      case "at_most":
        return this.bound(statement, statement.value, 1n);
      case "at_least":
        return this.bound(statement, statement.value, -1n);
      case "between":
        if (this.integer(statement, statement.low) > this.integer(statement, statement.high)) {
          throw invalid("between: the low end is above the high end");
        }
        this.bound(statement, statement.high, 1n);
        return this.bound(statement, statement.low, -1n);
      case "older_than":
        if (this.attribute(statement).type !== "date") throw invalid("older than: no date");
        return this.bound(statement, latestBirthday(statement.years, statement.on), 1n);
      case "member_of":
        return this.member(statement, statement.values);
      case "not_member_of":
        return this.notMember(statement, statement.values);
      case "equal":
        return this.equal(statement, statement.other);
      case "not_revoked":
        return this.equal(statement, { credential: statement.token, attribute: REVOCATION_ID });
    }
  }

  private attribute(place: Place): Attribute {
    const schema = this.schemas.get(place.credential);
    if (!schema) throw invalid("a statement names a credential that is not here");
    return attributeOf(schema, place.attribute)[1];
  }

  private variable(place: Place): number {
    this.attribute(place);
    const number = this.variables.get(keyOf(place));
    if (number === undefined) throw invalid("a statement hides what another one reveals");
    return number;
  }

  private largest(place: Place): bigint {
    const most = largest(this.attribute(place));
    if (most === undefined) throw invalid("text can be revealed and compared, it has no order");
    return most;
  }

  private integer(place: Place, value: Value): bigint {
    this.largest(place);
    try {
      return integerOf(this.attribute(place), value);
    } catch {
      throw invalid("a statement's value is not of the attribute's type");
    }
  }

  private newBits(count: number, fill: (witness: Witness) => bigint[]): number[] {
    if (this.bits + count > MOST_BITS) throw new ZkpError("too_large", "too many bits");
    const start = this.variables.size + this.bits;
    this.bits += count;
    this.fill.push(fill);
    return Array.from({ length: count }, (_, at) => start + at);
  }

  private row(coefficients: Iterable<readonly [number, bigint]>, constant: bigint): void {
    this.rows.push({ coefficients: new Map(coefficients), constant });
  }

  private bound(place: Place, value: Value, sign: bigint): void {
    const limit = this.integer(place, value);
    this.distance(this.variable(place), [], limit, sign, this.largest(place), () => limit);
  }

  /** m + others + sign * sum 2^i b_i = constant: the bits are those of sign (limit - m). */
  private distance(
    variable: number,
    others: readonly (readonly [number, bigint])[],
    constant: bigint,
    sign: bigint,
    most: bigint,
    limit: (witness: Witness) => bigint,
  ): void {
    const count = Math.max(most === 0n ? 0 : most.toString(2).length, 1);
    const bits = this.newBits(count, (witness) => {
      const distance = sign * (limit(witness) - witness(variable));
      if (distance < 0n || distance >> BigInt(count)) throw untrue();
      return Array.from({ length: count }, (_, at) => (distance >> BigInt(at)) & 1n);
    });
    const weights = bits.map((bit, at) => [bit, sign << BigInt(at)] as const);
    this.row([[variable, 1n], ...others, ...weights], constant);
  }

  private member(place: Place, values: readonly Value[]): void {
    const variable = this.variable(place);
    const members = this.set(place, values);
    const bits = this.newBits(members.length, (witness) => {
      if (!members.includes(witness(variable))) throw untrue();
      return members.map((one) => (one === witness(variable) ? 1n : 0n));
    });
    this.row([[variable, 1n], ...bits.map((bit, at) => [bit, -members[at]!] as const)], 0n);
    this.row(
      bits.map((bit) => [bit, 1n] as const),
      1n,
    );
  }

  private notMember(place: Place, values: readonly Value[]): void {
    const variable = this.variable(place);
    const most = this.largest(place);
    const members = this.set(place, values).sort((one, other) => (one < other ? -1 : 1));
    const walls = [-1n, ...members, most + 1n];
    const gaps = walls.slice(1).map((high, at) => [walls[at]! + 1n, high - 1n] as const);
    const open = gaps.filter(([low, high]) => low <= high);
    if (open.length === 0) throw invalid("not a member: the set leaves no value");
    const gapOf = (witness: Witness) => {
      const value = witness(variable);
      const found = open.find(([low, high]) => low <= value && value <= high);
      if (!found) throw untrue();
      return found;
    };
    const chosen = this.newBits(open.length, (witness) =>
      open.map((gap) => (gap === gapOf(witness) ? 1n : 0n)),
    );
    this.row(
      chosen.map((bit) => [bit, 1n] as const),
      1n,
    );
    const ends = (end: 0 | 1) => chosen.map((bit, at) => [bit, -open[at]![end]] as const);
    this.distance(variable, ends(0), 0n, -1n, most, (witness) => gapOf(witness)[0]);
    this.distance(variable, ends(1), 0n, 1n, most, (witness) => gapOf(witness)[1]);
  }

  private set(place: Place, values: readonly Value[]): bigint[] {
    if (values.length === 0 || values.length > MOST_SET) {
      throw new ZkpError("too_large", `a set has 1 to ${MOST_SET} members`);
    }
    const members = values.map((value) => this.integer(place, value));
    if (new Set(members).size !== members.length) throw invalid("a set names a member twice");
    return members;
  }

  private equal(place: Place, other: Place): void {
    if (keyOf(place) === keyOf(other)) throw invalid("an attribute is equal to itself");
    const [first, second] = [place, other].map((one) => {
      const { name: _, ...type } = this.attribute(one);
      return JSON.stringify(type, Object.keys(type).sort());
    });
    if (first !== second) throw invalid("equal: the attributes are of different types or units");
    this.row(
      [
        [this.variable(place), 1n],
        [this.variable(other), -1n],
      ],
      0n,
    );
  }
}
