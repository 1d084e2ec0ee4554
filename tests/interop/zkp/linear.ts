/** One linear system over hidden attributes and bits: M (m, b) = k, brought to echelon form. */
import {
  ZkpError,
  fromNumber,
  inverse,
  join,
  modulo,
  randomScalar,
  u64,
  type Scalar,
} from "./curve.js";

export interface Row {
  /** By the number of the variable: hidden attributes first, then bits. */
  readonly coefficients: ReadonlyMap<number, bigint>;
  readonly constant: bigint;
}

type Pivot = { coefficients: Map<number, Scalar>; constant: Scalar };
const MOST_ROWS = 128;

export class LinearSystem {
  /** Each variable that a row determines, by those that none does. */
  private readonly pivots: Map<number, Pivot>;
  readonly free: readonly number[];

  constructor(
    readonly attributes: number,
    readonly bits: number,
    readonly rows: readonly Row[],
  ) {
    if (rows.length > MOST_ROWS) throw new ZkpError("too_large", "too many rows");
    this.pivots = reduce(rows);
    this.free = [...Array(attributes + bits).keys()].filter((one) => !this.pivots.has(one));
  }

  /** The solution of M x = scale k with these free variables, in their order. */
  complete(free: readonly Scalar[], scale: Scalar): Scalar[] {
    const values = new Array<Scalar>(this.attributes + this.bits).fill(0n);
    this.free.forEach((variable, at) => (values[variable] = free[at]!));
    for (const [variable, { coefficients, constant }] of this.pivots) {
      let value = constant * scale;
      for (const [other, factor] of coefficients) value -= factor * values[other]!;
      values[variable] = modulo(value);
    }
    return values;
  }

  /** A uniform element of the kernel of M. */
  blindings(): Scalar[] {
    return this.complete(this.free.map(randomScalar), 0n);
  }

  holds(values: readonly Scalar[]): boolean {
    return this.rows.every(({ coefficients, constant }) => {
      let total = -constant;
      for (const [variable, factor] of coefficients) total += factor * values[variable]!;
      return modulo(total) === 0n;
    });
  }

  /** M and k as they were stated, for the transcript. */
  toBytes(): Uint8Array {
    const told = [u64(this.attributes), u64(this.bits), u64(this.rows.length)];
    for (const { coefficients, constant } of this.rows) {
      told.push(u64(coefficients.size));
      for (const [variable, factor] of [...coefficients].sort(([one], [other]) => one - other)) {
        told.push(u64(variable), fromNumber(modulo(factor), 32));
      }
      told.push(fromNumber(modulo(constant), 32));
    }
    return join(...told);
  }
}

/** Reduced echelon form, variables taken from the highest number down. */
function reduce(rows: readonly Row[]): Map<number, Pivot> {
  const done = new Map<number, Pivot>();
  for (const row of rows) {
    const left: Pivot = { coefficients: new Map(), constant: modulo(row.constant) };
    for (const [variable, factor] of row.coefficients) {
      if (modulo(factor) !== 0n) left.coefficients.set(variable, modulo(factor));
    }
    for (const variable of [...left.coefficients.keys()]) {
      const known = done.get(variable);
      if (known) eliminate(left, variable, known);
    }
    if (left.coefficients.size === 0) {
      if (left.constant !== 0n)
        throw new ZkpError("statement_invalid", "the statements contradict");
      continue;
    }
    const pivot = Math.max(...left.coefficients.keys());
    const factor = inverse(left.coefficients.get(pivot)!);
    left.coefficients.delete(pivot);
    for (const [variable, value] of left.coefficients) {
      left.coefficients.set(variable, modulo(value * factor));
    }
    left.constant = modulo(left.constant * factor);
    for (const other of done.values()) {
      if (other.coefficients.has(pivot)) eliminate(other, pivot, left);
    }
    done.set(pivot, left);
  }
  return done;
}

/** Replace a variable of `left` by what determines it. */
function eliminate(left: Pivot, variable: number, known: Pivot): void {
  const factor = left.coefficients.get(variable)!;
  left.coefficients.delete(variable);
  left.constant = modulo(left.constant - factor * known.constant);
  for (const [other, value] of known.coefficients) {
    const rest = modulo((left.coefficients.get(other) ?? 0n) - factor * value);
    if (rest === 0n) left.coefficients.delete(other);
    else left.coefficients.set(other, rest);
  }
}
