// What a store says of itself: events, state, counters, log lines.
const { rememberingLogger } = require('../logger')
const { freePort } = require('../port')
const { startProxy } = require('../proxy')
const { runScript } = require('../script')
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')
const { until } = require('../until')

const FALLBACK_LINE = 'WARN: Redis unavailable, falling back to memory session store (not recommended for production)'

module.exports = () => {
  const stores = useStores()
  const { later, memoryStoreWith, ownRedis, storeWith } = stores

  const NAMES = ['connect', 'ready', 'reconnecting', 'fallback', 'recovered', 'close', 'disconnect']

  function eventsOf(store) {
    const events = []
    for (const name of NAMES) store.on(name, (...args) => events.push([name, ...args]))
    return { events, names: () => events.map(([name]) => name) }
  }

  test('a Redis that is there: connecting, connect, ready, close', async () => {
    const proxy = await startProxy(stores.redis.port)
    later(() => proxy.stop())
    proxy.hold()
    const store = storeWith({ port: proxy.port, connectTimeoutMs: 10_000 })
    const { events } = eventsOf(store)
    await until(() => proxy.connections === 1)
    expect([store.state, events]).toEqual(['connecting', []])
    proxy.release()
    expect(await store.ready()).toBe('ready')
    expect(store.state).toBe('ready')
    await until(() => events.length === 2)
    await store.close()
    await until(() => events.length === 3)
    expect(events).toEqual([['connect'], ['ready'], ['close']])
    expect(store.state).toBe('closed')
    expect(store.stats().connections).toBe(1)
  })

  test('a Redis that comes later: fallback once, ever later tries, then connect, ready, recovered', async () => {
    const port = await freePort()
    const logger = rememberingLogger()
    const store = storeWith({ port, logger })
    const { events, names } = eventsOf(store)
    const errors = []
    store.on('error', (error) => errors.push(error))
    expect(await store.ready()).toBe('degraded')
    const sid = newId()
    await store.set(sid, sessionWith({ n: 1 }))
    await until(() => names().filter((name) => name === 'reconnecting').length >= 4)
    await ownRedis({ port })
    await until(() => names().includes('recovered'))
    const meanwhile = names().slice(1, -3)
    expect(names()[0]).toBe('fallback')
    expect(new Set(meanwhile)).toEqual(new Set(['reconnecting']))
    expect(events.slice(-3)).toEqual([['connect'], ['ready'], ['recovered', { replayed: 1 }]])
    const tries = events.filter(([name]) => name === 'reconnecting').map(([, info]) => info)
    expect(tries.map(({ attempt }) => attempt)).toEqual(tries.map((_, n) => n + 1))
    for (const { delayMs } of tries) expect(delayMs).toBeGreaterThan(0)
    expect(errors.length).toBe(tries.length)
    for (const { code, message } of errors) {
      expect(code).toBe('ERR_STORE_UNAVAILABLE')
      expect(message).toContain(String(port))
    }
    expect(store.state).toBe('ready')
    expect(store.stats()).toMatchObject({ replayed: 1, connections: 1 })
    expect(logger.of('warn').filter((line) => line === FALLBACK_LINE)).toHaveLength(1)
    expect(logger.of('info').some((line) => /back/.test(line) && /\b1\b/.test(line))).toBe(true)
    expect(logger.text()).not.toContain(sid)
  })

  test('every outage falls back, and is logged, once', async () => {
    const server = await ownRedis({ persistence: true })
    const logger = rememberingLogger()
    const store = storeWith({ port: server.port, logger })
    const { names } = eventsOf(store)
    await store.ready()
    for (let outage = 1; outage <= 2; outage++) {
      await server.kill()
      await until(() => store.state === 'degraded')
      await until(() => names().filter((name) => name === 'fallback').length === outage)
      await server.restart({ empty: false })
      await until(() => names().filter((name) => name === 'recovered').length === outage)
    }
    expect(logger.of('warn').filter((line) => line === FALLBACK_LINE)).toHaveLength(2)
    expect(names()).not.toContain('disconnect')
    expect(store.stats().connections).toBe(3)
  })

  test('without a logger the line goes to the console', async () => {
    const program = async (port) => {
      const { RedisStore } = require('./index.js')
      const store = new RedisStore({ host: '127.0.0.1', port })
      await store.ready()
      await store.get('something')
      await store.close()
    }
    const { code, stderr } = await runScript(program, [await freePort()])
    expect(code).toBe(0)
    expect(stderr.split('\n').filter((line) => line === FALLBACK_LINE)).toHaveLength(1)
  })

  test('with logger: false nothing is written', async () => {
    const program = async (port) => {
      const { RedisStore } = require('./index.js')
      const store = new RedisStore({ host: '127.0.0.1', port, logger: false })
      await store.ready()
      await store.close()
    }
    expect(await runScript(program, [await freePort()])).toMatchObject({ code: 0, stdout: '', stderr: '' })
  })

  test('P9 without an error listener an outage ends nothing', async () => {
    const program = async (port) => {
      const { RedisStore } = require('./index.js')
      const { nextEvent } = require('./__test__/support/until')
      const store = new RedisStore({ host: '127.0.0.1', port, logger: false })
      for (let n = 0; n < 4; n++) {
        const held = setTimeout(() => {}, 10_000)
        await nextEvent(store, 'reconnecting')
        clearTimeout(held)
      }
      console.log(store.state)
    }
    const { code, stdout, stderr } = await runScript(program, [await freePort()])
    expect([code, stdout, stderr]).toEqual([0, 'degraded\n', ''])
  })

  test('P9 a logger or a listener that throws harms no operation', async () => {
    const program = async (port) => {
      const { RedisStore } = require('./index.js')
      const caught = new Set()
      process.on('uncaughtException', (error) => caught.add(error.message))
      const broken = (name) => () => {
        throw new Error(`broken ${name}`)
      }
      const logger = { debug: broken('log'), info: broken('log'), warn: broken('log'), error: broken('log') }
      const store = new RedisStore({ host: '127.0.0.1', port, logger })
      store.on('ready', broken('listener'))
      await store.ready()
      await store.set('some id', { cookie: {}, n: 1 })
      const found = await store.get('some id')
      await store.close()
      console.log(JSON.stringify([found.n, [...caught].sort()]))
    }
    const { code, stdout } = await runScript(program, [stores.redis.port])
    expect([code, JSON.parse(stdout)]).toEqual([0, [1, ['broken listener', 'broken log']]])
  })

  test('stats count what was done', async () => {
    const [store, sid] = [storeWith(), newId()]
    await store.ready()
    await store.set(sid, sessionWith())
    await store.set(sid, sessionWith())
    await store.get(sid)
    await store.get(newId())
    await store.get(newId())
    await store.touch(sid, sessionWith())
    await store.destroy(sid)
    expect(store.stats()).toMatchObject({
      state: 'ready',
      gets: 3,
      sets: 2,
      touches: 1,
      destroys: 1,
      corrupt: 0,
      servedFromMemory: 0,
      timeouts: 0,
      connections: 1,
      replayed: 0
    })
    const memory = await memoryStoreWith()
    await memory.get(newId())
    expect(memory.stats()).toMatchObject({ state: 'degraded', gets: 1, servedFromMemory: 1, connections: 0 })
  })

  test('stats tell how many operations are under way', async () => {
    const proxy = await startProxy(stores.redis.port)
    later(() => proxy.stop())
    const store = storeWith({ port: proxy.port, commandTimeoutMs: 10_000 })
    await store.ready()
    expect(store.stats().inFlight).toBe(0)
    proxy.hold()
    const reads = Array.from({ length: 50 }, () => store.get(newId()))
    await until(() => store.stats().inFlight === 50)
    proxy.release()
    await Promise.all(reads)
    await until(() => store.stats().inFlight === 0)
  })
}
