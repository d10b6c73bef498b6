// What this process holds while Redis is away: room for it, and what cannot be done without Redis.
const { call } = require('../call')
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')
const { until } = require('../until')

const UNKNOWN = 2000

module.exports = () => {
  const { memoryStoreWith, ownRedis, storeWith } = useStores()

  /** A store whose Redis was reached, and went away. */
  async function forsakenStoreWith(options) {
    const server = await ownRedis()
    const store = storeWith({ port: server.port, ...options })
    await store.ready()
    await store.set('kept in Redis', sessionWith())
    await server.kill()
    await until(() => store.state === 'degraded')
    return store
  }

  /** The codes of the refusals. */
  async function destroyUnknown(store) {
    const codes = new Set()
    for (let n = 0; n < UNKNOWN; n++) await store.destroy(newId()).catch(({ code }) => codes.add(code))
    return [...codes]
  }

  test('P5 destroying unknown sessions takes no room when no Redis was ever reached', async () => {
    const store = await memoryStoreWith({ cache: { maxBytes: 65_536 } })
    expect(await destroyUnknown(store)).toEqual([])
    expect(store.stats().unsaved).toBeLessThan(10)
    const sid = newId()
    await store.set(sid, sessionWith({ n: 1 }))
    expect(await store.get(sid)).toMatchObject({ n: 1 })
    expect(await store.length()).toBe(1)
  })

  test('P5 sessions made and destroyed in memory leave their room to others', async () => {
    const store = await memoryStoreWith({ cache: { maxBytes: 65_536 }, disableTTL: true })
    for (let n = 0; n < UNKNOWN; n++) {
      const sid = newId()
      await store.set(sid, sessionWith({ n }))
      await store.destroy(sid)
    }
    expect(store.stats().unsaved).toBeLessThan(10)
  })

  test('P5 destroying unknown sessions in an outage leaves room for new ones', async () => {
    const store = await forsakenStoreWith({ cache: { maxBytes: 65_536 } })
    await destroyUnknown(store)
    const sid = newId()
    await store.set(sid, sessionWith({ n: 1 }))
    expect(await store.get(sid)).toMatchObject({ n: 1 })
  })

  test('clear() in an outage fails with ERR_STORE_UNAVAILABLE: what is in Redis cannot be removed', async () => {
    const store = await forsakenStoreWith()
    const sid = newId()
    await store.set(sid, sessionWith({ n: 1 }))
    await expect(store.clear()).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' })
    await expect(call(store, 'clear')).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' })
    expect(await store.get(sid)).toMatchObject({ n: 1 })
  })

  test('clear() empties memory when no Redis was ever reached', async () => {
    const store = await memoryStoreWith({ cache: { maxBytes: 65_536 }, disableTTL: true })
    for (let round = 0; round < 5; round++) {
      for (let n = 0; n < 100; n++) await store.set(newId(), sessionWith({ n }))
      expect(await store.length()).toBe(100)
      await store.clear()
      expect(await store.length()).toBe(0)
      expect(await store.ids()).toEqual([])
    }
  })
}
