// Every way to a Redis: TCP, unix socket, URL, password, ACL user, database, TLS, environment.
const { createClient } = require('redis')
const { rememberingLogger } = require('../logger')
const { runScript } = require('../script')
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')
const { nextEvent } = require('../until')

module.exports = () => {
  const stores = useStores()
  const { keyOf, later, ownRedis, storeWith } = stores

  async function roundTrip(store, expected = 'ready') {
    const sid = newId()
    expect(await store.ready()).toBe(expected)
    await store.set(sid, sessionWith({ n: 1 }))
    expect(await store.get(sid)).toMatchObject({ n: 1 })
    return sid
  }

  test('by unix socket, as a path and as a URL', async () => {
    await roundTrip(storeWith({ socketPath: stores.redis.socketPath }))
    await roundTrip(storeWith({ url: `redis+unix://${stores.redis.socketPath}` }))
  })

  test('by URL, with password and database', async () => {
    const server = await ownRedis({ password: 'p@ss:w/rd %41#' })
    const store = storeWith({ url: `${server.url}/3` })
    const sid = await roundTrip(store)
    const inThree = createClient({ url: `${server.url}/3` })
    await inThree.connect()
    later(() => inThree.destroy())
    expect(await inThree.exists(keyOf(store, sid))).toBe(1)
    expect(await server.command('DBSIZE')).toBe(0)
  })

  test('with password, database and ACL user as options', async () => {
    const server = await ownRedis({ password: 'secret' })
    await server.command('ACL', 'SETUSER', 'shop', 'on', '>other secret', '~*', '&*', '+@all')
    const { port } = server
    await roundTrip(storeWith({ port, password: 'secret', db: 5 }))
    await roundTrip(storeWith({ port, username: 'shop', password: 'other secret' }))
    expect(await server.command('INFO', 'keyspace')).toMatch(/db0:keys=3[\s\S]*db5:keys=3/)
  })

  test('a wrong password: memory serves, the log says what to mend, and shows no password', async () => {
    const server = await ownRedis({ password: 'the right one' })
    const logger = rememberingLogger()
    const store = storeWith({ port: server.port, password: 'hunter2-wrong', logger })
    const [error] = await nextEvent(store, 'error')
    await roundTrip(store, 'degraded')
    expect(error.code).toBe('ERR_STORE_UNAVAILABLE')
    expect(error.message).toMatch(/password/i)
    expect(logger.text()).toMatch(/password/i)
    expect(logger.text() + error.stack).not.toContain('hunter2')
  })

  test('by TLS, trusting the given authority, as options and as a URL', async () => {
    const server = await ownRedis({ tls: true, password: 'secret' })
    const { ca } = server.tls
    await roundTrip(storeWith({ port: server.port, password: 'secret', tls: { ca } }))
    await roundTrip(storeWith({ host: 'localhost', port: server.port, password: 'secret', tls: { ca } }))
    await roundTrip(storeWith({ url: server.url, tls: { ca } }))
  })

  test('by TLS with a client certificate', async () => {
    const server = await ownRedis({ tls: 'mutual' })
    const { ca, cert, key } = server.tls
    await roundTrip(storeWith({ port: server.port, tls: { ca, cert, key } }))
    await roundTrip(storeWith({ port: server.port, tls: { ca } }), 'degraded')
  })

  test('P8 by TLS to someone whom the authority does not know: refused, and nothing is sent in the clear', async () => {
    const [server, other] = [await ownRedis({ tls: true }), await ownRedis({ tls: true })]
    const store = storeWith({ port: server.port, tls: { ca: other.tls.ca } })
    const [error] = await nextEvent(store, 'error')
    expect(error.code).toBe('ERR_STORE_UNAVAILABLE')
    await roundTrip(store, 'degraded')
    expect(await server.command('DBSIZE')).toBe(0)
    await roundTrip(storeWith({ port: server.port, tls: true }), 'degraded')
  })

  test('options given as null or undefined count as not given', async () => {
    const store = storeWith({ password: undefined, username: null, db: undefined, tls: undefined, ttl: undefined })
    await roundTrip(store)
  })

  test('the environment configures a store, and options win over it', async () => {
    const server = await ownRedis({ password: 'from the environment' })
    const program = async (options) => {
      const { RedisStore } = require('./index.js')
      const store = new RedisStore({ logger: false, ...options })
      const state = await store.ready()
      await store.set('an id of the test', { cookie: {} })
      console.log(JSON.stringify({ state, prefix: store.prefix, ttl: store.ttl }))
      await store.close()
    }
    const env = {
      REDIS_HOST: '127.0.0.1',
      REDIS_PORT: String(server.port),
      REDIS_PASSWORD: 'from the environment',
      REDIS_DB: '4',
      SESSION_TIMEOUT: '90000'
    }
    const run = async (options, variables) => {
      const { stdout, stderr } = await runScript(program, [options], { env: variables })
      expect(stderr).toBe('')
      return JSON.parse(stdout)
    }
    expect(await run({}, env)).toEqual({ state: 'ready', prefix: 'meetabl:sess:', ttl: 90 })
    expect(await server.command('INFO', 'keyspace')).toMatch(/db4:keys=2/)
    expect(await run({ ttl: 7, db: 0 }, env)).toMatchObject({ state: 'ready', ttl: 7 })
    expect(await server.command('INFO', 'keyspace')).toMatch(/db0:keys=2/)
    expect(
      await run({}, { REDIS_URL: `${server.url.replace(/:[^:]*@/, ':from%20the%20environment@')}/6` })
    ).toMatchObject({ state: 'ready' })
    expect(await server.command('INFO', 'keyspace')).toMatch(/db6:keys=2/)
    expect(await run({ port: stores.redis.port, password: null, db: 9 }, {})).toMatchObject({ state: 'ready' })
  })
}
