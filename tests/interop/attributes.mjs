// The wallet of zkp/, which was made from docs/zk.md, on the command line.
//
//   node attributes.mjs take STATE ROOT.pem OFFER TX_CODE
//   node attributes.mjs tokens STATE ROOT.pem             (status tokens of all it holds)
//   node attributes.mjs answer STATE ROOT.pem REQUEST
//
// STATE is a JSON file with the credentials held. Prints JSON.
import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import * as zkp from "./node_modules/.zkp/index.js";

const [command, statePath, rootPath, ...rest] = process.argv.slice(2);
const root = new X509Certificate(readFileSync(rootPath));
const trusts = (leaf) => new X509Certificate(leaf).verify(root.publicKey);
const state = existsSync(statePath)
  ? JSON.parse(readFileSync(statePath, "utf8"))
  : { credentials: [], tokens: [] };

const commands = {
  take: async (offer, txCode) => {
    const kept = await zkp.take(offer, txCode);
    state.credentials.push(kept);
    return { values: kept.values };
  },
  tokens: async () => {
    const found = await Promise.all(state.credentials.map(zkp.takeStatus));
    state.tokens = found.filter((token) => token !== undefined);
    return { tokens: state.tokens.length };
  },
  answer: (link) => zkp.answer(link, [...state.credentials, ...state.tokens], trusts),
};

const told = await commands[command](...rest);
writeFileSync(statePath, JSON.stringify(state), { mode: 0o600 });
process.stdout.write(JSON.stringify(told));
