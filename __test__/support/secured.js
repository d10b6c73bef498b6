// An Express app with `meetablSession()` on a Redis, its security events, and what the tests ask of it again and again.
const { randomUUID } = require('node:crypto')
const { once } = require('node:events')
const http = require('node:http')
const express = require('express')
const { createClient } = require('redis')
const { csrfTokenRoute, meetablSession } = require('../..')
const { Agent } = require('./app')
const { laterForAll, laterForEach } = require('./later')
const { startRedis } = require('./redis')
const { until } = require('./until')

const SECRET = 'the secret of the security tests, long enough'
const EARLIER = 'an earlier secret of the security tests, as long'
const NAME = 'meetabl.sid'
const FIREFOX = { 'user-agent': 'Mozilla/5.0 Firefox/128.0' }
const CURL = { 'user-agent': 'curl/8.5.0' }

/** A Redis for the tests of a file, empty before each, and `start(options, more)` for apps on it. */
function useSecured() {
  const laterAll = laterForAll()
  const later = laterForEach()
  let redis
  beforeAll(async () => {
    redis = await startRedis()
    laterAll(() => redis.stop())
  })
  beforeEach(() => redis.command('FLUSHALL'))

  async function start(options = {}, more = {}) {
    const app = await startSecured({ redis, options, ...more })
    later(() => app.close())
    return app
  }

  return {
    later,
    laterAll,
    start,
    get redis() {
      return redis
    }
  }
}

/**
 * `options` are `meetablSession`'s. CSRF protection asks for no token unless they say otherwise, so that tests of other
 * things need none.
 */
async function startSecured({
  redis,
  options = {},
  routes = () => {},
  before = [],
  framework = express,
  trustProxy = true
}) {
  const events = []
  const sessions = meetablSession({
    secret: SECRET,
    csrf: false,
    logger: false,
    onSecurityEvent: (event) => events.push(event),
    ...(options.store ? {} : { redis: { host: redis.host, port: redis.port } }),
    ...options
  })
  const app = framework()
  app.set('trust proxy', trustProxy)
  app.use(framework.json())
  for (const handler of before) app.use(handler)
  app.use(sessions)
  addRoutes(app)
  routes(app)
  const errors = []
  app.use((error, _req, res, _next) => {
    errors.push(error)
    res.status(error.status ?? 500).json({ code: error.code })
  })

  const server = http.createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  await sessions.store.ready?.()
  const agents = []
  return {
    app,
    sessions,
    store: sessions.store,
    events,
    errors,
    port,
    server,
    agent: (agentOptions) => {
      const agent = new Agent(port, agentOptions)
      agents.push(agent)
      return agent
    },
    async close() {
      for (const agent of agents) agent.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      await sessions.close()
    }
  }
}

function addRoutes(app) {
  const see = (req, res) => res.json({ user: req.session?.user ?? null, id: req.sessionID })
  app.get('/', see)
  app.get('/token', csrfTokenRoute())
  app.post('/in', (req, res) => {
    req.session.user = req.body?.user ?? 'ada'
    see(req, res)
  })
  app.post('/login', (req, res, next) => {
    req.regenerateSession((error) => {
      if (error) return next(error)
      req.session.user = 'ada'
      see(req, res)
    })
  })
  app.post('/out', (req, res, next) => {
    req.destroySession((error) => (error ? next(error) : res.end()))
  })
}

/** The id in an answer's or a browser's cookie. */
function idIn(cookie) {
  return /s%3A([\w-]+)\./.exec(cookie)?.[1]
}

/**
 * Hears every command that Redis is given, from anybody. `about(text)` gives those since the last call that have the text
 * in them.
 */
async function listenTo(redis) {
  const client = createClient({ socket: { host: redis.host, port: redis.port } })
  client.on('error', () => {})
  await client.connect()
  const heard = []
  await client.monitor((line) => heard.push(String(line)))
  return {
    async about(text) {
      // When Redis tells of this one, it has told of everything before.
      const mark = randomUUID()
      await redis.command('ECHO', mark)
      await until(() => heard.some((line) => line.includes(mark)), { what: 'Redis to tell' })
      return heard.splice(0).filter((line) => line.includes(text))
    },
    stop: () => client.destroy()
  }
}

/** Environment variables for as long as `call` runs. */
function withEnv(variables, call) {
  const before = { ...process.env }
  Object.assign(process.env, variables)
  try {
    return call()
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name]
    Object.assign(process.env, before)
  }
}

module.exports = { CURL, EARLIER, FIREFOX, idIn, listenTo, NAME, SECRET, startSecured, useSecured, withEnv }
