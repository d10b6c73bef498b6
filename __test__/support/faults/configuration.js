// Secrets in the wrong place, and options against the environment.
const { once } = require('node:events')
const net = require('node:net')
const { inspect } = require('node:util')
const { RedisStore } = require('../../..')
const { rememberingLogger } = require('../logger')
const { runScript } = require('../script')
const { useStores } = require('../stores')
const { until, within } = require('../until')

module.exports = () => {
  const stores = useStores()
  const { later, ownRedis } = stores

  const SECRET_URL = 'redis://:hunter2@h:6379'

  /** All that a store says from its construction until it is known who serves. */
  async function whatIsSaid(options, env = {}) {
    const logger = rememberingLogger()
    const said = []
    Object.assign(process.env, env)
    try {
      const store = new RedisStore({ logger, ...options })
      later(() => store.close())
      store.on('error', (error) => said.push(inspect(error)))
      const state = await within(10_000, store.ready())
      await until(() => state === 'ready' || said.length > 0, { what: 'the reason' })
    } catch (error) {
      said.push(inspect(error))
    } finally {
      for (const name of Object.keys(env)) delete process.env[name]
    }
    return `${said.join('\n')}\n${logger.text()}`
  }

  test.each([
    ['host', { host: SECRET_URL }],
    ['port', { port: SECRET_URL }],
    ['socketPath', { socketPath: SECRET_URL }],
    ['username', { username: SECRET_URL }],
    ['db', { db: SECRET_URL }],
    ['tls', { tls: SECRET_URL }],
    ['a mistyped url', { url: SECRET_URL.replace('redis:', 'reds:') }]
  ])('P8 a URL with a password, given as %s, shows no password', async (_, options) => {
    const address = options.url || options.host || options.socketPath ? {} : { host: '127.0.0.1' }
    const port = options.port === undefined && address.host ? { port: stores.redis.port } : {}
    expect(await whatIsSaid({ ...address, ...port, ...options })).not.toContain('hunter2')
  })

  test.each(['REDIS_HOST', 'REDIS_PORT', 'REDIS_USERNAME', 'REDIS_DB', 'REDIS_TLS', 'SESSION_TIMEOUT'])(
    'P8 a URL with a password, given as %s, shows no password',
    async (variable) => {
      expect(await whatIsSaid({}, { [variable]: SECRET_URL })).not.toContain('hunter2')
    }
  )

  describe('options win over the environment', () => {
    const program = async (options) => {
      const { RedisStore } = require('./index.js')
      const store = new RedisStore({ logger: false, ...options })
      const state = await store.ready()
      await store.set('an id of the test', { cookie: {} })
      console.log(state)
      await store.close()
    }

    test('a database in the URL, also when it is 0', async () => {
      const server = await ownRedis()
      const url = `${server.url}/0`
      expect(await runScript(program, [{ url }], { env: { REDIS_DB: '5' } })).toMatchObject({
        stdout: 'ready\n',
        stderr: ''
      })
      expect(await server.command('INFO', 'keyspace')).toMatch(/db0:keys=2/)
      expect(await server.command('INFO', 'keyspace')).not.toMatch(/db5/)
    })

    test('rediss:// over REDIS_TLS=false: it starts, and speaks TLS', async () => {
      const server = net.createServer()
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      const sockets = []
      later(() => {
        for (const socket of sockets) socket.destroy()
        server.close()
      })
      const firstBytes = []
      server.on('connection', (socket) => {
        sockets.push(socket)
        socket.on('error', () => {})
        socket.once('data', (chunk) => {
          firstBytes.push(chunk[0])
          socket.destroy()
        })
      })
      const url = `rediss://127.0.0.1:${server.address().port}`
      const ended = await runScript(program, [{ url }], { env: { REDIS_TLS: 'false' } })
      expect(ended).toMatchObject({ code: 0, stdout: 'degraded\n', stderr: '' })
      // A TLS handshake.
      expect(new Set(firstBytes)).toEqual(new Set([22]))
    })

    test.each([
      ['socketPath', (path) => ({ socketPath: path })],
      ['redis+unix://', (path) => ({ url: `redis+unix://${path}` })]
    ])('%s over REDIS_TLS=true and REDIS_HOST', async (_, options) => {
      const given = options(stores.redis.socketPath)
      const env = { REDIS_TLS: 'true', REDIS_HOST: 'example.com', REDIS_PORT: '1' }
      expect(await runScript(program, [given], { env })).toMatchObject({ code: 0, stdout: 'ready\n', stderr: '' })
    })
  })
}
