// The end of a store, by `close()` or by nobody using it any more.
const { call } = require('../call')
const { startProxy } = require('../proxy')
const { runScript } = require('../script')
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')
const { until, within } = require('../until')

module.exports = () => {
  const stores = useStores()
  const { keyOf, later, memoryStoreWith, ownRedis, storeWith } = stores

  test('finishes what is under way, then refuses everything', async () => {
    const [store, ids] = [storeWith(), Array.from({ length: 200 }, newId)]
    await store.ready()
    const writes = ids.map((sid) => store.set(sid, sessionWith()))
    const closed = store.close()
    const refused = await store.get(ids[0]).catch((error) => error)
    await closed
    await Promise.all(writes)
    expect(await stores.redis.command('EXISTS', ...ids.map((sid) => keyOf(store, sid)))).toBe(200)
    expect([refused.code, store.state]).toEqual(['ERR_STORE_CLOSED', 'closed'])
  })

  test('P5 what is written while the store still connects, and closed at once, is in Redis if it was acknowledged', async () => {
    const proxy = await startProxy(stores.redis.port)
    later(() => proxy.stop())
    proxy.hold()
    const [store, ids] = [storeWith({ port: proxy.port, connectTimeoutMs: 5000 }), Array.from({ length: 200 }, newId)]
    const writes = Promise.allSettled(ids.map((sid) => store.set(sid, sessionWith())))
    await until(() => proxy.connections === 1)
    const closed = store.close()
    proxy.release()
    await within(6000, closed)
    const acknowledged = (await writes).filter(({ status }) => status === 'fulfilled').length
    expect(await stores.redis.command('EXISTS', ...ids.map((sid) => keyOf(store, sid)))).toBe(acknowledged)
  })

  test.each([
    ['with a Redis', () => storeWith()],
    ['in memory', () => memoryStoreWith()]
  ])('%s, every later call fails with ERR_STORE_CLOSED, by callback and by promise', async (_, open) => {
    const [store, sid] = [await open(), newId()]
    await store.ready()
    await store.close()
    const calls = [
      ['get', sid],
      ['set', sid, sessionWith()],
      ['touch', sid, sessionWith()],
      ['destroy', sid],
      ['length'],
      ['clear'],
      ['ids'],
      ['all']
    ]
    for (const [method, ...args] of calls) {
      const byCallback = await call(store, method, ...args).catch((error) => error)
      const byPromise = await store[method](...args).catch((error) => error)
      expect([method, byCallback?.code, byPromise?.code]).toEqual([method, 'ERR_STORE_CLOSED', 'ERR_STORE_CLOSED'])
    }
    expect(store.stats().state).toBe('closed')
  })

  test('twice is fine, also at once, and at any time', async () => {
    const store = storeWith()
    await Promise.all([store.close(), store.close()])
    await store.close()
    const memory = await memoryStoreWith()
    await within(1000, Promise.all([memory.close(), memory.close()]))
  })

  test('lets go of the connection', async () => {
    const server = await ownRedis()
    const store = storeWith({ port: server.port })
    await store.ready()
    const clients = async () => (await server.command('CLIENT', 'LIST')).split('\n').filter(Boolean).length
    expect(await clients()).toBe(2)
    await store.close()
    await until(async () => (await clients()) === 1)
  })

  test('a store that nobody refers to any more lets go of its connection', async () => {
    const program = async () => {
      const { RedisStore } = require('./index.js')
      const { startRedis } = require('./__test__/support/redis')
      const { until } = require('./__test__/support/until')
      const redis = await startRedis()
      const use = async () => {
        const store = new RedisStore({ host: '127.0.0.1', port: redis.port, logger: false })
        await store.set('some id', { cookie: {} })
      }
      for (let n = 0; n < 5; n++) await use()
      const clients = async () => (await redis.command('CLIENT', 'LIST')).split('\n').filter(Boolean).length
      await until(async () => {
        global.gc()
        return (await clients()) === 1
      })
      await redis.stop()
      console.log('let go')
    }
    const { code, stdout } = await runScript(program, [], { nodeArgs: ['--expose-gc'] })
    expect([code, stdout]).toEqual([0, 'let go\n'])
  })

  test('await using closes it', async () => {
    const program = async (port) => {
      const { RedisStore } = require('./index.js')
      const store = new RedisStore({ host: '127.0.0.1', port, logger: false })
      await store[Symbol.asyncDispose]()
      console.log(store.state)
    }
    expect(await runScript(program, [stores.redis.port])).toMatchObject({ code: 0, stdout: 'closed\n' })
  })
}
