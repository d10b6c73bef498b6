// Calls on a Redis that is slow, silent, or answers with very much at once.
const { setTimeout: pause } = require('node:timers/promises')
const { startProxy } = require('../proxy')
const { runScript } = require('../script')
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')
const { until, within } = require('../until')

const COMMAND_TIMEOUT_MS = 400
const NOISE_MS = 400

module.exports = () => {
  const stores = useStores()
  const { keyOf, later, ownRedis, storeWith } = stores

  async function proxied(targetPort = stores.redis.port) {
    const proxy = await startProxy(targetPort)
    later(() => proxy.stop())
    return proxy
  }

  /** So that the store knows this Redis as a quick one. */
  async function warm(store) {
    await store.ready()
    for (let n = 0; n < 200; n++) await store.get('nobody')
  }

  test.each([
    ['get', []],
    ['set', [sessionWith({ n: 1 })]],
    ['touch', [sessionWith()]],
    ['destroy', []]
  ])('P5 a %s is answered in time when the call before it was held until it timed out', async (method, args) => {
    const proxy = await proxied()
    const store = storeWith({ port: proxy.port, commandTimeoutMs: COMMAND_TIMEOUT_MS })
    await warm(store)
    const held = proxy.holdNext()
    const first = store.set(newId(), sessionWith())
    await held
    const startedAt = performance.now()
    const second = store[method](newId(), ...args)
    await first
    proxy.release()
    await within(10 * COMMAND_TIMEOUT_MS, second, `the ${method}`)
    expect(performance.now() - startedAt).toBeLessThan(2 * COMMAND_TIMEOUT_MS + NOISE_MS)
    expect(store.stats().inFlight).toBe(0)
  })

  test('P5 while Redis is paused, no call waits longer than twice commandTimeoutMs', async () => {
    const server = await ownRedis()
    const store = storeWith({ port: server.port, commandTimeoutMs: COMMAND_TIMEOUT_MS })
    await warm(store)
    await server.pause()
    const times = []
    for (let n = 0; n < 20; n++) {
      const startedAt = performance.now()
      times.push(store.set(newId(), sessionWith({ n })).then(() => performance.now() - startedAt))
      await pause(COMMAND_TIMEOUT_MS / 8)
    }
    const slowest = Math.max(...(await within(10 * COMMAND_TIMEOUT_MS, Promise.all(times), 'the sets')))
    expect(slowest).toBeLessThan(2 * COMMAND_TIMEOUT_MS + NOISE_MS)
  })

  test('P5 a call goes to Redis while the reply to an earlier one is still out', async () => {
    const proxy = await proxied()
    const store = storeWith({ port: proxy.port, commandTimeoutMs: 10_000 })
    await warm(store)
    const sid = newId()
    const held = proxy.holdNext()
    const first = store.get(newId())
    await held
    const second = store.set(sid, sessionWith())
    await until(() => stores.redis.command('EXISTS', keyOf(store, sid)), { ms: 2000, what: 'the second call in Redis' })
    proxy.release()
    await within(2000, Promise.all([first, second]), 'the answers')
  })

  test('P5 on a link that became slow, each call takes one round trip and no more', async () => {
    const proxy = await proxied()
    const store = storeWith({ port: proxy.port, commandTimeoutMs: 5000 })
    await warm(store)
    proxy.delay(200)
    const times = []
    for (let n = 0; n < 6; n++) {
      const startedAt = performance.now()
      times.push(store.get(newId()).then(() => performance.now() - startedAt))
      await pause(30)
    }
    expect(Math.max(...(await Promise.all(times)))).toBeLessThan(600)
  })

  test('P9 600 replies of 1 MB that arrive together are all delivered', async () => {
    const program = async (port) => {
      const { RedisStore } = require('./index.js')
      const store = new RedisStore({ host: '127.0.0.1', port, commandTimeoutMs: 50_000, logger: false })
      await store.ready()
      await store.set('big', { cookie: {}, text: 'x'.repeat(1e6) })
      let whole = 0
      const gets = Array.from({ length: 600 }, async () => {
        const { text } = await store.get('big')
        if (text.length === 1e6) whole++
      })
      await new Promise(setImmediate)
      // Whatever comes in this time is delivered in one piece.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4000)
      await Promise.all(gets)
      console.log(JSON.stringify({ whole, inFlight: store.stats().inFlight, state: store.state }))
    }
    const ended = await runScript(program, [stores.redis.port], { timeoutMs: 50_000 })
    expect(ended).toMatchObject({ code: 0, signal: null, stderr: '' })
    expect(JSON.parse(ended.stdout)).toEqual({ whole: 600, inFlight: 0, state: 'ready' })
  })
}
