// The second evaluator: policies and requests in, line by line; decisions and reasons out.
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import { createInterface } from 'node:readline'

const prepared = answer => {
  if (answer.type !== 'success') throw new Error(JSON.stringify(answer.errors))
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  if (asked.policies) {
    prepared(cedar.preparsePolicySet('all', { staticPolicies: asked.policies }))
    prepared(cedar.preparseSchema('all', asked.schema))
    continue
  }
  const found = asked.map(({ request, entities }) => {
    const answer = cedar.statefulIsAuthorized({
      ...request,
      context: JSON.parse(request.context),
      entities,
      preparsedPolicySetId: 'all',
      preparsedSchemaName: 'all',
      validateRequest: true,
    })
    if (answer.type !== 'success') return { failure: JSON.stringify(answer.errors) }
    const { decision, diagnostics } = answer.response
    return { decision, reasons: diagnostics.reason, errors: diagnostics.errors.length }
  })
  process.stdout.write(JSON.stringify(found) + '\n')
}
