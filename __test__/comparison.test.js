'use strict'

// What the README says of connect-redis beside this store: each line of its table, shown on both.

const { RedisStore: ConnectRedisStore } = require('connect-redis')
const { createClient } = require('redis')
const { RedisStore } = require('meetabl-session')
const { startRedis } = require('./support/redis')
const { runScript } = require('./support/script')

let redis
let client
let open

beforeAll(async () => {
  redis = await startRedis()
  client = createClient({ url: redis.url })
  await client.connect()
})
beforeEach(async () => {
  open = []
  await redis.command('FLUSHALL')
})
afterEach(() => Promise.all(open.map((store) => store.close())))
afterAll(async () => {
  await client.close()
  await redis.stop()
})

const theirs = (options) => new ConnectRedisStore({ client, prefix: 'sess:', ...options })

function ours(options) {
  const store = new RedisStore({ url: redis.url, prefix: 'sess:', logger: false, ...options })
  open.push(store)
  return store
}

const lasting = (maxAge) => ({ cookie: { originalMaxAge: maxAge, expires: new Date(Date.now() + maxAge) } })
const lifeOf = (key) => redis.command('PTTL', key).then(Number)

test('a maxAge of 50 ms: there a second, here 50 ms', async () => {
  await theirs().set('theirs', lasting(50))
  await ours().set('ours', lasting(50))
  expect(await lifeOf('sess:theirs')).toBeGreaterThan(500)
  expect(await lifeOf('sess:ours')).toBeLessThanOrEqual(50)
})

test('ttl 0: there 86400, here not kept', async () => {
  await theirs({ ttl: 0 }).set('theirs', { cookie: {} })
  await ours({ ttl: 0 }).set('ours', { cookie: {} })
  expect(await lifeOf('sess:theirs')).toBeGreaterThan(86_000_000)
  expect(await redis.command('EXISTS', 'sess:ours')).toBe(0)
})

test('a prefix with a star: there clear removes the keys of others, here only its own', async () => {
  for (const [make, survivors] of [
    [theirs, 0],
    [ours, 1]
  ]) {
    await redis.command('FLUSHALL')
    await redis.command('SET', 'app1:sess:a', 'of another application')
    const store = make({ prefix: 'app*:sess:' })
    await store.set('mine', lasting(60_000))
    await store.clear()
    expect(await redis.command('EXISTS', 'app1:sess:a')).toBe(survivors)
  }
})

test('a value that is not JSON: there an error, here no session', async () => {
  await redis.command('SET', 'sess:broken', '{"cookie":')
  await expect(theirs().get('broken')).rejects.toThrow(SyntaxError)
  expect(await ours().get('broken')).toBeNull()
})

test('a callback that throws: there it is called again, here once', async () => {
  await redis.command('SET', 'sess:some', '{"cookie":{}}')
  const program = (url) => {
    const { RedisStore: ConnectRedisStore } = require('connect-redis')
    const { createClient } = require('redis')
    const { RedisStore } = require('meetabl-session')
    const calls = { theirs: 0, ours: 0 }
    let thrown = 0
    const keep = () => {
      if (++thrown === 2)
        setImmediate(() => {
          console.log(JSON.stringify(calls))
          process.exit()
        })
    }
    process.on('uncaughtException', keep).on('unhandledRejection', keep)
    const client = createClient({ url })
    client.connect().then(() => {
      new ConnectRedisStore({ client }).get('some', () => {
        calls.theirs++
        throw new Error('from the callback')
      })
      new RedisStore({ url, prefix: 'sess:', logger: false }).get('some', () => {
        calls.ours++
        throw new Error('from the callback')
      })
    })
  }
  const { stdout } = await runScript(program, [redis.url])
  expect(JSON.parse(stdout)).toEqual({ theirs: 2, ours: 1 })
})

test('all and clear: there one command for all keys, here batch by batch', async () => {
  const store = ours({ scanCount: 10 })
  for (let n = 0; n < 50; n++) await store.set(`session-${n}`, lasting(60_000))
  const callsOf = async (command) => {
    const stats = await redis.command('INFO', 'commandstats')
    return Number(stats.match(new RegExp(`cmdstat_${command}:calls=(\\d+)`))?.[1] ?? 0)
  }
  await redis.command('CONFIG', 'RESETSTAT')
  expect(await store.all()).toHaveLength(50)
  await store.clear()
  expect(await callsOf('mget')).toBeGreaterThan(2)
  expect(await callsOf('unlink')).toBe(50)
  for (let n = 0; n < 50; n++) await theirs().set(`session-${n}`, lasting(60_000))
  await redis.command('CONFIG', 'RESETSTAT')
  expect(await theirs().all()).toHaveLength(50)
  await theirs().clear()
  expect([await callsOf('mget'), await callsOf('del')]).toEqual([1, 1])
})
