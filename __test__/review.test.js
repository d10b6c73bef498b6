// What a review of lib/ found, so that it stays mended.
const { AsyncLocalStorage } = require('node:async_hooks')
const { RedisStore } = require('..')
const { listing } = require('../lib/listing')
const { call } = require('./support/call')
const { runScript } = require('./support/script')
const { newId, sessionWith } = require('./support/sessions')
const { useStores } = require('./support/stores')
const { until } = require('./support/until')

jest.setTimeout(60_000)

for (const name of Object.keys(process.env)) {
  if (/^(REDIS_|SESSION_)/.test(name)) delete process.env[name]
}

const stores = useStores()
const { keyOf, memoryStoreWith, storeWith, textOf } = stores

const failure = (promise) =>
  promise.then(
    () => undefined,
    (error) => error
  )

/** What a method fails with, with a callback and with a promise. */
async function failures(store, method, ...args) {
  return [await failure(call(store, method, ...args)), await failure(store[method](...args))]
}

describe('sets of one turn', () => {
  test('that are big together all arrive, in order', async () => {
    const store = storeWith({ commandTimeoutMs: 30_000 })
    await store.ready()
    const [ids, text] = [[newId(), newId(), newId()], 'x'.repeat(30_000_000)]
    const overwritten = ids.map((sid) => store.set(sid, sessionWith({ small: true })))
    const sets = ids.map((sid, n) => store.set(sid, sessionWith({ n, text })))
    const last = store.set(ids[0], sessionWith({ n: 'last' }))
    await Promise.all([...overwritten, ...sets, last])
    expect(await store.get(ids[0])).toMatchObject({ n: 'last' })
    for (const sid of ids.slice(1)) {
      const length = await stores.redis.command('STRLEN', keyOf(store, sid))
      expect(Math.abs(length - text.length)).toBeLessThan(200)
    }
    expect(await store.get(ids[2])).toMatchObject({ n: 2 })
  })

  describe('on their way', () => {
    // Strings that are only made, never looked into, take no memory: so this needs an addon that does not look.
    function requestsTo(submit) {
      let made
      jest.isolateModules(() => {
        jest.doMock('../binding', () => ({ submit, ask: () => null }))
        const { Operations } = require('../lib/callback')
        const { Requests } = require('../lib/requests')
        made = new Requests(1, new Operations())
      })
      jest.dontMock('../binding')
      return made
    }

    test('never are a longer string than there can be', () => {
      const crossings = []
      const requests = requestsTo((_store, numbers, ids, texts) =>
        crossings.push([numbers.length / 7, ids, texts.length])
      )
      const text = 'x'.repeat(50_000_000)
      for (let n = 0; n < 15; n++) requests.set(n, 'id', text, 0)
      for (let n = 15; n < 20; n++) requests.get(n, 'y'.repeat(300_000))
      requests.send()
      expect(crossings.slice(0, 15)).toEqual(Array(15).fill([1, 'id', text.length]))
      expect(crossings.slice(15).map(([count]) => count)).toEqual([3, 2])
    })

    test('fail alone when one cannot cross', () => {
      const crossings = []
      const requests = requestsTo((_store, _numbers, ids, texts) => {
        if (texts.length > 10_000_000) throw new Error('too long')
        crossings.push(ids)
      })
      requests.get(1, 'a')
      let error
      try {
        requests.set(2, 'b', 'x'.repeat(20_000_000), 0)
      } catch (thrown) {
        error = thrown
      }
      requests.get(3, 'c')
      requests.send()
      expect(error).toMatchObject({ code: 'ERR_INVALID_SESSION', cause: { message: 'too long' } })
      expect(crossings).toEqual(['a', 'c'])
    })
  })
})

test('a list takes pages of any size', async () => {
  const page = Array(500_000).fill('id')
  const pages = async function* () {
    yield page
  }
  expect((await listing(undefined, pages)).length).toBe(page.length)
})

describe.each([['disableTouch'], ['disableTTL']])('touch with %s', (option) => {
  test('is refused after close() and for an id that is none', async () => {
    const store = storeWith({ [option]: true })
    await store.touch(newId(), sessionWith())
    await call(store, 'touch', newId(), sessionWith())
    for (const error of await failures(store, 'touch', 5, sessionWith())) {
      expect(error).toMatchObject({ code: 'ERR_INVALID_SESSION_ID' })
    }
    await store.close()
    const [{ message }] = await failures(store, 'get', newId())
    for (const error of await failures(store, 'touch', newId(), sessionWith())) {
      expect(error).toMatchObject({ code: 'ERR_STORE_CLOSED', message })
    }
  })
})

describe('names that settings have inside', () => {
  function refusal(options) {
    let store
    try {
      store = new RedisStore({ logger: false, ...options })
    } catch (error) {
      return error
    }
    store.close()
  }

  test.each([
    ['SESSION_TIMEOUT', 5],
    ['REDIS_URL', 'redis://localhost'],
    ['cache.maxBytes', 70_000],
    ['tls.ca', 'a certificate']
  ])('%s is as unknown an option as any', (name, value) => {
    const { message } = refusal({ prefx: 'a' })
    expect(refusal({ [name]: value })).toMatchObject({
      code: 'ERR_INVALID_OPTION',
      message: message.replace('prefx', name)
    })
  })

  test('and the variable still counts', async () => {
    const program = async () => {
      const { RedisStore } = require('./index.js')
      const store = new RedisStore({ logger: false })
      console.log(store.ttl)
      await store.close()
    }
    const { stdout } = await runScript(program, [], { env: { SESSION_TIMEOUT: '90000' } })
    expect(stdout.trim()).toBe('90')
  })
})

describe.each([
  ['undefined', undefined],
  ['null', null],
  ['false', false],
  ['0', 0],
  ['empty text', ''],
  ['text', 'no']
])('what throws %s', (_, thrown) => {
  const throws = () => {
    throw thrown
  }

  test.each([
    ['a Redis', () => storeWith],
    ['memory', () => memoryStoreWith]
  ])('fails its call with %s', async (_place, open) => {
    const sid = newId()
    const timed = await open()({ ttl: throws })
    const errors = [...(await failures(timed, 'set', sid, sessionWith())), ...(await failures(timed, 'touch', sid, {}))]
    expect(errors.map((error) => error?.code)).toEqual(Array(4).fill('ERR_INVALID_TTL'))

    const written = await open()({ serializer: { parse: JSON.parse, stringify: throws } })
    const getter = Object.defineProperty({}, 'cookie', { get: throws })
    const others = [
      ...(await failures(written, 'set', sid, sessionWith())),
      ...(await failures(written, 'set', sid, getter)),
      ...(await failures(written, 'touch', sid, getter))
    ]
    expect(others.map((error) => error?.code)).toEqual(Array(6).fill('ERR_INVALID_SESSION'))
    expect(await timed.get(sid)).toBeNull()
    expect(await written.get(sid)).toBeNull()
  })

  test('in a serializer that parses makes it no session', async () => {
    const sid = newId()
    for (const parse of [throws, () => Promise.reject(thrown)]) {
      const store = storeWith({ serializer: { parse, stringify: JSON.stringify } })
      await store.set(sid, sessionWith())
      expect(await store.get(sid)).toBeNull()
      expect(await call(store, 'get', sid)).toBeNull()
      expect(await textOf(store, sid)).toMatch(/cookie/)
    }
  })
})

describe.each([
  ['with a Redis', () => storeWith],
  ['with memory', () => memoryStoreWith]
])('%s a serializer', (_, open) => {
  const context = new AsyncLocalStorage()
  const mark = (session) => Object.assign(session, { parsedIn: context.getStore() })

  test.each([
    ['parses', (text) => mark(JSON.parse(text))],
    ['parses asynchronously', async (text) => mark(JSON.parse(await text))]
  ])('%s in the async context of its caller, and what follows has it too', async (_how, parse) => {
    const store = await open()({ serializer: { parse, stringify: JSON.stringify } })
    const sid = newId()
    await store.set(sid, sessionWith())
    const ask = {
      promise: async () => ({ ...(await store.get(sid)), settledIn: context.getStore() }),
      callback: () =>
        new Promise((resolve) => {
          store.get(sid, (_error, session) => resolve({ ...session, settledIn: context.getStore() }))
        }),
      list: async () => ({ ...(await store.all())[0], settledIn: context.getStore() })
    }
    const asked = Object.keys(ask).flatMap((name) => Array.from({ length: 10 }, (_item, n) => [name, `${name} ${n}`]))
    const found = await Promise.all(asked.map(([name, caller]) => context.run(caller, ask[name])))
    expect(found.map(({ parsedIn, settledIn }) => [parsedIn, settledIn])).toEqual(
      asked.map(([, caller]) => [caller, caller])
    )
  })
})

const caches = [
  ['with a cache', {}],
  ['without one', { cache: false }]
]

test.each(caches)(
  'P3 %s, a session that a refused save has shown to be gone stays so when Redis goes away',
  async (_, options) => {
    const { server, one, two } = await stores.twoStores(options)
    const sid = newId()
    const session = one.createSession({ sessionID: sid, sessionStore: one }, sessionWith({ user: 'ada' }))
    await one.set(sid, session)
    // Nobody is told: Redis keeps track of what was read only.
    await two.destroy(sid)
    session.visits = 1
    await one.set(sid, session)
    expect(one.stats().refused).toBe(1)
    await server.kill()
    await until(() => one.state === 'degraded')
    expect(await one.get(sid)).toBeNull()
    await one.set(sid, session)
    expect(await one.get(sid)).toBeNull()
    await server.start()
    await until(() => one.state === 'ready' && one.stats().unsaved === 0)
    expect(await server.command('EXISTS', one.prefix + sid)).toBe(0)
  }
)

test.each(caches)('P6 %s, a session that is made again under an id is renewed as any', async (_, options) => {
  const store = storeWith({ ...options, touchWindowMs: 0 })
  await store.ready()
  const sid = newId()
  await store.set(sid, sessionWith({}, 3_600_000))
  await store.destroy(sid)
  await store.set(sid, sessionWith({}, 3_600_000))
  await store.touch(sid, sessionWith({}, 7_200_000))
  await until(async () => (await stores.pttl(store, sid)) > 3_600_000, { ms: 5000 })
})
