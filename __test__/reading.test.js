'use strict'

// Reads that are made together go to Redis as one command. Each is answered as if it had been made alone.

const { RedisStore } = require('meetabl-session')
const { startRedis } = require('./support/redis')

let redis
const open = []

beforeAll(async () => {
  redis = await startRedis()
})
afterEach(() => Promise.all(open.splice(0).map((store) => store.close())))
afterAll(() => redis.stop())

async function readyStore(options) {
  const store = new RedisStore({ url: redis.url, prefix: 'sess:', logger: false, ...options })
  open.push(store)
  expect(await store.ready()).toBe('ready')
  return store
}

async function mixture() {
  await redis.command('FLUSHALL')
  const ids = Array.from({ length: 200 }, (_, n) => `session-${n}`)
  const expected = await Promise.all(
    ids.map(async (sid, n) => {
      if (n % 5 === 1) return null
      if (n % 5 === 2) await redis.command('RPUSH', `sess:${sid}`, 'a list')
      else if (n % 5 === 3) await redis.command('SET', `sess:${sid}`, '')
      else await redis.command('SET', `sess:${sid}`, JSON.stringify({ cookie: {}, n }))
      return n % 5 === 0 || n % 5 === 4 ? { cookie: {}, n } : null
    })
  )
  return { ids, expected }
}

test('sessions, missing ones, empty values and other types, all at once', async () => {
  const store = await readyStore()
  const { ids, expected } = await mixture()
  expect(await Promise.all(ids.map((sid) => store.get(sid)))).toEqual(expected)
  expect(store.stats().corrupt).toBe(40)
})

test('where MGET is forbidden, they are read one by one', async () => {
  await redis.command('ACL', 'SETUSER', 'one', 'on', '>secret', '~*', '+@all', '-mget')
  const store = await readyStore({ username: 'one', password: 'secret' })
  const { ids, expected } = await mixture()
  expect(await Promise.all(ids.map((sid) => store.get(sid)))).toEqual(expected)
})

test('a read after a write sees it, also when they are made together', async () => {
  const store = await readyStore()
  const reads = Array.from({ length: 100 }, (_, n) => {
    store.set('one', { cookie: {}, n })
    return Promise.all([store.get('one'), store.get('one')])
  })
  for (const [n, pair] of (await Promise.all(reads)).entries()) expect(pair.map((session) => session.n)).toEqual([n, n])
})
