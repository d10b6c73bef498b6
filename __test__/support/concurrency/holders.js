// P2 under pressure: 64 holders of one session save at the same moment, on two stores.
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')
const { loaded } = require('./loaded')

const HOLDERS = 64

module.exports = () => {
  const stores = useStores()

  let prefixes = 0
  function twoStores() {
    const prefix = `holders ${++prefixes}:`
    return Array.from('ab', () => stores.storeWith({ prefix, commandTimeoutMs: 10_000 }))
  }

  /** Sessions as that many requests would hold them, in turn from the one store and the other. */
  async function holdersOf(pair, id) {
    const holders = Array.from({ length: HOLDERS }, async (_, n) => ({
      n,
      store: pair[n % 2],
      session: await loaded(pair[n % 2], id)
    }))
    return Promise.all(holders)
  }

  function saveAll(holders, name) {
    return Promise.all(
      holders.map(({ n, store, session }) => {
        session[`${name}${n}`] = n
        session.both ??= {}
        session.both[`${name}${n}`] = n
        return store.set(session.id, session)
      })
    )
  }

  function expected(names) {
    return Object.fromEntries(names.flatMap((name) => Array.from({ length: HOLDERS }, (_, n) => [`${name}${n}`, n])))
  }

  async function dataOf(store, id) {
    const { cookie: _, ...data } = JSON.parse(await stores.textOf(store, id))
    return data
  }

  test('P2 each save is acknowledged and every key is there, without a storm of tries', async () => {
    const pair = twoStores()
    const id = newId()
    await pair[0].set(id, sessionWith({ start: true }))
    const holders = await holdersOf(pair, id)
    await stores.redis.command('CONFIG', 'RESETSTAT')
    await saveAll(holders, 'a')
    expect(await dataOf(pair[0], id)).toEqual({ start: true, ...expected(['a']), both: expected(['a']) })
    // If each try let only one holder through, and all others tried again.
    const worst = (HOLDERS * (HOLDERS + 1)) / 2
    expect(await callsOf(stores.redis, ['eval', 'evalsha', 'set'])).toBeLessThanOrEqual(worst)
    for (const store of pair) expect(store.stats()).toMatchObject({ refused: 0, state: 'ready' })
  })

  test('P2 a save that meets no other is sent once', async () => {
    const [store] = twoStores()
    const id = newId()
    await store.set(id, sessionWith())
    const session = await loaded(store, id)
    await store.set(id, session)
    await stores.redis.command('CONFIG', 'RESETSTAT')
    for (let n = 0; n < 50; n++) {
      session.n = n
      await store.set(id, session)
    }
    expect(await callsOf(stores.redis, ['eval', 'evalsha', 'fcall'])).toBeLessThanOrEqual(50)
    expect(store.stats()).toMatchObject({ conflicts: 0, merged: 0, refused: 0 })
  })

  test('P2 nor does a second save of each lose anything', async () => {
    const pair = twoStores()
    const id = newId()
    await pair[0].set(id, sessionWith())
    const holders = await holdersOf(pair, id)
    for (const name of ['a', 'b', 'c']) await saveAll(holders, name)
    const all = expected(['a', 'b', 'c'])
    expect(await dataOf(pair[1], id)).toEqual({ ...all, both: all })
  })

  test('P2 P6 the session lives as long as the cookie says that is stored, whichever save was the last', async () => {
    const pair = twoStores()
    const id = newId()
    await pair[0].set(id, sessionWith({}, 60_000))
    const holders = await holdersOf(pair, id)
    for (const { n, session } of holders) session.cookie.maxAge = (n + 1) * 60_000
    await saveAll(holders, 'a')
    const { cookie } = JSON.parse(await stores.textOf(pair[0], id))
    const left = await stores.pttl(pair[0], id)
    expect(Math.abs(cookie.originalMaxAge - left)).toBeLessThan(20_000)
    expect(Math.abs(Date.parse(cookie.expires) - Date.now() - left)).toBeLessThan(1000)
  })

  test('P2 when Redis forgets its scripts, nothing is lost', async () => {
    const pair = twoStores()
    const id = newId()
    await pair[0].set(id, sessionWith())
    const holders = await holdersOf(pair, id)
    const names = Array.from({ length: 10 }, (_, round) => `r${round}k`)
    for (const name of names) {
      const saves = saveAll(holders, name)
      const flushes = Array.from({ length: 5 }, () => stores.redis.command('SCRIPT', 'FLUSH'))
      await Promise.all([saves, ...flushes])
    }
    const all = expected(names)
    expect(await dataOf(pair[0], id)).toEqual({ ...all, both: all })
    for (const store of pair) expect(store.state).toBe('ready')
  })

  test('P3 64 saves of a session that was destroyed meanwhile are acknowledged, refused and counted', async () => {
    const pair = twoStores()
    const id = newId()
    await pair[0].set(id, sessionWith())
    const holders = await holdersOf(pair, id)
    const saves = saveAll(holders, 'a')
    const destroyed = pair[0].destroy(id)
    await Promise.all([saves, destroyed])
    expect(await pair[0].get(id)).toBeNull()
    const before = pair.map((store) => store.stats().refused)
    await saveAll(holders, 'b')
    expect(await stores.redis.command('EXISTS', stores.keyOf(pair[0], id))).toBe(0)
    expect(pair.map((store, at) => store.stats().refused - before[at])).toEqual([HOLDERS / 2, HOLDERS / 2])
  })
}

async function callsOf(redis, commands) {
  const text = await redis.command('INFO', 'commandstats')
  const calls = commands.map((command) =>
    Number(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(text)?.[1] ?? 0)
  )
  return calls.reduce((sum, one) => sum + one, 0)
}
