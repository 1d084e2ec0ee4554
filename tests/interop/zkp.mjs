// The implementation in zkp/ and digitalbazaar's, driven by lines of JSON: one call, one answer.
import * as theirs from "@digitalbazaar/bbs-signatures";
import { createInterface } from "node:readline";
import * as zkp from "./node_modules/.zkp/index.js";

const { bbs } = zkp;
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");
const scalar = (text) => zkp.scalarFromBytes(bytes(text));
const suites = { "SHA-256": bbs.SHA_256, "SHAKE-256": bbs.SHAKE_256 };
const messagesOf = (told) =>
  told.messages.map((one) => suites[told.suite].messageScalar(bytes(one)));
const mapped = (object, change) =>
  Object.fromEntries(Object.entries(object).map(([name, one]) => [name, change(one)]));

const held = (told) => ({
  key: bytes(told.key),
  header: bytes(told.header),
  signature: bbs.signatureFromBytes(bytes(told.signature)),
  values: told.values,
  ...(told.holder_secret ? { holderSecret: scalar(told.holder_secret) } : {}),
});
const presented = (told) => ({ ...told, key: bytes(told.key), header: bytes(told.header) });
const only = (told) => told.disclosed.map((index) => bytes(told.messages[index]));
const asTheirs = (told) => ({
  publicKey: bytes(told.key),
  header: bytes(told.header),
  ciphersuite: `BLS12-381-${told.suite}`,
});

const calls = {
  issue: (told) => {
    const header = bytes(told.header);
    const scalars = zkp.scalarsOf(zkp.readHeader(header).schema, told.values);
    return hex(bbs.signatureToBytes(bbs.sign(scalar(told.secret), header, scalars, bbs.TYPED)));
  },
  prove: (told) => {
    const { credentials, proof } = zkp.prove(told.request, mapped(told.held, held));
    const shown = (one) => ({ ...one, key: hex(one.key), header: hex(one.header) });
    return { credentials: mapped(credentials, shown), proof: hex(proof) };
  },
  verify: (told) => {
    const credentials = mapped(told.presentation.credentials, presented);
    const presentation = { credentials, proof: bytes(told.presentation.proof) };
    zkp.verify(
      told.request,
      presentation,
      mapped(told.issuers, (keys) => keys.map(bytes)),
    );
    return true;
  },
  commit: (told) => {
    const made = zkp.commit(bytes(told.key), bytes(told.header), bytes(told.nonce));
    return { commitment: hex(made.commitment), secret: hex(zkp.scalarToBytes(made.secret)) };
  },
  sign_bound: (told) => {
    const [header, commitment, nonce] = [told.header, told.commitment, told.nonce].map(bytes);
    const made = zkp.signBound(scalar(told.secret), header, told.values, commitment, nonce);
    return hex(bbs.signatureToBytes(made));
  },
  header: (told) => hex(zkp.headerOf(told.schema, told.issuer)),
  bbs_key: (told) => hex(bbs.publicKey(scalar(told.secret))),
  bbs_sign: (told) =>
    hex(
      bbs.signatureToBytes(
        bbs.sign(scalar(told.secret), bytes(told.header), messagesOf(told), suites[told.suite]),
      ),
    ),
  bbs_verify: (told) => {
    const signature = bbs.signatureFromBytes(bytes(told.signature));
    return bbs.verify(
      bytes(told.key),
      signature,
      bytes(told.header),
      messagesOf(told),
      suites[told.suite],
    );
  },
  bbs_prove: (told) => {
    const signature = bbs.signatureFromBytes(bytes(told.signature));
    const [key, header, occasion] = [told.key, told.header, told.presentation_header].map(bytes);
    const suite = suites[told.suite];
    return hex(
      bbs.prove(key, signature, header, messagesOf(told), told.disclosed, occasion, suite),
    );
  },
  bbs_check: (told) => {
    const messages = messagesOf(told);
    const disclosed = new Map(told.disclosed.map((index) => [index, messages[index]]));
    const [key, proof, header, occasion] = [
      told.key,
      told.proof,
      told.header,
      told.presentation_header,
    ].map(bytes);
    bbs.verifyProof(key, proof, header, disclosed, occasion, suites[told.suite]);
    return true;
  },
  theirs_sign: async (told) =>
    hex(
      await theirs.sign({
        ...asTheirs(told),
        secretKey: bytes(told.secret),
        messages: told.messages.map(bytes),
      }),
    ),
  theirs_verify: (told) =>
    theirs.verifySignature({
      ...asTheirs(told),
      signature: bytes(told.signature),
      messages: told.messages.map(bytes),
    }),
  theirs_prove: async (told) =>
    hex(
      await theirs.deriveProof({
        ...asTheirs(told),
        signature: bytes(told.signature),
        messages: told.messages.map(bytes),
        presentationHeader: bytes(told.presentation_header),
        disclosedMessageIndexes: told.disclosed,
      }),
    ),
  theirs_check: (told) =>
    theirs.verifyProof({
      ...asTheirs(told),
      proof: bytes(told.proof),
      presentationHeader: bytes(told.presentation_header),
      disclosedMessages: only(told),
      disclosedMessageIndexes: told.disclosed,
    }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { call, ...told } = JSON.parse(line);
  let answer;
  try {
    answer = { found: await calls[call](told) };
  } catch (error) {
    answer = { refused: error instanceof zkp.ZkpError ? error.code : `not typed: ${error.stack}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
