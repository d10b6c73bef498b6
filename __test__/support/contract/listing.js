// `ids` and `all`: arrays, iterations, and no more reading than is used.
const { freePort } = require('../port')
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')

module.exports = () => {
  const stores = useStores()
  const { storeWith } = stores

  async function filled(count, options) {
    const store = storeWith(options)
    const ids = Array.from({ length: count }, newId)
    await Promise.all(ids.map((sid, n) => store.set(sid, sessionWith({ n }))))
    return { store, ids: ids.sort() }
  }

  async function scans(work) {
    await stores.redis.command('CONFIG', 'RESETSTAT')
    await work()
    return Number(/cmdstat_scan:calls=(\d+)/.exec(await stores.redis.command('INFO', 'commandstats'))?.[1] ?? 0)
  }

  test('all gives an array of sessions with their ids', async () => {
    const { store, ids } = await filled(250, { scanCount: 20 })
    const found = await store.all()
    expect(Array.isArray(found)).toBe(true)
    expect(found.map((one) => one.id).sort()).toEqual(ids)
    expect(found.map((one) => one.n).sort((a, b) => a - b)).toEqual(ids.map((_, n) => n))
    expect(Object.keys(found[0])).toEqual(['cookie', 'n', 'id'])
  })

  test.each([
    ['with a Redis', () => filled(250, { scanCount: 20 })],
    ['in memory', async () => filled(250, { scanCount: 20, port: await freePort() })]
  ])('%s, ids and all can be iterated over, without doubles', async (_, open) => {
    const { store, ids } = await open()
    const [seenIds, seen] = [[], []]
    for await (const id of store.ids()) seenIds.push(id)
    for await (const one of store.all()) seen.push(one.id)
    expect(seenIds.sort()).toEqual(ids)
    expect(seen.sort()).toEqual(ids)
  })

  test('nothing is read before it is awaited, and no more than what is used', async () => {
    const { store } = await filled(1000, { scanCount: 10 })
    const unused = await scans(async () => {
      store.ids()
      store.all()
      await store.get('something else')
    })
    expect(unused).toBe(0)
    const some = await scans(async () => {
      let count = 0
      for await (const _ of store.ids()) if (++count === 15) break
    })
    const all = await scans(() => store.ids())
    expect(all).toBeGreaterThanOrEqual(80)
    expect(some).toBeLessThan(all / 3)
  })

  test('a listing is a promise: then, catch and finally work, and awaiting twice reads once', async () => {
    const { store, ids } = await filled(5)
    const listing = store.ids()
    let ended = false
    const counted = await scans(async () => {
      await listing
      await listing
    })
    expect(counted).toBeGreaterThan(0)
    expect(await scans(() => listing)).toBe(0)
    await listing.finally(() => (ended = true))
    expect(ended).toBe(true)
    expect((await Promise.all([listing, store.all()]))[0].sort()).toEqual(ids)
    const closed = storeWith()
    await closed.close()
    expect(await closed.ids().catch((error) => error.code)).toBe('ERR_STORE_CLOSED')
  })

  test('sessions that come and go while a listing runs do not disturb the others', async () => {
    const { store, ids } = await filled(500, { scanCount: 10 })
    const seen = []
    for await (const id of store.ids()) {
      seen.push(id)
      if (seen.length % 10 === 0) {
        const guest = newId()
        await store.set(guest, sessionWith({ guest: true }))
        await store.destroy(guest)
      }
    }
    expect(ids.filter((id) => !seen.includes(id))).toEqual([])
    expect(new Set(seen).size).toBe(seen.length)
  })
}
