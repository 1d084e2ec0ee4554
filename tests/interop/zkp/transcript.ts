/** Fiat and Shamir: every part that a challenge depends on, behind its length. */
import { expandXmd, hashToScalar, join, scalarToBytes, u64, utf8, type Scalar } from "./curve.js";

const TAG = utf8("CONSENT-BROKER-ZKP-V1_BLS12381G1_XMD:SHA-256_TRANSCRIPT_");

export class Transcript {
  private readonly parts: Uint8Array[] = [];

  constructor(protocol: string) {
    this.add("protocol", utf8(protocol));
  }

  add(label: string, data: Uint8Array): void {
    const name = utf8(label);
    this.parts.push(u64(name.length), name, u64(data.length), data);
  }

  addScalar(label: string, scalar: Scalar): void {
    this.add(label, scalarToBytes(scalar));
  }

  /** A scalar that depends on everything so far, and is absorbed itself. */
  challenge(label: string): Scalar {
    this.add(label, new Uint8Array());
    const drawn = hashToScalar(join(...this.parts), TAG, expandXmd);
    this.addScalar("challenge", drawn);
    return drawn;
  }
}
