/** Zero-knowledge proofs of typed credentials, from docs/zk.md: an implementation of its own. */
export * as bbs from "./bbs.js";
export { ZkpError, scalarFromBytes, scalarToBytes } from "./curve.js";
export { commit, signBound } from "./holder.js";
export { type HeldCredential, type Presentation, type PresentedCredential } from "./layout.js";
export { prove } from "./prove.js";
export { verify } from "./verify.js";
export { readRequest, type ProofRequest, type Statement } from "./request.js";
export { STATUS_TOKEN, headerOf, readHeader, scalarsOf, type Schema } from "./schema.js";
export { answer, take, takeStatus } from "./wallet.js";
