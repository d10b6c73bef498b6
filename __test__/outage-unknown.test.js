// P2, P3 and P5 of new sessions whose answer did not come: the process cannot see whether Redis has them, and another one
// that still reaches Redis may have ended or changed them since.
const { setTimeout: pause } = require('node:timers/promises')
const { freePort } = require('./support/port')
const { startProxy } = require('./support/proxy')
const { newId, sessionWith } = require('./support/sessions')
const { useStores } = require('./support/stores')
const { until } = require('./support/until')

jest.setTimeout(30_000)

const { later, ownRedis, storeWith } = useStores()

const COMMAND_TIMEOUT_MS = 100

/** A store whose network fails, and one whose network does not, on one Redis. */
async function lostAndOther(options) {
  const server = await ownRedis()
  await server.command('ACL', 'SETUSER', 'narrow', 'on', '>secret', '~unknown:*', '&*', '+@all')
  const proxy = await startProxy(server.port)
  later(() => proxy.stop())
  const settings = { prefix: 'unknown:', commandTimeoutMs: COMMAND_TIMEOUT_MS, ...options }
  const lost = storeWith({ ...settings, port: proxy.port })
  const other = storeWith({ ...settings, port: server.port })
  await Promise.all([lost.ready(), other.ready()])
  return {
    server,
    proxy,
    lost,
    other,
    /** Sessions in Redis, by id: what they hold, or null. */
    stored: async (...ids) => {
      const texts = await Promise.all(ids.map((id) => server.command('GET', `unknown:${id}`)))
      return texts.map((text) => (text ? JSON.parse(text).user : null))
    },
    /** Until the lost one has told Redis all that it has to tell. */
    settled: () => until(() => lost.state === 'ready' && lost.stats().unsaved === 0)
  }
}

/** What Redis executes now, and nobody hears of. */
async function unheard({ proxy, lost }, work) {
  proxy.hold()
  const before = lost.stats().unsaved
  await work()
  expect(lost.stats().unsaved).toBeGreaterThan(before)
}

async function reconnect({ proxy, lost }) {
  let isBack = false
  lost.once('connect', () => {
    isBack = true
  })
  proxy.cut()
  proxy.release()
  await until(() => isBack)
}

const waysBack = [
  ['the connection is lost', reconnect],
  ['the answers are late', ({ proxy }) => proxy.release()]
]

describe.each(waysBack)('%s', (_, comeBack) => {
  test.each([
    ['the other store', ({ other }, id) => other.destroy(id)],
    ['whoever removes its key', ({ server }, id) => server.command('DEL', `unknown:${id}`)]
  ])('P3 a session that %s ended meanwhile stays ended', async (_, end) => {
    const world = await lostAndOther()
    const [ended, kept] = [newId(), newId()]
    await unheard(world, () =>
      Promise.all([ended, kept].map((id) => world.lost.set(id, sessionWith({ user: 'ada' }, 60_000))))
    )
    await until(async () => (await world.stored(ended))[0] === 'ada')
    await end(world, ended)
    await comeBack(world)
    await world.settled()
    expect(await world.stored(ended, kept)).toEqual([null, 'ada'])
    expect(await world.lost.get(ended)).toBeFalsy()
    expect(await world.lost.get(kept)).toMatchObject({ user: 'ada' })
  })

  test('P2 a session that the other store changed meanwhile has the changes of both', async () => {
    const world = await lostAndOther()
    const id = newId()
    await unheard(world, () => world.lost.set(id, sessionWith({ user: 'ada', here: 0, there: 0 }, 60_000)))
    await until(async () => (await world.stored(id))[0] === 'ada')
    const change = async (store, key) => {
      const request = { sessionID: id, sessionStore: store }
      const session = store.createSession(request, await store.get(id))
      session[key] = 1
      await store.set(id, session)
    }
    await change(world.other, 'there')
    await change(world.lost, 'here')
    await comeBack(world)
    await world.settled()
    expect(await world.other.get(id)).toMatchObject({ user: 'ada', here: 1, there: 1 })
  })
})

test('P5 a session that never reached Redis is there afterwards', async () => {
  const world = await lostAndOther()
  const ids = [newId(), newId()]
  world.proxy.swallow('toServer')
  await Promise.all(ids.map((id) => world.lost.set(id, sessionWith({ user: 'ada' }, 60_000))))
  expect(await world.stored(...ids)).toEqual([null, null])
  world.proxy.swallow(false)
  await reconnect(world)
  await world.settled()
  expect(await world.stored(...ids)).toEqual(['ada', 'ada'])
})

test('P3, P5 of many that were cut off in the middle, those that were ended stay ended, and all others are there', async () => {
  const world = await lostAndOther()
  const ids = Array.from({ length: 300 }, newId)
  const split = world.proxy.splitNext((chunk) => chunk.includes('SET') && chunk.length > 10_000, { atHalf: true })
  const written = Promise.all(ids.map((id) => world.lost.set(id, sessionWith({ user: 'ada' }, 60_000))))
  await split
  await written
  const reached = (await world.stored(...ids)).filter(Boolean).length
  expect(reached).toBeGreaterThan(10)
  expect(reached).toBeLessThan(ids.length)
  // The last that was written is what tells how far Redis came.
  const isEnded = (n) => n % 3 === 0 && n < reached - 1
  await Promise.all(ids.filter((_, n) => isEnded(n)).map((id) => world.other.destroy(id)))
  await reconnect(world)
  await world.settled()
  expect(await world.stored(...ids)).toEqual(ids.map((_, n) => (isEnded(n) ? null : 'ada')))
})

test('P5 sessions that waited for a socket that took no more, when they were given up, are there afterwards', async () => {
  const server = await ownRedis()
  const store = storeWith({ port: server.port, prefix: 'unknown:', commandTimeoutMs: 1000 })
  await store.ready()
  const [early, late] = [newId, newId].map((make) => Array.from({ length: 60 }, make))
  const large = sessionWith({ user: 'ada', page: 'x'.repeat(400_000) }, 60_000)
  await server.pause()
  for (const id of early) await Promise.race([store.set(id, large), pause(3)])
  // The first is given up: what comes now is sent later than all of them, and is not given up.
  await until(() => store.stats().unsaved > 0, { every: 1 })
  const written = Promise.all(late.map((id) => store.set(id, sessionWith({ user: 'ada' }, 60_000))))
  await until(() => store.stats().unsaved === early.length)
  server.resume()
  await written
  await until(() => store.state === 'ready' && store.stats().unsaved === 0)
  expect(store.stats().connections).toBe(1)
  for (const id of [...early, ...late]) expect(await server.command('EXISTS', `unknown:${id}`)).toBe(1)
})

test('P3 what the replay wrote, and nobody heard of, is not written again when it was ended meanwhile', async () => {
  const world = await lostAndOther()
  const [ended, kept] = [newId(), newId()]
  world.proxy.refuse()
  world.proxy.cut()
  await until(() => world.lost.state === 'degraded')
  await Promise.all([ended, kept].map((id) => world.lost.set(id, sessionWith({ user: 'ada' }, 60_000))))
  world.proxy.holdNext((chunk) => chunk.toString() === '+OK\r\n+OK\r\n+OK\r\n')
  await world.proxy.accept()
  await until(async () => (await world.stored(ended))[0] === 'ada')
  await world.other.destroy(ended)
  await reconnect(world)
  await world.settled()
  expect(await world.stored(ended, kept)).toEqual([null, 'ada'])
})

test('P3, P5 a Redis that is read-only for a while does not make one forget what became of them', async () => {
  const world = await lostAndOther()
  const [ended, kept] = [newId(), newId()]
  await unheard(world, () =>
    Promise.all([ended, kept].map((id) => world.lost.set(id, sessionWith({ user: 'ada' }, 60_000))))
  )
  await until(async () => (await world.stored(ended))[0] === 'ada')
  await world.other.destroy(ended)
  await world.server.command('REPLICAOF', '127.0.0.1', await freePort())
  await reconnect(world)
  await world.lost.set(newId(), sessionWith({ user: 'grace' }, 60_000))
  await world.server.command('REPLICAOF', 'NO', 'ONE')
  await world.settled()
  expect(await world.stored(ended, kept)).toEqual([null, 'ada'])
})

test('P5 `close` writes what it gave up while it finished', async () => {
  const { proxy, lost, server, stored } = await lostAndOther()
  const id = newId()
  proxy.holdNext()
  const written = lost.set(id, sessionWith({ user: 'ada' }, 60_000))
  const closed = lost.close()
  await written
  expect(lost.stats().unsaved).toBe(1)
  proxy.release()
  await closed
  expect(lost.stats().unsaved).toBe(0)
  expect(await stored(id)).toEqual(['ada'])
  await until(async () => (await server.command('KEYS', 'meetabl:progress:*')).length === 1)
})

test('P5 a user who may only use the keys of the prefix loses nothing', async () => {
  const world = await lostAndOther({ username: 'narrow', password: 'secret' })
  const id = newId()
  await unheard(world, () => world.lost.set(id, sessionWith({ user: 'ada' }, 60_000)))
  await reconnect(world)
  await world.settled()
  expect(await world.stored(id)).toEqual(['ada'])
  expect(await world.server.command('KEYS', 'meetabl:progress:*')).toEqual([])
})

test('what is noted is one key, is no session, and ends with the store', async () => {
  const { server, lost, other } = await lostAndOther()
  for (let n = 0; n < 5; n++) await lost.set(newId(), sessionWith({ user: 'ada' }, 60_000))
  const keys = await server.command('KEYS', 'meetabl:progress:*')
  expect(keys).toHaveLength(2)
  for (const key of keys) expect(await server.command('PTTL', key)).toBeGreaterThan(0)
  const all = storeWith({ port: server.port, prefix: '' })
  await all.ready()
  expect((await all.ids()).filter((id) => id.includes('progress'))).toEqual([])
  await Promise.all([lost.close(), other.close(), all.close()])
  expect(await server.command('KEYS', 'meetabl:progress:*')).toEqual([])
})
