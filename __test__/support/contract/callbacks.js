// How a call is answered: by callback or by promise, once, in the caller's async context, and apart from every other call.
const { AsyncLocalStorage } = require('node:async_hooks')
const { freePort } = require('../port')
const { runScript } = require('../script')
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')
const { until } = require('../until')

module.exports = () => {
  const stores = useStores()
  const { memoryStoreWith, storeWith } = stores

  const cases = [
    ['get', (sid) => [sid], (value) => expect(value.n).toBe(1)],
    ['set', (sid) => [sid, sessionWith({ n: 2 })], (value) => expect(value).toBeUndefined()],
    ['touch', (sid) => [sid, sessionWith({ n: 1 })], (value) => expect(value).toBeUndefined()],
    ['destroy', (sid) => [sid], (value) => expect(value).toBeUndefined()],
    ['length', () => [], (value) => expect(value).toBe(1)],
    ['ids', () => [], (value, sid) => expect(value).toEqual([sid])],
    ['all', () => [], (value, sid) => expect(value).toMatchObject([{ id: sid, n: 1 }])],
    ['clear', () => [], (value) => expect(value).toBeUndefined()]
  ]

  describe.each([
    ['with a Redis', () => storeWith()],
    ['in memory', () => memoryStoreWith()]
  ])('%s', (_, open) => {
    test.each(cases)('%s returns a promise', async (method, argsFor, check) => {
      const [store, sid] = [await open(), newId()]
      await store.set(sid, sessionWith({ n: 1 }))
      const promise = store[method](...argsFor(sid))
      expect(typeof promise.then).toBe('function')
      check(await promise, sid)
    })

    test.each(cases)('%s takes a callback, calls it once and returns nothing', async (method, argsFor, check) => {
      const [store, sid] = [await open(), newId()]
      await store.set(sid, sessionWith({ n: 1 }))
      const calls = []
      const returned = store[method](...argsFor(sid), (...args) => calls.push(args))
      expect(returned).toBeUndefined()
      await until(() => calls.length > 0)
      await store.length()
      expect(calls).toHaveLength(1)
      const [error, value] = calls[0]
      expect(error ?? null).toBeNull()
      check(value, sid)
    })
  })

  test('get of a missing session gives null', async () => {
    expect(await storeWith().get(newId())).toBeNull()
    expect(await (await memoryStoreWith()).get(newId())).toBeNull()
  })

  test.each([
    ['a Redis', () => storeWith()],
    ['memory', () => memoryStoreWith()]
  ])('with %s every callback runs in the async context of its caller', async (_, open) => {
    const store = await open()
    await store.ready()
    const context = new AsyncLocalStorage()
    const methods = [
      ['get', (sid) => [sid]],
      ['set', (sid) => [sid, sessionWith()]],
      ['touch', (sid) => [sid, sessionWith()]],
      ['destroy', (sid) => [sid]],
      ['length', () => []],
      ['ids', () => []],
      ['all', () => []],
      ['clear', () => []]
    ]
    const checks = []
    for (let round = 0; round < 25; round++) {
      for (const [method, argsFor] of methods) {
        const mark = `${method} ${round}`
        const seen = new Promise((resolve) => {
          context.run(mark, () => store[method](...argsFor(newId()), () => resolve(context.getStore())))
        })
        checks.push(seen.then((found) => expect(found).toBe(mark)))
      }
    }
    await Promise.all(checks)
  })

  test.each([
    ['a Redis', true],
    ['memory', false]
  ])(
    'P9 with %s a callback that throws is an uncaught exception, is called once, and harms no other',
    async (_, up) => {
      const program = async (port) => {
        const { RedisStore } = require('./index.js')
        const { until } = require('./__test__/support/until')
        const store = new RedisStore({ host: '127.0.0.1', port, logger: false })
        await store.ready()
        const caught = []
        process.on('uncaughtException', (error) => caught.push(error.message))
        const cookie = { path: '/' }
        const calls = {}
        let asked = 0
        const ask = (method, ...args) => {
          const name = `${method} ${asked++}`
          calls[name] = 0
          const throws = asked % 3 === 0
          // Each in a turn of its own where the answer comes at once, so that the throw ends nobody's loop.
          const start = (go) => (store.state === 'degraded' ? setImmediate(go) : go())
          start(() =>
            store[method](...args, () => {
              calls[name]++
              if (throws) throw new Error(`thrown by ${name}`)
            })
          )
        }
        for (let n = 0; n < 30; n++) {
          ask('get', `missing ${n}`)
          ask('set', `id ${n}`, { cookie, n })
          ask('touch', `id ${n}`, { cookie, n })
          ask('get', `id ${n}`)
          ask('destroy', `missing ${n}`)
        }
        ask('length')
        ask('ids')
        ask('all')
        await until(() => Object.values(calls).every((count) => count > 0), { ms: 5000 }).catch(() => {})
        const later = await store.get('id 7')
        const counts = [...new Set(Object.values(calls))]
        console.log(JSON.stringify({ counts, asked, caught: caught.length, own: new Set(caught).size, later: later.n }))
      }
      const port = up ? stores.redis.port : await freePort()
      const { code, stdout, stderr } = await runScript(program, [port])
      expect(stderr).toBe('')
      expect([code, JSON.parse(stdout)]).toEqual([0, { counts: [1], asked: 153, caught: 51, own: 51, later: 7 }])
    }
  )

  test('P9 an uncaught throw in a callback ends the process as anywhere else, with its own stack', async () => {
    const program = (port) => {
      const { RedisStore } = require('./index.js')
      const store = new RedisStore({ host: '127.0.0.1', port, logger: false })
      store.get('missing', function callbackOfMine() {
        throw new Error('my own mistake')
      })
    }
    const { code, signal, stderr } = await runScript(program, [stores.redis.port])
    expect([code, signal]).toEqual([1, null])
    expect(stderr).toMatch(/Error: my own mistake\n\s+at .*callbackOfMine/)
  })
}
