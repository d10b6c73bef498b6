// A real redis-server of the test's own: free port, own directory and configuration, and the faults that a server can
// have. Nothing stays behind: when this process dies, however it dies, a watchdog ends the server and its directory.
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const tls = require('node:tls')
const { createClient } = require('redis')
const { makeCertificates } = require('./certificates')
const { freePort } = require('./port')
const { until } = require('./until')
const { watchOver } = require('./watchdog')

const HOST = '127.0.0.1'

/**
 * - `port`: a free one by default
 * - `password`, `unixSocket: true`, `tls: true | 'mutual'` (the server asks for a client certificate)
 * - `persistence: true`: every write is on disk before it is answered, so that a kill loses nothing
 * - `args`: more of redis-server's own, such as `['--maxmemory', '10mb']`
 */
async function startRedis(options = {}) {
  for (let attempt = 1; ; attempt++) {
    const server = new RedisServer({ ...options, port: options.port ?? (await freePort()) })
    try {
      await server.start()
      return server
    } catch (error) {
      await server.stop()
      if (attempt === 3 || options.port) throw error
    }
  }
}

class RedisServer {
  #options
  #directory
  #process
  #watchdog
  #client

  constructor(options) {
    this.#options = options
    this.#directory = fs.mkdtempSync(path.join(os.tmpdir(), 'meetabl-redis-'))
    fs.mkdirSync(this.#dataDirectory)
    this.host = HOST
    this.port = options.port
    this.password = options.password
    this.socketPath = options.unixSocket ? path.join(this.#directory, 'redis.sock') : undefined
    this.tls = options.tls ? makeCertificates(this.#directory) : undefined
    const login = options.password ? `:${encodeURIComponent(options.password)}@` : ''
    this.url = `${options.tls ? 'rediss' : 'redis'}://${login}${HOST}:${options.port}`
  }

  get #dataDirectory() {
    return path.join(this.#directory, 'data')
  }

  get pid() {
    return this.#process?.pid
  }

  /** A client of the test's own, connected lazily. It reconnects quickly by itself when the server comes back. */
  get client() {
    this.#client ??= this.#connectClient()
    return this.#client
  }

  command(...args) {
    return this.client.sendCommand(args.map((arg) => (Buffer.isBuffer(arg) ? arg : String(arg))))
  }

  async start() {
    this.#process = spawn('redis-server', this.#arguments(), { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.on('data', (chunk) => (output += chunk))
      stream.unref()
    }
    this.#process.unref()
    await once(this.#process, 'spawn')
    this.#watchdog = watchOver(this.#process.pid, this.#directory)
    const answers = async () => {
      if (hasExited(this.#process)) return true
      return /^(\+PONG|-NOAUTH)/.test(await this.#ping())
    }
    await until(answers, { what: 'redis-server to answer PING' })
    if (hasExited(this.#process)) throw new Error(`redis-server did not start: ${output}`)
  }

  /** As if the machine were lost: SIGKILL. */
  async kill() {
    const server = this.#process
    this.#process = undefined
    if (server?.pid && !hasExited(server)) {
      const exited = once(server, 'exit')
      server.ref()
      server.kill('SIGKILL')
      await exited
    }
    this.#watchdog?.kill()
    this.#watchdog = undefined
  }

  /** As if the machine stalled: SIGSTOP. Connections stay open, and nothing answers. */
  async pause() {
    this.#process.kill('SIGSTOP')
    const stat = `/proc/${this.pid}/stat`
    if (fs.existsSync(stat)) await until(() => / [Tt] /.test(fs.readFileSync(stat, 'utf8')), { what: 'the stop' })
  }

  resume() {
    this.#process.kill('SIGCONT')
  }

  /** Comes back on the same port with its data (which needs `persistence`) or `empty`. */
  async restart({ empty = !this.#options.persistence } = {}) {
    if (!empty && !this.#options.persistence) throw new Error('to come back with data, persistence must be on')
    await this.kill()
    if (empty) {
      fs.rmSync(this.#dataDirectory, { recursive: true, force: true })
      fs.mkdirSync(this.#dataDirectory)
    }
    await this.start()
  }

  async stop() {
    if (this.#client?.isOpen) this.#client.destroy()
    this.#client = undefined
    await this.kill()
    fs.rmSync(this.#directory, { recursive: true, force: true })
  }

  #arguments() {
    const { port, password, persistence, args = [] } = this.#options
    const durable = persistence ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--appendonly', 'no']
    return [
      ...['--bind', HOST, '--dir', this.#dataDirectory, '--save', '', '--enable-debug-command', 'yes'],
      ...durable,
      ...(this.tls ? ['--port', 0, '--tls-port', port, ...this.#tlsArguments()] : ['--port', port]),
      ...(password ? ['--requirepass', password] : []),
      ...(this.socketPath ? ['--unixsocket', this.socketPath] : []),
      ...args
    ].map(String)
  }

  #tlsArguments() {
    const { ca, cert, key } = this.tls.paths
    const asksClients = this.#options.tls === 'mutual' ? 'yes' : 'no'
    const files = ['--tls-ca-cert-file', ca, '--tls-cert-file', cert, '--tls-key-file', key]
    return [...files, '--tls-auth-clients', asksClients]
  }

  #ping() {
    return new Promise((resolve, reject) => {
      const { ca, cert, key } = this.tls ?? {}
      const address = { host: HOST, port: this.port }
      const socket = this.tls ? tls.connect({ ...address, ca, cert, key }) : net.connect(address)
      socket.setTimeout(1000, () => socket.destroy(new Error('no answer to PING')))
      socket.once('error', reject)
      socket.once('data', (reply) => {
        socket.destroy()
        resolve(reply.toString())
      })
      socket.write('PING\r\n')
    })
  }

  #connectClient() {
    const { ca, cert, key } = this.tls ?? {}
    const secure = this.tls ? { tls: true, ca, cert, key } : {}
    const socket = { host: HOST, port: this.port, reconnectStrategy: 20, ...secure }
    const client = createClient({ socket, password: this.password })
    client.on('error', () => {})
    client.connect().catch(() => {})
    return client
  }
}

function hasExited(child) {
  return child.exitCode !== null || child.signalCode !== null
}

module.exports = { startRedis }
