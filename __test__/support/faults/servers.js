// Servers that speak less, allow less or refuse more than a Redis of one's own.
const { freePort } = require('../port')
const { startProxy } = require('../proxy')
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')
const { until } = require('../until')

module.exports = () => {
  const stores = useStores()
  const { keyOf, later, ownRedis, storeWith } = stores

  async function useEverything(store) {
    expect(await store.ready()).toBe('ready')
    const [sid, other] = [newId(), newId()]
    await store.set(sid, sessionWith({ n: 1 }, 60_000))
    await store.set(other, sessionWith({ n: 2 }))
    expect(await store.get(sid)).toMatchObject({ n: 1 })
    await store.touch(sid, sessionWith({}, 120_000))
    expect((await store.get(sid)).cookie.expires).not.toBeNull()
    expect((await store.ids()).sort()).toEqual([sid, other].sort())
    expect(await store.all()).toHaveLength(2)
    expect(await store.length()).toBe(2)
    await store.destroy(sid)
    expect(await store.get(sid)).toBeNull()
    await store.clear()
    expect(await store.length()).toBe(0)
    expect(store.state).toBe('ready')
    expect(store.stats().servedFromMemory).toBe(0)
  }

  /** Once more after `ms`, for what only time brings. */
  async function staysReady(store, ms) {
    const changes = []
    store.on('fallback', () => changes.push('fallback'))
    const end = performance.now() + ms
    await until(() => performance.now() > end)
    expect([store.state, ...changes]).toEqual(['ready'])
  }

  describe('a server without HELLO, which speaks RESP2 only,', () => {
    const args = ['--rename-command', 'HELLO', '']

    test('works', async () => {
      const server = await ownRedis({ args })
      const store = storeWith({ port: server.port })
      await useEverything(store)
      await staysReady(store, 1500)
    })

    test('works with a password and a database', async () => {
      const server = await ownRedis({ args, password: 'secret' })
      await useEverything(storeWith({ port: server.port, password: 'secret', db: 3 }))
      expect(await storeWith({ port: server.port, password: 'wrong' }).ready()).toBe('degraded')
    })

    test('is missed when it is killed, and found again', async () => {
      const server = await ownRedis({ args })
      const store = storeWith({ port: server.port })
      await store.ready()
      await server.kill()
      await until(() => store.state === 'degraded')
      const sid = newId()
      await store.set(sid, sessionWith())
      await server.restart()
      await until(() => store.state === 'ready' && store.stats().unsaved === 0)
      expect(await server.command('EXISTS', keyOf(store, sid))).toBe(1)
    })
  })

  describe('a session at which Redis hangs up', () => {
    /** A store that holds one, on a Redis that is back. */
    async function storeWithBurden() {
      const server = await ownRedis({ args: ['--proto-max-bulk-len', '1mb'] })
      const proxy = await startProxy(server.port)
      later(() => proxy.stop())
      const store = storeWith({ port: proxy.port })
      await store.ready()
      proxy.refuse()
      proxy.cut()
      await until(() => store.state === 'degraded')
      // In the order of the ids it is neither the first nor the last.
      const burden = 'm'
      await store.set(burden, sessionWith({ text: 'x'.repeat(2_000_000) }))
      await proxy.accept()
      return { burden, server, store }
    }

    test('does not make the store reconnect again and again, and takes nothing from the others', async () => {
      const { burden, store } = await storeWithBurden()
      const startedAt = performance.now()
      const wrong = []
      let n = 0
      const goOn = async () => {
        const sid = `session ${n % 10}`
        await store.set(sid, sessionWith({ n }))
        const found = await store.get(sid)
        if (found?.n !== n) wrong.push({ n, found: found?.n ?? null })
        n++
        return performance.now() - startedAt > 5000
      }
      await until(goOn, { every: 50 })
      expect(wrong).toEqual([])
      expect(store.stats().connections).toBeLessThan(15)
      expect((await store.get(burden)).text).toHaveLength(2_000_000)
    })

    test('does not keep the others from Redis', async () => {
      const { server, store } = await storeWithBurden()
      const ids = ['a', 'z'].flatMap((letter) => Array.from({ length: 10 }, (_, n) => `${letter} ${n}`))
      for (const sid of ids) await store.set(sid, sessionWith())
      const keys = ids.map((sid) => keyOf(store, sid))
      const areThere = async () => (await server.command('EXISTS', ...keys)) === keys.length
      await until(areThere, { what: 'the other sessions in Redis' })
    })

    test('is forgotten when it is destroyed', async () => {
      const { burden, server, store } = await storeWithBurden()
      await store.set('z', sessionWith())
      await store.destroy(burden)
      await until(() => store.state === 'ready' && store.stats().unsaved === 0, { what: 'an empty table' })
      expect(await server.command('EXISTS', keyOf(store, 'z'))).toBe(1)
      expect(await server.command('GET', keyOf(store, burden))).toBeFalsy()
    })
  })

  test('a Redis user who must not PING is served', async () => {
    const server = await ownRedis()
    await server.command('ACL', 'SETUSER', 'shop', 'reset', 'on', '>secret', '~*', '&*', '+@all', '-ping')
    const store = storeWith({ port: server.port, username: 'shop', password: 'secret' })
    await useEverything(store)
    await staysReady(store, 2500)
  })

  test.each([
    ['answers reads', 'yes'],
    ['answers nothing', 'no']
  ])('P5 a master that became a replica without a master, and %s, is left for memory', async (_, servesStale) => {
    const server = await ownRedis()
    const store = storeWith({ port: server.port })
    await store.ready()
    await store.set(newId(), sessionWith())
    await server.command('CONFIG', 'SET', 'replica-serve-stale-data', servesStale)
    await server.command('REPLICAOF', '127.0.0.1', await freePort())
    const leaves = async () => {
      await store.set(newId(), sessionWith()).catch(() => {})
      return store.state === 'degraded'
    }
    await until(leaves, { ms: 5000, every: 50, what: 'the store to leave it' })
    const ids = Array.from({ length: 20 }, newId)
    for (const [n, sid] of ids.entries()) await store.set(sid, sessionWith({ n }))
    const found = await Promise.all(ids.map((sid) => store.get(sid)))
    expect(found.map((session) => session?.n)).toEqual(ids.map((_, n) => n))
    await server.command('REPLICAOF', 'NO', 'ONE')
    await until(() => store.state === 'ready' && store.stats().unsaved === 0, { what: 'the store to be back' })
    expect(await server.command('EXISTS', ...ids.map((sid) => keyOf(store, sid)))).toBe(ids.length)
  })
}
