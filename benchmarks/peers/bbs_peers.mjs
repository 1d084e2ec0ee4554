// BBS as others make it: sign, verify, prove, check eight messages of which two are shown.
// Each line says whose, what and how often, like `mattr verify 3`; the answer is milliseconds of
// processor time for one call.
import * as digitalbazaar from "@digitalbazaar/bbs-signatures";
import mattr from "@mattrglobal/pairing-crypto";
import { createInterface } from "node:readline";

const bytes = (text) => new TextEncoder().encode(text);
const header = bytes("header");
const presentationHeader = bytes("now");
const messages = Array.from({ length: 8 }, (_, number) => bytes(`message ${number}`));
const shown = [1, 2];

async function ofDigitalbazaar() {
  const ciphersuite = "BLS12-381-SHA-256";
  const { secretKey, publicKey } = await digitalbazaar.generateKeyPair({ ciphersuite });
  const with_ = { ciphersuite, publicKey, header };
  const sign = () => digitalbazaar.sign({ ...with_, secretKey, messages });
  const signature = await sign();
  const prove = () =>
    digitalbazaar.deriveProof({
      ...with_,
      signature,
      messages,
      presentationHeader,
      disclosedMessageIndexes: shown,
    });
  const proof = await prove();
  const disclosedMessages = shown.map((index) => messages[index]);
  return {
    sign,
    verify: () => digitalbazaar.verifySignature({ ...with_, signature, messages }),
    prove,
    check: () =>
      digitalbazaar.verifyProof({
        ...with_,
        proof,
        presentationHeader,
        disclosedMessages,
        disclosedMessageIndexes: shown,
      }),
  };
}

async function ofMattr() {
  const suite = mattr.bbs.bls12381_sha256;
  const { secretKey, publicKey } = await suite.generateKeyPair();
  const sign = () => suite.sign({ secretKey, publicKey, header, messages });
  const signature = await sign();
  const told = messages.map((value, index) => ({ value, reveal: shown.includes(index) }));
  const prove = () =>
    suite.deriveProof({
      publicKey,
      header,
      presentationHeader,
      signature,
      messages: told,
      verifySignature: false,
    });
  const proof = await prove();
  const revealed = Object.fromEntries(shown.map((index) => [index, messages[index]]));
  return {
    sign,
    verify: async () => (await suite.verify({ publicKey, header, signature, messages })).verified,
    prove,
    check: async () =>
      (
        await suite.verifyProof({
          publicKey,
          header,
          presentationHeader,
          proof,
          messages: revealed,
        })
      ).verified,
  };
}

async function milliseconds(call, calls) {
  const start = process.cpuUsage();
  for (let number = 0; number < calls; number++) {
    if (!(await call())) throw new Error("it does not accept its own");
  }
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000 / calls;
}

const peers = { digitalbazaar: await ofDigitalbazaar(), mattr: await ofMattr() };
for await (const line of createInterface({ input: process.stdin })) {
  const [name, what, calls] = line.split(" ");
  process.stdout.write(`${await milliseconds(peers[name][what], Number(calls))}\n`);
}
