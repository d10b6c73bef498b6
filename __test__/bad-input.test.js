// P9 and clear words: whatever a caller, an environment or a Redis gives, there is an error that a person can act on, in
// the place where it belongs, and nothing else is harmed.
const session = require('express-session')
const { RedisStore } = require('..')
const { call } = require('./support/call')
const { laterForEach } = require('./support/later')
const { rememberingLogger } = require('./support/logger')
const { freePort } = require('./support/port')
const { startRedis } = require('./support/redis')
const { runScript } = require('./support/script')
const { newId, sessionWith } = require('./support/sessions')
const { startTraffic } = require('./support/traffic')
const { until } = require('./support/until')

jest.setTimeout(30_000)

for (const name of Object.keys(process.env)) {
  if (/^(REDIS_|SESSION_)/.test(name)) delete process.env[name]
}

describe('options', () => {
  function refusal(options) {
    let store
    try {
      store = new RedisStore(options)
    } catch (error) {
      return error
    }
    store.close()
    throw new Error('these options were accepted')
  }

  const wholePort = /whole number from 1 to 65535/
  const milliseconds = /whole number from 10 to 60000/
  const pem = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'
  const cases = [
    // the option, its bad values, what the message must say is allowed
    [
      'port',
      [0, -1, 65_536, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '6379', true, {}, [1], () => 1, Symbol('x'), 1n],
      wholePort
    ],
    ['host', ['', 'two words', 'http://localhost', 'localhost/0', 5, false, {}], /host name|string/],
    ['url', [5, true, {}], /string/],
    [
      'url',
      ['', 'localhost', 'http://localhost', 'redis://', 'redis://h:99999', 'redis://h/x', 'redis+unix://'],
      /redis:\/\//
    ],
    ['socketPath', ['', 5, {}], /path|string/],
    ['username', [5, {}, true], /string/],
    ['password', [5, {}, true], /string/],
    ['db', [-1, 1.5, '0', Number.NaN, {}], /whole number/],
    ['tls', ['yes', 5, [], () => {}], /true|object/],
    ['tls.ca', [{ ca: 5 }, { ca: {} }], /string|PEM/, 'tls'],
    ['prefix', [5, 'x'.repeat(300), {}], /text|string/],
    ['ttl', [-1, '60', Number.NaN, Number.POSITIVE_INFINITY, {}, true], /number of seconds/],
    ['disableTTL', ['yes', 'true', 1, 0, {}], /true.*false/],
    ['disableTouch', ['yes', 'true', 1, 0, {}], /true.*false/],
    ['scanCount', [0, -1, 100_001, 1.5, '100', {}], /whole number from 1 to 100000/],
    ['serializer', [{}, { parse() {} }, { stringify() {} }, 'JSON', 5, true], /parse.*stringify/],
    ['commandTimeoutMs', [0, 9, 60_001, 100.5, '500', {}], milliseconds],
    ['connectTimeoutMs', [0, 9, 60_001, 100.5, '500', {}], milliseconds],
    ['cache', [true, 5, 'big', []], /object|maxBytes/],
    [
      'cache.maxBytes',
      [{ maxBytes: 65_535 }, { maxBytes: '1mb' }, { maxBytes: 1e6 + 0.5 }, { maxBytes: -1 }],
      /65536/,
      'cache'
    ],
    ['logger', [true, 5, 'console', {}, { info() {}, warn() {}, error() {} }], /debug.*info.*warn.*error/]
  ]

  describe.each(cases)('%s', (name, values, allowed, option = name) => {
    test.each(values.map((value) => [value]))('%p is refused by name, with what is allowed', (value) => {
      const error = refusal({ [option]: value })
      expect(error).toBeInstanceOf(TypeError)
      expect(error.code).toBe('ERR_INVALID_OPTION')
      expect(error.message).toContain(`\`${name}\``)
      expect(error.message).toMatch(allowed)
    })
  })

  test.each([
    [{ port: 70_000 }, '70000'],
    [{ port: '6379' }, '"6379"'],
    [{ scanCount: true }, 'true'],
    [{ ttl: {} }, 'object'],
    [{ db: [] }, 'array']
  ])('the message for %p says what the option holds', (options, held) => {
    expect(refusal(options).message).toContain(held)
  })

  test.each([
    ['url and host', { url: 'redis://localhost', host: 'localhost' }, ['url', 'host']],
    ['url and port', { url: 'redis://localhost', port: 6379 }, ['url', 'port']],
    ['url and socketPath', { url: 'redis://localhost', socketPath: '/run/redis.sock' }, ['url', 'socketPath']],
    ['socketPath and host', { socketPath: '/run/redis.sock', host: 'localhost' }, ['socketPath', 'host']],
    ['socketPath and port', { socketPath: '/run/redis.sock', port: 6379 }, ['socketPath', 'port']],
    ['tls on a unix socket', { socketPath: '/run/redis.sock', tls: true }, ['tls']],
    ['a rediss URL without TLS', { url: 'rediss://localhost', tls: false }, ['tls']],
    ['cert without key', { tls: { cert: pem } }, ['cert', 'key']],
    ['key without cert', { tls: { key: pem } }, ['cert', 'key']]
  ])('%s contradict each other: the message names what to change', (_, options, names) => {
    const error = refusal(options)
    expect(error.code).toBe('ERR_INVALID_OPTION')
    for (const name of names) expect(error.message).toContain(`\`${name}\``)
  })

  test.each([
    ['prefx', { prefx: 'a' }],
    ['TTL', { TTL: 5 }],
    ['cache.maxbytes', { cache: { maxbytes: 100_000 } }],
    ['tls.rejectUnauthorized', { tls: { rejectUnauthorized: false } }],
    ['__proto__', JSON.parse('{"__proto__":{"port":1}}')],
    ['constructor', { constructor: 5 }]
  ])('the unknown option %s is refused by name', (name, options) => {
    expect(refusal(options)).toMatchObject({
      code: 'ERR_INVALID_OPTION',
      message: expect.stringContaining(`\`${name}\``)
    })
  })

  test.each([
    ['text', 'redis://localhost'],
    ['number', 6379],
    ['null', null],
    ['array', []],
    ['function', () => {}]
  ])('options that are no object (%s) are refused, and the message says what they are', (kind, options) => {
    const error = refusal(options)
    expect(error.code).toBe('ERR_INVALID_OPTION')
    expect(error.message).toMatch(kind === 'text' ? /string/ : new RegExp(kind))
  })

  test.each([
    ['a client', { get() {} }],
    ['null', null]
  ])('client (%s) is refused, and the message shows the change', (_, client) => {
    const { code, message } = refusal({ client, prefix: 'sess:' })
    expect(code).toBe('ERR_INVALID_OPTION')
    const lines = message.split('\n').map((line) => line.trim())
    expect(lines).toContain("const { RedisStore } = require('meetabl-session')")
    expect(lines.some((line) => /^const store = new RedisStore\(\{ url: 'redis:\/\/[^']+' \}\)$/.test(line))).toBe(true)
  })

  test.each([
    [{ password: 'hunter2', port: 'x' }],
    [{ url: 'redis://:hunter2@localhost:99999' }],
    [{ url: 'http://user:hunter2@localhost' }],
    [{ url: 'redis://:hunter2@localhost', host: 'b' }],
    [{ url: 'redis://:hunter2@localhost/db' }],
    [{ username: 5, password: 'hunter2' }],
    [{ tls: { key: 'hunter2' } }],
    [{ tls: { ca: 'x', cert: 'x', key: 5 }, password: 'hunter2' }]
  ])('P8 no message shows a secret: %#', (options) => {
    const error = refusal(options)
    expect(error.code).toBe('ERR_INVALID_OPTION')
    expect(error.message + error.stack).not.toContain('hunter2')
  })

  test.each([['ca'], ['cert'], ['key']])('tls.%s that is no PEM is refused at the start', (name) => {
    const other = { cert: { key: pem }, key: { cert: pem } }[name] ?? {}
    const error = refusal({ tls: { ...other, [name]: 'hunter2 is no certificate' } })
    expect(error.code).toBe('ERR_INVALID_OPTION')
    expect(error.message).toContain(`\`tls.${name}\``)
    expect(error.message).not.toContain('hunter2')
  })

  test('a store that was refused leaves nothing that keeps the program alive', async () => {
    const program = () => {
      const { RedisStore } = require('./index.js')
      try {
        new RedisStore({ port: 'x' })
      } catch (error) {
        console.log(error.code, error instanceof TypeError)
      }
    }
    expect(await runScript(program)).toMatchObject({ code: 0, stdout: 'ERR_INVALID_OPTION true\n', stderr: '' })
  })
})

describe('the environment', () => {
  const cases = [
    [{ REDIS_PORT: 'abc' }, ['REDIS_PORT', '"abc"', 'whole number from 1 to 65535']],
    [{ REDIS_PORT: '0' }, ['REDIS_PORT', '"0"', 'whole number from 1 to 65535']],
    [{ REDIS_PORT: '65536' }, ['REDIS_PORT', '"65536"']],
    [{ REDIS_PORT: '6379; rm' }, ['REDIS_PORT', '"6379; rm"']],
    [{ REDIS_PORT: '63.5' }, ['REDIS_PORT', '"63.5"']],
    [{ REDIS_PORT: 'NaN' }, ['REDIS_PORT', '"NaN"']],
    [{ REDIS_HOST: 'two words' }, ['REDIS_HOST', '"two words"', 'host name']],
    [{ REDIS_DB: '-1' }, ['REDIS_DB', '"-1"', 'whole number']],
    [{ REDIS_DB: 'main' }, ['REDIS_DB', '"main"', 'whole number']],
    [{ REDIS_TLS: 'maybe' }, ['REDIS_TLS', '"maybe"', 'true', 'false']],
    [{ REDIS_URL: 'http://localhost' }, ['REDIS_URL', 'redis://']],
    [{ REDIS_URL: 'redis://:hunter2@h:99999' }, ['REDIS_URL', 'redis://']],
    [{ REDIS_URL: 'redis://:hunter2@localhost', REDIS_DB: 'x' }, ['REDIS_DB', '"x"']],
    [{ REDIS_PASSWORD: 'hunter2', REDIS_PORT: 'x' }, ['REDIS_PORT', '"x"']],
    [{ SESSION_TIMEOUT: 'abc' }, ['SESSION_TIMEOUT', '"abc"', 'whole number']],
    [{ SESSION_TIMEOUT: '0' }, ['SESSION_TIMEOUT', '"0"', 'whole number from 1']],
    [{ SESSION_TIMEOUT: '-5' }, ['SESSION_TIMEOUT', '"-5"']],
    [{ SESSION_TIMEOUT: '1.5' }, ['SESSION_TIMEOUT', '"1.5"']]
  ]

  /** The error that a store makes of each of these environments, and what it makes of each with these options. */
  async function outcomes(environments, options = {}) {
    const program = (environments, options) => {
      const { RedisStore } = require('./index.js')
      const outcomes = environments.map((variables) => {
        Object.assign(process.env, variables)
        try {
          new RedisStore({ logger: false, ...options }).close()
          return {}
        } catch ({ code, message, stack }) {
          return { code, message, stack }
        } finally {
          for (const name of Object.keys(variables)) delete process.env[name]
        }
      })
      console.log(JSON.stringify(outcomes))
    }
    const { stdout, stderr } = await runScript(program, [environments, options])
    expect(stderr).toBe('')
    return JSON.parse(stdout)
  }

  test('each error names the variable, what it holds and what is allowed, and no secret', async () => {
    const found = await outcomes(cases.map(([variables]) => variables))
    for (const [at, [, parts]] of cases.entries()) {
      expect(found[at].code).toBe('ERR_INVALID_OPTION')
      for (const part of parts) expect(found[at].message).toContain(part)
      expect(found[at].message + found[at].stack).not.toContain('hunter2')
    }
  })

  test('a variable that an option stands in for is not looked at, and an empty one counts as not set', async () => {
    const port = await freePort()
    const bad = { REDIS_PORT: 'abc', REDIS_HOST: 'two words', REDIS_DB: 'x', SESSION_TIMEOUT: 'x' }
    expect(await outcomes([bad], { host: '127.0.0.1', port, db: 0, ttl: 5 })).toEqual([{}])
    const empty = { REDIS_PORT: '', REDIS_HOST: '', REDIS_DB: '', REDIS_URL: '', REDIS_TLS: '', SESSION_TIMEOUT: '' }
    expect(await outcomes([empty])).toEqual([{}])
  })
})

describe.each([
  ['with a Redis', true],
  ['in memory', false]
])('%s', (_, up) => {
  const later = laterForEach()
  let redis
  let tests = 0

  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis.stop())

  async function storeWith(options) {
    const port = up ? redis.port : await freePort()
    const store = new RedisStore({ host: '127.0.0.1', port, prefix: `test ${++tests}:`, logger: false, ...options })
    later(() => store.close())
    expect(await store.ready()).toBe(up ? 'ready' : 'degraded')
    return store
  }

  const failure = (promise) =>
    promise.then(
      (value) => ({ code: undefined, value }),
      (error) => error
    )

  /** The codes of a call's failure by callback and by promise. Nothing may be thrown at the caller. */
  async function codes(store, method, ...args) {
    const byCallback = await failure(call(store, method, ...args))
    const byPromise = await failure(store[method](...args))
    return [byCallback.code, byPromise.code]
  }

  const twice = (code) => [code, code]

  describe('session ids', () => {
    const bad = [
      ['empty', ''],
      ['10 MB long', 'x'.repeat(10_000_000)],
      ['with CR LF and a command', 'abc\r\nDEL everything\r\n'],
      ['with NUL', 'abc\0def'],
      ['with an escape sequence', 'abc\u001b[2Jdef'],
      ['with a line separator', 'abc\u2028def'],
      ['with DEL and C1 controls', 'abc\u007f\u0085'],
      ['a number', 42],
      ['an object', { toString: () => 'abc' }],
      ['an array', ['abc']],
      ['a String object', Object('abc')],
      ['null', null],
      ['undefined', undefined],
      ['a boolean', true],
      ['a symbol', Symbol('abc')],
      ['a BigInt', 1n],
      ['a function', () => 'abc']
    ]

    test.each(bad)('an id that is %s is refused everywhere, and reaches no Redis and no log', async (_, sid) => {
      const logger = rememberingLogger()
      const store = await storeWith({ logger })
      const written = async () => Number(/total_writes_processed:(\d+)/.exec(await redis.command('INFO', 'stats'))?.[1])
      const keys = await redis.command('DBSIZE')
      const before = [keys, await written()]
      const data = sessionWith({ n: 1 })
      expect(await codes(store, 'get', sid)).toEqual(twice('ERR_INVALID_SESSION_ID'))
      expect(await codes(store, 'set', sid, data)).toEqual(twice('ERR_INVALID_SESSION_ID'))
      expect(await codes(store, 'touch', sid, data)).toEqual(twice('ERR_INVALID_SESSION_ID'))
      expect(await codes(store, 'destroy', sid)).toEqual(twice('ERR_INVALID_SESSION_ID'))
      const error = await failure(store.get(sid))
      expect(error).toBeInstanceOf(TypeError)
      expect(error.message.length).toBeLessThan(300)
      expect(error.message).not.toMatch(/abc|xxx/)
      expect(logger.text()).not.toMatch(/abc|xxx/)
      expect([await redis.command('DBSIZE'), (await written()) >= before[1]]).toEqual([keys, true])
      expect(await store.length()).toBe(0)
    })

    test('ids that differ only in a lone surrogate are two sessions, or refused', async () => {
      const store = await storeWith()
      const [one, two] = ['id \ud800', 'id \ud801']
      const refused = await failure(store.set(one, sessionWith({ n: 1 })))
      if (refused.code) expect(refused.code).toBe('ERR_INVALID_SESSION_ID')
      else expect(await store.get(two)).toBeNull()
    })

    test('the longest id that is allowed works, one byte more is refused', async () => {
      const store = await storeWith()
      const longest = 'ä'.repeat(256)
      await store.set(longest, sessionWith({ n: 1 }))
      expect(await store.get(longest)).toMatchObject({ n: 1 })
      expect(await codes(store, 'get', `${longest}x`)).toEqual(twice('ERR_INVALID_SESSION_ID'))
    })
  })

  describe('sessions', () => {
    const cycle = sessionWith()
    cycle.self = { cycle }
    const deep = sessionWith()
    for (let at = deep, depth = 0; depth < 100_000; depth++) {
      at.deeper = {}
      at = at.deeper
    }
    const throwing = sessionWith()
    Object.defineProperty(throwing, 'user', {
      enumerable: true,
      get() {
        throw new Error('no user today')
      }
    })

    test.each([
      ['with a BigInt', sessionWith({ n: 1n })],
      ['with a cycle', cycle],
      ['100,000 levels deep', deep],
      ['with a getter that throws', throwing],
      ['with a toJSON that throws', sessionWith({ at: new Date(Number.NaN), toJSON: () => JSON.parse('{') })],
      ['that is undefined', undefined],
      ['that is null', null],
      ['that is a string', 'session'],
      ['that is a number', 5],
      ['that is an array', []],
      ['that is a function', () => {}]
    ])('a session %s is an error, and the one that was there stays', async (_, data) => {
      const [store, sid] = [await storeWith(), newId()]
      await store.set(sid, sessionWith({ n: 1 }))
      expect(await codes(store, 'set', sid, data)).toEqual(twice('ERR_INVALID_SESSION'))
      expect(await store.get(sid)).toMatchObject({ n: 1 })
    })

    test('the error keeps its cause', async () => {
      const store = await storeWith()
      const error = await failure(store.set(newId(), sessionWith({ n: 1n })))
      expect(String(error.cause)).toMatch(/BigInt/)
      expect(error).toBeInstanceOf(TypeError)
    })

    test('a stored text of 100,000 levels harms nobody', async () => {
      const [store, sid] = [await storeWith(), newId()]
      const text = `{"cookie":{},"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`
      if (up) await redis.command('SET', store.prefix + sid, text)
      else await store.set(sid, { toJSON: () => ({ cookie: {} }) })
      await store.get(sid)
      await store.all()
      expect(await store.length()).toBe(1)
    })

    test.each([
      ['undefined', () => undefined],
      ['a number', () => 5],
      ['a Buffer', () => Buffer.from('{}')],
      ['a promise', async () => '{}'],
      ['nothing but an error', () => JSON.parse('{')]
    ])('a serializer that makes %s of a session is an error for that call only', async (_, stringify) => {
      let broken = false
      const serializer = { parse: JSON.parse, stringify: (data) => (broken ? stringify() : JSON.stringify(data)) }
      const [store, sid] = [await storeWith({ serializer }), newId()]
      await store.set(sid, sessionWith({ n: 1 }))
      broken = true
      expect(await codes(store, 'set', sid, sessionWith({ n: 2 }))).toEqual(twice('ERR_INVALID_SESSION'))
      broken = false
      await store.set(newId(), sessionWith({ n: 3 }))
      expect(await store.get(sid)).toMatchObject({ n: 1 })
    })

    test('a session of 20 MB is stored by a Redis, and refused by a smaller memory', async () => {
      const [store, sid] = [await storeWith({ cache: { maxBytes: 1_000_000 }, commandTimeoutMs: 5000 }), newId()]
      const text = 'x'.repeat(20_000_000)
      const error = await failure(store.set(sid, sessionWith({ text })))
      expect(error.code).toBe(up ? undefined : 'ERR_STORE_FULL')
      expect((await store.get(sid))?.text.length).toBe(up ? 20_000_000 : undefined)
    })
  })

  describe('lifetimes', () => {
    const expiring = (expires) => ({ cookie: { path: '/', expires } })

    test.each([
      ['a date that is none', expiring(new Date(Number.NaN))],
      ['text that is no date', expiring('tomorrow')],
      ['an object', expiring({})],
      ['a BigInt', expiring(10n)],
      ['a maxAge of 2^63', { cookie: new session.Cookie({ maxAge: 2 ** 63 }) }],
      ['a maxAge of NaN', { cookie: new session.Cookie({ maxAge: Number.NaN }) }]
    ])('a cookie whose expiry is %s is an error at set and at touch', async (_, data) => {
      const [store, sid] = [await storeWith(), newId()]
      await store.set(sid, sessionWith({ n: 1 }))
      expect(await codes(store, 'set', sid, data)).toEqual(twice('ERR_INVALID_TTL'))
      expect(await codes(store, 'touch', sid, data)).toEqual(twice('ERR_INVALID_TTL'))
      expect(await store.get(sid)).toMatchObject({ n: 1 })
    })

    test.each([
      ['NaN', () => Number.NaN],
      ['nothing', () => {}],
      ['text', () => 'soon'],
      ['an object', () => ({})],
      ['a BigInt', () => 60n]
    ])('a ttl function that gives %s is an error at set and at touch', async (_, give) => {
      let broken = false
      const [store, sid] = [await storeWith({ ttl: () => (broken ? give() : 60) }), newId()]
      await store.set(sid, sessionWith({ n: 1 }))
      broken = true
      expect(await codes(store, 'set', sid, sessionWith({ n: 2 }))).toEqual(twice('ERR_INVALID_TTL'))
      expect(await codes(store, 'touch', sid, sessionWith({ n: 2 }))).toEqual(twice('ERR_INVALID_TTL'))
      expect(await store.get(sid)).toMatchObject({ n: 1 })
    })

    test('a ttl function that throws fails its call with what it threw', async () => {
      const mistake = new Error('my own mistake')
      const store = await storeWith({
        ttl() {
          throw mistake
        }
      })
      for (const method of ['set', 'touch']) {
        for (const error of [
          await failure(call(store, method, newId(), sessionWith())),
          await failure(store[method](newId(), sessionWith()))
        ]) {
          expect([error, error.cause]).toContain(mistake)
        }
      }
    })

    test('the longest lifetimes are kept, an endless one too', async () => {
      const [store, sid] = [await storeWith(), newId()]
      const last = new Date(8.64e15)
      await store.set(sid, { cookie: { path: '/', expires: last }, n: 1 })
      expect(await store.get(sid)).toMatchObject({ n: 1, cookie: { expires: last.toISOString() } })
      const endless = await storeWith({ ttl: () => Number.POSITIVE_INFINITY })
      await endless.set(sid, sessionWith({ n: 2 }, 60_000))
      expect(await endless.get(sid)).toMatchObject({ n: 2 })
    })
  })

  describe('callbacks', () => {
    test('P9 a callback that is no function is refused at once, by every method, and ends no process', async () => {
      const program = async (port) => {
        const { RedisStore } = require('./index.js')
        const store = new RedisStore({ host: '127.0.0.1', port, logger: false })
        await store.ready()
        const data = { cookie: {} }
        const calls = [
          ...[
            ['get', 'an id'],
            ['set', 'an id', data],
            ['touch', 'an id', data],
            ['destroy', 'an id']
          ],
          ...[['length'], ['ids'], ['all'], ['clear']]
        ]
        const outcomes = {}
        for (const [method, ...args] of calls) {
          for (const callback of [5, 'callback', {}, true]) {
            try {
              store[method](...args, callback)
              outcomes[method] = 'accepted'
            } catch (error) {
              outcomes[method] ??= error.code
            }
          }
        }
        await store.length()
        console.log(JSON.stringify(outcomes))
      }
      const { code, stdout, stderr } = await runScript(program, [up ? redis.port : await freePort()])
      expect([code, stderr]).toEqual([0, ''])
      const methods = ['get', 'set', 'touch', 'destroy', 'length', 'ids', 'all', 'clear']
      expect(JSON.parse(stdout)).toEqual(Object.fromEntries(methods.map((method) => [method, 'ERR_INVALID_ARGUMENT'])))
    })

    test('P9 a failure that nobody waits for (express-session calls destroy without a callback) ends no process', async () => {
      const program = async (port) => {
        const { RedisStore } = require('./index.js')
        const { startApp } = require('./__test__/support/app')
        const store = new RedisStore({ host: '127.0.0.1', port, logger: false })
        const routes = (app) =>
          app.post('/out', (req, res) => {
            req.session.destroy()
            res.json({ gone: true })
          })
        const app = await startApp({ store, routes })
        await store.ready()
        store.destroy('')
        store.set('an id', { cookie: {}, n: 1n })
        await store.close()
        const { status } = await app.agent().post('/out')
        store.touch('an id', { cookie: {} })
        await new Promise(setImmediate)
        await app.close()
        console.log(status)
      }
      const { code, stdout, stderr } = await runScript(program, [up ? redis.port : await freePort()])
      expect([code, stdout, stderr]).toEqual([0, '200\n', ''])
    })
  })

  test('amid all that, everyone else is served', async () => {
    const store = await storeWith()
    const traffic = startTraffic(store, { users: 8 })
    const wrong = ['', 'a\r\nb', 'x'.repeat(10_000), null, 5]
    for (let round = 0; round < 100; round++) {
      for (const sid of wrong) {
        store.get(sid, () => {})
        store.set(sid, sessionWith(), () => {})
      }
      store.set(newId(), sessionWith({ n: 1n }), () => {})
      store.set(newId(), sessionWith({}, Number.NaN), () => {})
      await new Promise(setImmediate)
    }
    await until(() => traffic.count > 300)
    const { answers, stale } = await traffic.stop()
    expect(answers.filter(({ error, calls }) => error || calls !== 1)).toEqual([])
    expect(stale).toEqual([])
    await until(() => store.stats().inFlight === 0)
  })
})

describe('a Redis that refuses', () => {
  const later = laterForEach()

  async function storeOn(redis, options) {
    const logger = rememberingLogger()
    const store = new RedisStore({ host: '127.0.0.1', port: redis.port, prefix: 'shop:', logger, ...options })
    later(() => store.close())
    expect(await store.ready()).toBe('ready')
    return { store, logger }
  }

  test('a command that the user may not run is an error with a code, and without key or id', async () => {
    const redis = await startRedis()
    later(() => redis.stop())
    await redis.command('ACL', 'SETUSER', 'reader', 'on', '>pass', '~*', '+@all', '-@write', '+client')
    const { store, logger } = await storeOn(redis, { username: 'reader', password: 'pass' })
    const sid = newId()
    const error = await call(store, 'set', sid, sessionWith()).catch((failure) => failure)
    expect(error.code).toBe('ERR_REDIS')
    expect(error.message).toMatch(/NOPERM/)
    expect(error.message + logger.text()).not.toMatch(new RegExp(`${sid}|shop:`))
    expect(await store.get(sid)).toBeNull()
  })

  test('keys that the user may not see are an error, not a missing session', async () => {
    const redis = await startRedis()
    later(() => redis.stop())
    await redis.command('ACL', 'SETUSER', 'other', 'on', '>pass', '~elsewhere:*', '+@all')
    const { store } = await storeOn(redis, { username: 'other', password: 'pass' })
    const error = await store.get(newId()).catch((failure) => failure)
    expect(error).toMatchObject({ code: 'ERR_REDIS', message: expect.stringMatching(/NOPERM/) })
  })

  test('an expiry beyond what a date can hold harms no read', async () => {
    const redis = await startRedis()
    later(() => redis.stop())
    const { store } = await storeOn(redis)
    const text = JSON.stringify(sessionWith({ n: 1 }, 60_000))
    await redis.command('SET', 'shop:one', text, 'PX', '9000000000000000')
    expect(await store.get('one')).toMatchObject({ n: 1 })
  })
})
