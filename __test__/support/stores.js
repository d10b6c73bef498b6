// Stores for the tests of a `describe`: on a Redis that they share, on one of their own, or in memory. Each is closed
// after its test.
const { RedisStore } = require('../..')
const { laterForEach } = require('./later')
const { freePort } = require('./port')
const { startRedis } = require('./redis')

function useStores() {
  const later = laterForEach()
  let redis
  let made = 0
  beforeAll(async () => {
    redis = await startRedis({ unixSocket: true })
  })
  afterAll(() => redis.stop())

  /** Silent, with a prefix of its own; without an address it goes to the shared Redis. */
  function storeWith(options = {}) {
    const { host = '127.0.0.1', port = redis.port, ...rest } = options
    const address = rest.url || rest.socketPath ? {} : { host, port }
    const store = new RedisStore({ prefix: `test ${++made}:`, logger: false, ...address, ...rest })
    later(() => store.close())
    return store
  }

  async function memoryStoreWith(options) {
    const store = storeWith({ port: await freePort(), ...options })
    await store.ready()
    return store
  }

  async function ownRedis(options) {
    const server = await startRedis(options)
    later(() => server.stop())
    return server
  }

  const keyOf = (store, sid) => store.prefix + sid
  return {
    later,
    storeWith,
    memoryStoreWith,
    ownRedis,
    keyOf,
    /** The shared one. */
    get redis() {
      return redis
    },
    pttl: (store, sid) => redis.command('PTTL', keyOf(store, sid)),
    textOf: (store, sid) => redis.command('GET', keyOf(store, sid)),
    plant: (store, sid, value) => redis.command('SET', keyOf(store, sid), value)
  }
}

module.exports = { useStores }
