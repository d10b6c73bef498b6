// What express-session expects of a store (the same suite for its own MemoryStore, for RedisStore with a Redis and for
// RedisStore without one), and then what RedisStore promises beyond that.
const session = require('express-session')
const { RedisStore } = require('..')
const { freePort } = require('./support/port')
const { startRedis } = require('./support/redis')
const { sessionContract } = require('./support/session-contract')

jest.setTimeout(60_000)

for (const name of Object.keys(process.env)) {
  if (/^(REDIS_|SESSION_)/.test(name)) delete process.env[name]
}

sessionContract('MemoryStore, the reference', async () => {
  const store = new session.MemoryStore()
  return {
    store,
    close() {},
    plant(sid, text) {
      store.sessions[sid] = text
    }
  }
})

sessionContract('RedisStore with a Redis', async () => {
  const redis = await startRedis()
  const store = new RedisStore({ host: redis.host, port: redis.port, logger: false })
  await store.ready()
  return {
    store,
    plant: (sid, text) => redis.command('SET', `meetabl:sess:${sid}`, text),
    async close() {
      expect(store.state).toBe('ready')
      await store.close()
      await redis.stop()
    }
  }
})

sessionContract('RedisStore in memory', async () => {
  const store = new RedisStore({ host: '127.0.0.1', port: await freePort(), logger: false })
  await store.ready()
  return {
    store,
    plant: (sid, text) => store.set(sid, JSON.parse(text)),
    async close() {
      expect(store.state).toBe('degraded')
      await store.close()
    }
  }
})

describe('RedisStore', () => {
  describe('callbacks and promises', require('./support/contract/callbacks'))
  describe('expiry', require('./support/contract/expiry'))
  describe('what is in Redis', require('./support/contract/stored'))
  describe('listing', require('./support/contract/listing'))
  describe('what is no session', require('./support/contract/corrupt'))
  describe('getting to Redis', require('./support/contract/connecting'))
  describe('events, state and log', require('./support/contract/events'))
  describe('close', require('./support/contract/closing'))
  describe('the process around it', require('./support/contract/process'))
  describe('without a Redis', require('./support/contract/memory'))
  describe('P5 nothing hangs', require('./support/contract/outage'))
})
