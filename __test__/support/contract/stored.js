// Keys, texts and prefixes as they are in Redis.
const { RedisStore } = require('../../..')
const { newId, sessionWith, stored } = require('../sessions')
const { useStores } = require('../stores')

module.exports = () => {
  const stores = useStores()
  const { keyOf, later, ownRedis, storeWith, textOf } = stores

  test('the key is prefix and id, the text is the JSON of the session', async () => {
    const [store, sid] = [storeWith(), newId()]
    const data = sessionWith({ user: { name: 'ada 🦀' } }, 60_000)
    await store.set(sid, data)
    expect(await textOf(store, sid)).toBe(JSON.stringify(data))
    const standard = new RedisStore({ host: stores.redis.host, port: stores.redis.port, logger: false })
    later(() => standard.close())
    await standard.set(sid, data)
    expect(await stores.redis.command('GET', `meetabl:sess:${sid}`)).toBe(JSON.stringify(data))
    await standard.destroy(sid)
  })

  test.each(['1', 'user:42', 'tenant/7.a@b c', 'schlüssel-🦀', '{tag}', '*', '[a-z]?\\'])(
    'an id of the application such as %j is a key like any other',
    async (sid) => {
      const store = storeWith()
      await store.set(sid, sessionWith({ n: 1 }))
      expect(await stores.redis.command('EXISTS', keyOf(store, sid))).toBe(1)
      expect(await store.get(sid)).toMatchObject({ n: 1 })
      expect(await store.ids()).toEqual([sid])
      await store.destroy(sid)
      expect(await store.length()).toBe(0)
    }
  )

  test('a serializer of the application writes and reads the text', async () => {
    const serializer = {
      stringify: (data) => `v1:${Buffer.from(JSON.stringify(data)).toString('base64')}`,
      parse: (text) => JSON.parse(Buffer.from(text.slice(3), 'base64').toString())
    }
    const [store, sid] = [storeWith({ serializer }), newId()]
    const data = sessionWith({ user: 'ada' })
    await store.set(sid, data)
    expect(await textOf(store, sid)).toBe(serializer.stringify(data))
    expect(await store.get(sid)).toEqual(stored(data))
    expect(await store.all()).toEqual([{ ...stored(data), id: sid }])
    expect(store.serializer).toBe(serializer)
  })

  test.each(['a*b?[c]:', 'back\\slash:', '[^x]-', '*', 'ünï🦀:', 'a{b}:', ' : '])(
    'the prefix %j is taken literally: nobody else is listed, counted or cleared',
    async (prefix) => {
      const server = await ownRedis()
      const store = storeWith({ port: server.port, prefix })
      const strangers = ['aXXbYc:1', 'a*b?c:1', 'axb?[c]:1', 'backslash:1', 'y-1', '^-1', 'x-1', 'anything', 'sess:1']
      const others = strangers.filter((key) => !key.startsWith(prefix))
      for (const key of others) await server.command('SET', key, '{"cookie":{}}')
      const ids = Array.from({ length: 30 }, newId)
      await Promise.all(ids.map((sid) => store.set(sid, sessionWith())))
      expect((await store.ids()).sort()).toEqual(ids.sort())
      expect(await store.length()).toBe(30)
      expect((await store.all()).map((found) => found.id).sort()).toEqual(ids)
      await store.clear()
      expect(await store.length()).toBe(0)
      // And what the store itself needs.
      const kept = [...others, `meetabl:marker:${prefix}`, expect.stringMatching(/^meetabl:progress:[0-9a-f]{32}$/)]
      expect(await server.command('KEYS', '*')).toHaveLength(kept.length)
      expect(await server.command('KEYS', '*')).toEqual(expect.arrayContaining(kept))
    }
  )

  test('two stores with different prefixes on one Redis do not meet', async () => {
    const [one, two, sid] = [storeWith(), storeWith(), newId()]
    await one.set(sid, sessionWith({ n: 1 }))
    expect(await two.get(sid)).toBeNull()
    await two.clear()
    expect(await one.get(sid)).toMatchObject({ n: 1 })
  })

  test('the attributes that connect-redis has are there', () => {
    const ttl = () => 1
    const store = storeWith({ prefix: 'p:', ttl, scanCount: 7, disableTTL: true, disableTouch: true })
    const { prefix, scanCount, disableTTL, disableTouch, serializer } = store
    expect([prefix, scanCount, disableTTL, disableTouch, serializer]).toEqual(['p:', 7, true, true, JSON])
    expect(store.ttl).toBe(ttl)
    const standard = storeWith()
    expect([standard.ttl, standard.scanCount, standard.disableTTL, standard.disableTouch]).toEqual([
      86_400,
      100,
      false,
      false
    ])
  })
}
