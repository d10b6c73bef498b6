// Stores for the tests of a `describe`: on a Redis that they share, on one of their own, or in memory. Each is closed
// after its test.
const { RedisStore } = require('../..')
const { laterForEach } = require('./later')
const { freePort } = require('./port')
const { startRedis } = require('./redis')
const { until } = require('./until')

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

  /** Two stores that are ready, on a Redis of their own. */
  async function twoStores(options) {
    const server = await ownRedis()
    const [one, two] = [0, 1].map(() => storeWith({ port: server.port, prefix: 'two:', ...options }))
    await Promise.all([one.ready(), two.ready()])
    return { server, one, two }
  }

  const keyOf = (store, sid) => store.prefix + sid
  return {
    later,
    storeWith,
    memoryStoreWith,
    ownRedis,
    twoStores,
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

/** What `store.get` answers in the same tick; undefined when it does not. */
function known(store, sid) {
  let found
  store.get(sid, (_, session) => {
    found = session
  })
  return found
}

/**
 * Waits until a store with its default cache sees what another connection changed, as P4 promises: at the latest
 * `maxStaleMs` after Redis acknowledged it, which is to be just now.
 */
function untilSeen(condition, what = 'what was changed elsewhere') {
  return until(condition, { ms: 1000, every: 1, what })
}

module.exports = { known, untilSeen, useStores }
