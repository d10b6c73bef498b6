// Faults that a review found: each test shows one, and the promise that it broke.
jest.setTimeout(60_000)

for (const name of Object.keys(process.env)) {
  if (/^(REDIS_|SESSION_)/.test(name)) delete process.env[name]
}

describe('waiting for a slow or silent Redis', require('./support/faults/waiting'))
describe('the table while Redis is away', require('./support/faults/table'))
describe('when Redis is back', require('./support/faults/recovery'))
describe('servers that differ', require('./support/faults/servers'))
describe('configuration', require('./support/faults/configuration'))
