/** A wallet: takes credentials of attributes and status tokens, and answers requests for proofs. */
import { TYPED, signatureFromBytes, verify as verifySignature } from "./bbs.js";
import { ZkpError, scalarFromBytes, scalarToBytes, utf8 } from "./curve.js";
import { commit } from "./holder.js";
import { type HeldCredential, type Presentation } from "./layout.js";
import { prove } from "./prove.js";
import { canonicalRequest, type ProofRequest } from "./request.js";
import { STATUS_TOKEN, headerOf, readHeader, scalarsOf } from "./schema.js";
import {
  ATTRIBUTES,
  VERSION,
  b64url,
  bytes,
  fetchRequest,
  form,
  json,
  metaOf,
  proofRequest,
  send,
  sha256,
  wellKnown,
  type Kept,
  type Trusts,
} from "./wire.js";

const PREFIX = "consent-broker status token v1";

/** Take the credential that an offer by value holds. */
export async function take(link: string, txCode: string): Promise<Kept> {
  const offer = JSON.parse(new URL(link).searchParams.get("credential_offer")!);
  const [name] = offer.credential_configuration_ids;
  const issuer = await json(wellKnown(offer.credential_issuer, "openid-credential-issuer"));
  const [server] = issuer.authorization_servers ?? [issuer.credential_issuer];
  const oauth = await json(wellKnown(server, "oauth-authorization-server"));
  const kind = issuer.credential_configurations_supported[name];
  if (issuer.credential_issuer !== offer.credential_issuer || kind.format !== ATTRIBUTES) {
    throw new Error("the offer is of another issuer, or of a format that this wallet lacks");
  }
  const grant = "urn:ietf:params:oauth:grant-type:pre-authorized_code";
  const code = offer.grants[grant]["pre-authorized_code"];
  const redeem = { grant_type: grant, "pre-authorized_code": code, tx_code: txCode };
  const { access_token: token } = await json(oauth.token_endpoint, form(redeem));
  const { c_nonce: nonce } = await json(issuer.nonce_endpoint, { method: "POST" });
  const key = bytes(kind.issuer_keys[0]);
  const header = bytes(kind.header);
  const made = commit(key, header, utf8(nonce));
  const answer = await json(issuer.credential_endpoint, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify({
      credential_configuration_id: name,
      proofs: { holder_commitment: [{ nonce, commitment: b64url(made.commitment) }] },
    }),
  });
  const [{ credential }] = answer.credentials;
  const kept = { ...credential, secret: b64url(scalarToBytes(made.secret)) };
  if (kept.issuer_key !== kind.issuer_keys[0] || kept.header !== kind.header) {
    throw new Error("the credential is of another kind or key than was asked for");
  }
  return checked(kept);
}

/** The status token of a credential in the epoch that it is; undefined where it has none. */
export async function takeStatus(kept: Kept): Promise<Kept | undefined> {
  const { issuer } = readHeader(bytes(kept.header));
  const index = await json(`${issuer}/attribute-status`);
  const key = index.keys.find((one: { key: string }) => one.key === kept.issuer_key);
  if (!key) return undefined;
  const revocationId = String(kept.values["revocation_id"]);
  const hash = await sha256(utf8(PREFIX + revocationId));
  const tag = [...hash.subarray(0, 16)].map((one) => one.toString(16).padStart(2, "0")).join("");
  const place = parseInt(tag.slice(0, 8), 16);
  const shard = Math.floor(place / 2 ** (32 - key.bits));
  const address = `${issuer}/attribute-status/${index.epoch}/${key.id}/${key.bits}/${shard}`;
  const found = await json(address);
  const signature = found.tokens[tag];
  if (signature === undefined) return undefined;
  return checked({
    issuer_key: kept.issuer_key,
    header: b64url(headerOf(STATUS_TOKEN, issuer)),
    signature,
    values: { epoch: index.epoch, revocation_id: revocationId },
  });
}

/** Answer a request: prove what it asks where that can be done, or else refuse. */
export async function answer(
  link: string,
  held: readonly Kept[],
  trusts: Trusts,
): Promise<object> {
  const asked = await fetchRequest(link, trusts);
  const request = await proofRequest(asked);
  const { credentials } = metaOf(asked);
  const fitting = request.credentials.map((name) =>
    held.filter((kept) => {
      const { schema, issuer } = readHeader(bytes(kept.header));
      const wanted = credentials[name]!;
      return (
        schema.id === wanted.schema &&
        wanted.issuers.some((one) => one.issuer === issuer && one.key === kept.issuer_key)
      );
    }),
  );
  const proof = firstProven(request, fitting);
  if (!proof) return send(asked, { error: "access_denied" });
  return send(asked, { vp_token: { proof: [await written(request, proof)] } });
}

function firstProven(request: ProofRequest, fitting: Kept[][]): Presentation | undefined {
  for (const chosen of combinations(fitting)) {
    const held = request.credentials.map((name, at) => [name, opened(chosen[at]!)] as const);
    try {
      return prove(request, Object.fromEntries(held));
    } catch (error) {
      if (!(error instanceof ZkpError)) throw error;
    }
  }
  return undefined;
}

function combinations(lists: Kept[][]): Kept[][] {
  return lists.reduce<Kept[][]>(
    (before, list) => before.flatMap((some) => list.map((one) => [...some, one])),
    [[]],
  );
}

async function written(request: ProofRequest, shown: Presentation): Promise<object> {
  const credentials = Object.entries(shown.credentials).map(([name, one]) => [
    name,
    {
      issuer_key: b64url(one.key),
      header: b64url(one.header),
      bound: one.bound,
      revealed: one.revealed,
    },
  ]);
  return {
    version: VERSION,
    request: b64url(await sha256(canonicalRequest(request))),
    credentials: Object.fromEntries(credentials),
    proof: b64url(shown.proof),
  };
}

function opened({ issuer_key, header, signature, values, secret }: Kept): HeldCredential {
  return {
    key: bytes(issuer_key),
    header: bytes(header),
    signature: signatureFromBytes(bytes(signature)),
    values,
    ...(secret === undefined ? {} : { holderSecret: scalarFromBytes(bytes(secret)) }),
  };
}

/** What was received, when its signature holds. */
function checked(kept: Kept): Kept {
  const { key, header, signature, values, holderSecret } = opened(kept);
  const signed = scalarsOf(readHeader(header).schema, values);
  if (holderSecret !== undefined) signed.push(holderSecret);
  if (!verifySignature(key, signature, header, signed, TYPED)) {
    throw new Error("the issuer's signature does not verify");
  }
  return kept;
}
