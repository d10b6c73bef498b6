// P2 and P3: what requests do to one session at the same time, on two sites with one Redis.
jest.setTimeout(60_000)

for (const name of Object.keys(process.env)) {
  if (/^(REDIS_|SESSION_)/.test(name)) delete process.env[name]
}

for (const second of ['in this process', 'in a process of its own']) {
  describe(`with the second site ${second}`, () => {
    describe('updates', () => require('./support/concurrency/updates')(second))
    describe('deaths', () => require('./support/concurrency/deaths')(second))
  })
}

describe('interleavings', require('./support/concurrency/interleavings'))
describe('many holders', require('./support/concurrency/holders'))
describe('the model', require('./support/concurrency/model'))
