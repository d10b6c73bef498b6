// A real Express 5 app with express-session on a given store, served over HTTP on a free port, and a small browser for
// it: `agent()` keeps cookies as a browser does (name, domain and path are one cookie's identity) and follows nothing.
const { once } = require('node:events')
const http = require('node:http')
const express = require('express')
const session = require('express-session')

const SECRET = 'a secret of the tests, long enough for them'

/**
 * `session` is merged into express-session's options; `routes(app)` adds the test's routes behind it. Errors that reach
 * Express are kept in `errors` and answered with their code, and their status or 500. `framework` is Express 5, or 4;
 * `http` are options of Node's server.
 */
async function startApp({ store, session: options, routes, middleware = [], framework = express, ...rest }) {
  const { trustProxy = true, http: serverOptions = {} } = rest
  const app = framework()
  app.set('trust proxy', trustProxy)
  app.use(session({ store, secret: SECRET, resave: false, saveUninitialized: false, ...options }))
  for (const handler of middleware) app.use(handler)
  app.use(express.json())
  routes(app)

  const errors = []
  app.use((error, _req, res, next) => {
    errors.push(error)
    if (res.headersSent) next(error)
    else res.status(error.status ?? 500).json({ code: error.code, message: error.message })
  })

  const server = http.createServer(serverOptions, app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  const agents = []
  return {
    port,
    errors,
    agent(options) {
      const agent = new Agent(port, options)
      agents.push(agent)
      return agent
    },
    async close() {
      for (const agent of agents) agent.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }
}

class Agent {
  #port
  #host
  #cookies = new Map()
  #connections

  constructor(port, { host = 'localhost', keepAlive = true } = {}) {
    this.#port = port
    this.#host = host
    this.#connections = new http.Agent({ keepAlive })
  }

  get(path, headers) {
    return this.request('GET', path, { headers })
  }

  post(path, body, headers) {
    return this.request('POST', path, { body, headers })
  }

  /** Resolves with `{ status, headers, text, body (parsed JSON), cookies (this answer's Set-Cookie headers) }`. */
  request(method, path, { body, headers } = {}) {
    const content = body === undefined ? undefined : JSON.stringify(body)
    const sent = { host: this.#host, ...(content && { 'content-type': 'application/json' }), ...headers }
    const cookie = this.cookieHeader(path)
    if (cookie) sent.cookie = cookie
    const address = { host: '127.0.0.1', port: this.#port, agent: this.#connections }
    return new Promise((resolve, reject) => {
      const request = http.request({ ...address, method, path, headers: sent }, (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk) => (text += chunk))
        response.on('error', reject)
        response.on('end', () => {
          const cookies = response.headers['set-cookie'] ?? []
          this.keep(cookies)
          resolve({
            status: response.statusCode,
            headers: response.headers,
            text,
            body: parsed(response, text),
            cookies
          })
        })
      })
      request.on('error', reject)
      request.end(content)
    })
  }

  /** The Cookie header that this browser sends for `path`. */
  cookieHeader(path = '/') {
    const pairs = []
    for (const cookie of this.#cookies.values()) {
      if (cookie.expires <= Date.now()) continue
      if (matchesPath(path, cookie.path) && this.#isInside(cookie.domain)) pairs.push(`${cookie.name}=${cookie.value}`)
    }
    return pairs.join('; ')
  }

  /** Takes Set-Cookie headers, as its own answers' are taken. */
  keep(lines) {
    for (const line of lines) this.#keep(line)
  }

  /** A second browser with the same cookies. */
  clone() {
    const twin = new Agent(this.#port, { host: this.#host })
    twin.#cookies = new Map(this.#cookies)
    return twin
  }

  forget() {
    this.#cookies.clear()
  }

  close() {
    this.#connections.destroy()
  }

  #isInside(domain) {
    return domain === undefined || this.#host === domain || this.#host.endsWith(`.${domain}`)
  }

  #keep(line) {
    const [pair, ...rest] = line.split(';').map((part) => part.trim())
    const attributes = new Map(
      rest.map((part) => [part.split('=')[0].toLowerCase(), part.slice(part.indexOf('=') + 1)])
    )
    const name = pair.slice(0, pair.indexOf('='))
    const domain = attributes.get('domain')?.replace(/^\./, '')
    const path = attributes.get('path') ?? '/'
    const identity = `${name};${domain ?? ''};${path}`
    const expires = attributes.has('expires') ? Date.parse(attributes.get('expires')) : Number.POSITIVE_INFINITY
    if (expires <= Date.now()) this.#cookies.delete(identity)
    else this.#cookies.set(identity, { name, value: pair.slice(name.length + 1), domain, path, expires })
  }
}

function matchesPath(path, prefix) {
  return prefix === '/' || path === prefix || path.startsWith(prefix.endsWith('/') ? prefix : `${prefix}/`)
}

function parsed(response, text) {
  return text && response.headers['content-type']?.includes('json') ? JSON.parse(text) : undefined
}

module.exports = { startApp, Agent, SECRET }
