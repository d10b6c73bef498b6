// An Express app with `meetablSession()` on a Redis, its security events, and what the tests ask of it again and again.
const { once } = require('node:events')
const http = require('node:http')
const express = require('express')
const { csrfTokenRoute, meetablSession } = require('../..')
const { Agent } = require('./app')

const SECRET = 'the secret of the security tests, long enough'
const NAME = 'meetabl.sid'

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

/** How often Redis looked a key up to read it. */
async function readsOf(redis) {
  const text = await redis.command('INFO', 'stats')
  const count = (name) => Number(new RegExp(`${name}:(\\d+)`).exec(text)[1])
  return count('keyspace_hits') + count('keyspace_misses')
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

module.exports = { idIn, NAME, readsOf, SECRET, startSecured, withEnv }
