/** What wallet and broker say to each other, from docs/zk.md, "On the wire"; no curve is here. */
import * as jose from "jose";
import { utf8 } from "./curve.js";
import { type ProofRequest, type Statement } from "./request.js";
import { sorted, type Values } from "./schema.js";

export const VERSION = "consent-broker-proof/1";
export const PROOFS = "consent-broker-proof+1";
export const ATTRIBUTES = "consent-broker-bbs+1";

/** A credential of attributes or a status token as the wallet keeps it: bytes are base64url. */
export interface Kept {
  readonly issuer_key: string;
  readonly header: string;
  readonly signature: string;
  readonly values: Values;
  readonly secret?: string;
}
export interface Meta {
  readonly version: string;
  readonly credentials: Record<
    string,
    { schema: string; issuers: { issuer: string; key: string }[] }
  >;
  readonly statements: Statement[];
}
/** The parameters of an authorization request that a wallet needs. */
export interface Asked {
  readonly client_id: string;
  readonly nonce: string;
  readonly state: string;
  readonly response_uri: string;
  readonly response_mode: string;
  readonly dcql_query: { credentials: { id: string; format: string; meta: Meta }[] };
  readonly client_metadata: {
    jwks?: { keys: jose.JWK[] };
    encrypted_response_enc_values_supported?: string[];
  };
}
/** Whether `leaf` (DER) is a certificate below a root that the wallet trusts. */
export type Trusts = (leaf: Uint8Array) => boolean;

export const b64url = (data: Uint8Array): string => jose.base64url.encode(data);
export const bytes = (text: string): Uint8Array => jose.base64url.decode(text);
export const sha256 = async (data: Uint8Array): Promise<Uint8Array> =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(data)));
/** RFC 8785, for values whose numbers are whole. */
const canonical = (value: unknown): Uint8Array => utf8(JSON.stringify(sorted(value)));

export async function json(address: string, init?: RequestInit): Promise<any> {
  const answer = await fetch(address, init);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${address} answered ${answer.status}: ${text}`);
  return JSON.parse(text);
}

export const form = (fields: Record<string, string>): RequestInit => ({
  method: "POST",
  body: new URLSearchParams(fields),
});

export const wellKnown = (address: string, name: string): string => {
  const { origin, pathname } = new URL(address);
  return `${origin}/.well-known/${name}${pathname === "/" ? "" : pathname}`;
};

/** Fetch a request by its link, by POST where it says so, and check who signed it. */
export async function fetchRequest(link: string, trusts: Trusts): Promise<Asked> {
  const told = new URL(link).searchParams;
  const nonce = b64url(crypto.getRandomValues(new Uint8Array(16)));
  const posted = told.get("request_uri_method") === "post";
  const metadata = { vp_formats_supported: { [PROOFS]: {} } };
  const fields = { wallet_nonce: nonce, wallet_metadata: JSON.stringify(metadata) };
  const answer = await fetch(told.get("request_uri")!, posted ? form(fields) : {});
  const text = await answer.text();
  if (!answer.ok) throw new Error(`the request answered ${answer.status}: ${text}`);
  const { alg, typ, x5c } = jose.decodeProtectedHeader(text);
  const leaf = Uint8Array.from(atob(x5c![0]!), (letter) => letter.charCodeAt(0));
  const client = `x509_hash:${b64url(await sha256(leaf))}`;
  if (typ !== "oauth-authz-req+jwt" || !trusts(leaf)) throw new Error("nobody known signed it");
  const pem = `-----BEGIN CERTIFICATE-----\n${x5c![0]}\n-----END CERTIFICATE-----`;
  const { payload } = await jose.compactVerify(text, await jose.importX509(pem, alg!), {
    algorithms: ["ES256"],
  });
  const asked = JSON.parse(new TextDecoder().decode(payload));
  if (asked.client_id !== client || told.get("client_id") !== client) {
    throw new Error("the request is of another client than its certificate's");
  }
  if (posted && asked.wallet_nonce !== nonce) throw new Error("the request is an older one");
  return asked;
}

/** The one query of a request for a proof. */
export function metaOf({ dcql_query: { credentials } }: Asked): Meta {
  const [query, ...more] = credentials;
  if (!query || more.length || query.id !== "proof" || query.format !== PROOFS) {
    throw new Error("this wallet answers requests for one proof");
  }
  if (query.meta.version !== VERSION) throw new Error("a version that this wallet does not know");
  return query.meta;
}

/** What is proven, as it follows from the authorization request. */
export async function proofRequest(asked: Asked): Promise<ProofRequest> {
  const { client_id, dcql_query, nonce, response_uri, state } = asked;
  const meta = metaOf(asked);
  const carried = canonical({ client_id, dcql_query, nonce, response_uri, state });
  return {
    version: VERSION,
    credentials: Object.keys(meta.credentials).sort(),
    statements: meta.statements,
    nonce: b64url(utf8(nonce)),
    audience: client_id,
    request_hash: b64url(await sha256(carried)),
  };
}

/** Send an answer by direct_post, encrypted where the request asks for it. */
export async function send(asked: Asked, answer: object): Promise<object> {
  const { response_mode: mode, response_uri: address, state, client_metadata: metadata } = asked;
  const told: Record<string, unknown> = { ...answer, state };
  const fields: Record<string, string> = {};
  for (const [name, one] of Object.entries(told)) {
    fields[name] = typeof one === "string" ? one : JSON.stringify(one);
  }
  if (mode === "direct_post.jwt") {
    const [jwk] = metadata.jwks!.keys;
    const [enc] = metadata.encrypted_response_enc_values_supported!;
    const sealed = await new jose.CompactEncrypt(utf8(JSON.stringify(told)))
      .setProtectedHeader({ alg: jwk!.alg!, enc: enc!, kid: jwk!.kid! })
      .encrypt(await jose.importJWK(jwk!, jwk!.alg));
    return response(await fetch(address, form({ response: sealed })));
  }
  return response(await fetch(address, form(fields)));
}

async function response(answer: Response): Promise<object> {
  return { status: answer.status, body: JSON.parse(await answer.text()) };
}

