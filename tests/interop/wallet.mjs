// A wallet made of public parts that this project did not write: OpenID4VCI and OpenID4VP by
// @openid4vc, JOSE by jose. Only what those leave to a wallet is here: holding keys, choosing
// credentials by DCQL, and the key-binding JWT (RFC 9901, section 4.3).
//
//   node wallet.mjs accept STATE ROOT.pem OFFER TX_CODE COPIES
//   node wallet.mjs authorize STATE ROOT.pem OFFER TX_CODE COPIES   (by authorization code)
//   node wallet.mjs answer STATE ROOT.pem REQUEST QUERY[:COPY]...
//   node wallet.mjs refuse STATE ROOT.pem REQUEST ERROR
//
// STATE is a JSON file with the credentials held; COPY counts those that match, from 0. Prints
// JSON: what was received, or what the verifier answered.
import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { clientAuthenticationAnonymous, clientAuthenticationNone, setGlobalConfig } from '@openid4vc/oauth2'
import { Openid4vciClient } from '@openid4vc/openid4vci'
import { Openid4vpClient } from '@openid4vc/openid4vp'
import * as jose from 'jose'

setGlobalConfig({ allowInsecureUrls: true })

const [command, statePath, rootPath, link, ...rest] = process.argv.slice(2)
const root = new X509Certificate(readFileSync(rootPath))
const held = existsSync(statePath) ? JSON.parse(readFileSync(statePath, 'utf8')) : []
const keys = new Map(held.map(({ jwk }) => [jwk.x, jwk]))
const b64url = (bytes) => Buffer.from(bytes).toString('base64url')
const sha256 = (text) => b64url(createHash('sha256').update(text).digest())

const callbacks = {
  fetch,
  hash: (data, algorithm) => createHash(algorithm.replace('-', '')).update(data).digest(),
  generateRandom: (length) => randomBytes(length),
  clientAuthentication: clientAuthenticationAnonymous(),
  encryptJwe: async ({ publicJwk, alg, enc }, data) => {
    const header = { alg, enc, kid: publicJwk.kid }
    const jwe = await new jose.CompactEncrypt(Buffer.from(data)).setProtectedHeader(header)
      .encrypt(await jose.importJWK(publicJwk, alg))
    return { jwe, encryptionJwk: publicJwk }
  },
  decryptJwe: () => { throw new Error('this wallet does not decrypt') },
  signJwt: async (signer, { header, payload }) => {
    const jwk = keys.get(signer.publicJwk.x)
    const key = await jose.importJWK(jwk, 'ES256')
    return { jwt: await new jose.SignJWT(payload).setProtectedHeader(header).sign(key), signerJwk: signer.publicJwk }
  },
  verifyJwt: async (signer, { compact }) => {
    if (signer.method !== 'x5c') return { verified: false }
    const [leaf] = signer.x5c.map((certificate) => new X509Certificate(Buffer.from(certificate, 'base64')))
    if (!leaf.verify(root.publicKey)) return { verified: false }
    await jose.compactVerify(compact, leaf.publicKey, { algorithms: [signer.alg] })
    return { verified: true, signerJwk: leaf.publicKey.export({ format: 'jwk' }) }
  },
  getX509CertificateMetadata: (certificate) => {
    const names = (new X509Certificate(Buffer.from(certificate, 'base64')).subjectAltName ?? '').split(', ')
    const of = (kind) => names.filter((name) => name.startsWith(`${kind}:`)).map((name) => name.slice(kind.length + 1))
    return { sanDnsNames: of('DNS'), sanUriNames: of('URI') }
  },
}

const newKey = async () => {
  const { privateKey } = await jose.generateKeyPair('ES256', { extractable: true })
  const jwk = await jose.exportJWK(privateKey)
  keys.set(jwk.x, jwk)
  return jwk
}

const publicPart = ({ kty, crv, x, y }) => ({ kty, crv, x, y })

async function accept([txCode, copies]) {
  const client = new Openid4vciClient({ callbacks })
  const credentialOffer = await client.resolveCredentialOffer(link)
  const issuerMetadata = await client.resolveIssuerMetadata(credentialOffer.credential_issuer)
  const { accessTokenResponse } = await client.retrievePreAuthorizedCodeAccessTokenFromOffer({
    credentialOffer, issuerMetadata, txCode: txCode || undefined,
  })
  return receive(client, credentialOffer, issuerMetadata, accessTokenResponse, copies)
}

const CLIENT_ID = 'wallet.interop'
const REDIRECT_URI = 'https://wallet.interop.example/cb'

// By authorization code, pushed, with PKCE, and everything bound to one key by DPoP.
async function authorize([txCode, copies]) {
  const client = new Openid4vciClient({
    callbacks: { ...callbacks, clientAuthentication: clientAuthenticationNone({ clientId: CLIENT_ID }) },
  })
  const credentialOffer = await client.resolveCredentialOffer(link)
  const issuerMetadata = await client.resolveIssuerMetadata(credentialOffer.credential_issuer)
  const key = await newKey()
  const asked = await client.createAuthorizationRequestUrlFromOffer({
    credentialOffer, issuerMetadata, clientId: CLIENT_ID, redirectUri: REDIRECT_URI,
    scope: credentialOffer.credential_configuration_ids
      .map((id) => issuerMetadata.credentialIssuer.credential_configurations_supported[id].scope).join(' '),
    dpop: { signer: { method: 'jwk', publicJwk: publicPart(key), alg: 'ES256' } },
  })
  const url = await agree(asked.authorizationRequestUrl, txCode)
  const [authorizationServerMetadata] = issuerMetadata.authorizationServers
  const { code } = client.parseAndVerifyAuthorizationResponseRedirectUrl({ url, authorizationServerMetadata })
  const { accessTokenResponse, dpop } = await client.retrieveAuthorizationCodeAccessTokenFromOffer({
    credentialOffer, issuerMetadata, authorizationCode: code,
    pkceCodeVerifier: asked.pkce.codeVerifier, redirectUri: REDIRECT_URI, dpop: asked.dpop,
  })
  const received = await receive(client, credentialOffer, issuerMetadata, accessTokenResponse, copies, dpop)
  return {
    ...received, pushed: new URL(asked.authorizationRequestUrl).searchParams.get('request_uri'),
    challenge: asked.pkce.codeChallengeMethod, token: accessTokenResponse.token_type,
    iss: new URL(url).searchParams.get('iss'),
  }
}

// What the customer does in a browser: look at the page, fill in the code, agree.
async function agree(address, txCode) {
  const page = await fetch(address)
  const form = new URLSearchParams({ decision: 'agree', ...(txCode ? { tx_code: txCode } : {}) })
  for (const [, name, value] of (await page.text()).matchAll(/<input type="hidden" name="(\w+)" value="([^"]*)">/g)) {
    form.set(name, value.replaceAll('&amp;', '&'))
  }
  const { origin, pathname } = new URL(address)
  const sent = await fetch(origin + pathname, {
    method: 'POST', redirect: 'manual', body: form,
    headers: { Origin: origin, Cookie: page.headers.getSetCookie().map((cookie) => cookie.split(';')[0]).join('; ') },
  })
  if (sent.status !== 303) throw new Error(`the page answered ${sent.status}`)
  return sent.headers.get('location')
}

async function receive(client, credentialOffer, issuerMetadata, { access_token: accessToken }, copies, dpop) {
  const [credentialConfigurationId] = credentialOffer.credential_configuration_ids
  const { c_nonce: nonce } = await client.requestNonce({ issuerMetadata })
  const jwks = await Promise.all(Array.from({ length: Number(copies) }, newKey))
  const proofs = await Promise.all(jwks.map(async (jwk) => (await client.createCredentialRequestJwtProof({
    issuerMetadata, credentialConfigurationId, nonce, issuedAt: new Date(),
    signer: { method: 'jwk', publicJwk: publicPart(jwk), alg: 'ES256' },
  })).jwt))
  const { credentialResponse, dpop: after } = await client.retrieveCredentials({
    issuerMetadata, credentialConfigurationId, proofs: { jwt: proofs }, accessToken, dpop,
  })
  const byKey = new Map(jwks.map((jwk) => [jwk.x, jwk]))
  for (const { credential } of credentialResponse.credentials) {
    const [issuerJwt] = credential.split('~')
    const { x5c, alg, typ } = jose.decodeProtectedHeader(issuerJwt)
    const leaf = new X509Certificate(Buffer.from(x5c[0], 'base64'))
    if (!leaf.verify(root.publicKey)) throw new Error('the issuer is not below the trusted root')
    const { payload } = await jose.jwtVerify(issuerJwt, leaf.publicKey, { algorithms: [alg], typ: 'dc+sd-jwt' })
    held.push({ credential, jwk: byKey.get(payload.cnf.jwk.x), vct: payload.vct, jti: payload.jti, typ })
  }
  writeFileSync(statePath, JSON.stringify(held), { mode: 0o600 })
  if (credentialResponse.notification_id) {
    await client.sendNotification({
      issuerMetadata, accessToken, dpop: after ?? dpop,
      notification: { notificationId: credentialResponse.notification_id, event: 'credential_accepted' },
    })
  }
  return { received: credentialResponse.credentials.length, vct: held.at(-1).vct, jti: held.map(({ jti }) => jti) }
}

const claimsOf = ({ credential }) => jose.decodeJwt(credential.split('~')[0])

// DCQL over what this wallet holds: type and open claims; its credentials conceal none.
const matching = (query) => held.filter((entry) => {
  const claims = claimsOf(entry)
  return query.meta.vct_values.includes(claims.vct) && (query.claims ?? []).every(({ path, values }) => {
    const value = path.reduce((inner, name) => inner?.[name], claims)
    return value !== undefined && (!values || values.includes(value))
  })
})

// The request as the library reads and verifies it. Fetching by POST, the wallet sends a nonce of
// its own, which the signed request must carry back. (The library posts the members of `metadata`
// as the form, so that is where the nonce goes.)
async function resolve(client) {
  const { params } = client.parseOpenid4vpAuthorizationRequest({ authorizationRequest: link })
  const nonce = b64url(randomBytes(16))
  const wallet = params.request_uri_method === 'post'
    ? { expectedNonce: nonce, metadata: { wallet_nonce: nonce, wallet_metadata: { vp_formats_supported: { 'dc+sd-jwt': {} } } } }
    : undefined
  return client.resolveOpenId4vpAuthorizationRequest({ authorizationRequestPayload: params, wallet })
}

async function submit(client, resolved, payload) {
  const request = resolved.authorizationRequestPayload
  const encryption = request.response_mode === 'direct_post.jwt' && {
    encryption: { nonce: request.nonce },
    serverMetadata: {
      authorization_encryption_alg_values_supported: ['ECDH-ES'],
      authorization_encryption_enc_values_supported: ['A128GCM', 'A256GCM'],
    },
  }
  const { authorizationResponsePayload, jarm } = await client.createOpenid4vpAuthorizationResponse({
    authorizationRequestPayload: request, authorizationResponsePayload: payload,
    ...(encryption ? { jarm: encryption } : {}),
  })
  const { response } = await client.submitOpenid4vpAuthorizationResponse({
    authorizationRequestPayload: request, authorizationResponsePayload,
    ...(jarm ? { jarm: { responseJwt: jarm.responseJwt } } : {}),
  })
  return {
    encrypted: jarm ? jose.decodeProtectedHeader(jarm.responseJwt).enc : null,
    status: response.status, body: await response.json(), client: resolved.client.prefix, version: resolved.version,
    signed: resolved.jar !== undefined, walletNonce: resolved.authorizationRequestPayload.wallet_nonce !== undefined,
    shown: (resolved.transactionData ?? []).map(({ transactionData }) => transactionData),
  }
}

async function refuse([error]) {
  const client = new Openid4vpClient({ callbacks })
  return submit(client, await resolve(client), { error })
}

async function answer(answers) {
  const chosen = new Map(answers.map((text) => text.split(':')))
  const client = new Openid4vpClient({ callbacks })
  const resolved = await resolve(client)
  const request = resolved.authorizationRequestPayload
  const vpToken = {}
  for (const query of resolved.dcql.query.credentials.filter(({ id }) => chosen.has(id))) {
    const entry = matching(query)[Number(chosen.get(query.id) ?? 0)]
    if (!entry) continue
    const signed = (resolved.transactionData ?? [])
      .filter(({ transactionData }) => transactionData.credential_ids.includes(query.id))
      .map(({ encoded }) => encoded)
    const binding = {
      iat: Math.floor(Date.now() / 1000), aud: request.client_id, nonce: request.nonce, sd_hash: sha256(entry.credential),
      ...(signed.length ? { transaction_data_hashes: signed.map(sha256), transaction_data_hashes_alg: 'sha-256' } : {}),
    }
    const key = await jose.importJWK(entry.jwk, 'ES256')
    const jwt = await new jose.SignJWT(binding).setProtectedHeader({ alg: 'ES256', typ: 'kb+jwt' }).sign(key)
    vpToken[query.id] = [entry.credential + jwt]
  }
  return { ...await submit(client, resolved, { vp_token: vpToken }), answered: Object.keys(vpToken) }
}

process.stdout.write(JSON.stringify(await { accept, authorize, answer, refuse }[command](rest)))
