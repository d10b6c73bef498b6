// Two sites, each an app with a store of its own, on one Redis and one prefix: both in this process, or one of them in a
// process of its own. And visitors, who are at both with one cookie.
const { fork } = require('node:child_process')
const crypto = require('node:crypto')
const { once } = require('node:events')
const path = require('node:path')
const { Agent, SECRET } = require('../app')
const { serveSteps } = require('./serve')

const COOKIE = 'connect.sid'

async function forkSite(options) {
  const worker = fork(path.join(__dirname, 'worker.js'), { execArgv: [] })
  worker.send(options)
  const exited = once(worker, 'exit')
  const [{ port }] = await Promise.race([
    once(worker, 'message'),
    exited.then(([code]) => {
      throw new Error(`the worker ended with ${code}`)
    })
  ])
  return {
    port,
    async close() {
      worker.disconnect()
      await exited
    }
  }
}

/** `second` is 'in this process' or 'in a process of its own'. */
async function startSites(later, second, options) {
  // A busy machine is no outage.
  const patient = { commandTimeoutMs: 10_000, ...options }
  const start = async (starting) => {
    const site = await starting
    later(() => site.close())
    return new Site(later, site)
  }
  return [
    await start(serveSteps(patient)),
    await start((second === 'in this process' ? serveSteps : forkSite)(patient))
  ]
}

let gates = 0

/** Keeps connections, and no cookies: each request brings the cookie that it wants. */
class Connections extends Agent {
  keep() {}
}

class Site {
  #connections

  constructor(later, { port, store }) {
    /** Only of a site in this process. */
    this.store = store
    this.#connections = new Connections(port)
    later(() => this.#connections.close())
  }

  /** Takes the steps in one request of the visitor with the session `id`, or of a new one. */
  async run(id, ...steps) {
    const cookie = id && { cookie: `${COOKIE}=${encodeURIComponent(signed(id))}` }
    const { status, body } = await this.#connections.post('/steps', steps, cookie)
    return { status, ...body }
  }

  /** The session that a new visitor gets, with data from `steps`: its id. */
  async login(...steps) {
    const { id } = await this.run(undefined, ...steps)
    return id
  }

  async look(id) {
    const { data, id: found } = await this.run(id)
    return found === id ? data : null
  }

  async stats() {
    return (await this.#connections.get('/stats')).body
  }

  /** A gate for the step `['wait', gate.name]`. */
  gate() {
    const name = `gate-${++gates}`
    return {
      name,
      /** Resolves with the session ids of those who wait, when there are `count`. */
      reached: async (count = 1) => (await this.#connections.get(`/gates/${name}/${count}`)).body,
      open: () => this.#connections.post(`/gates/${name}`)
    }
  }
}

/** As express-session signs: HMAC-SHA256, base64 without its padding. */
function signed(id) {
  const mac = crypto.createHmac('sha256', SECRET).update(id).digest('base64').replace(/=+$/, '')
  return `s:${id}.${mac}`
}

module.exports = { Site, startSites }
