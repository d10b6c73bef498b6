// Runs several processes on one Redis, each through a proxy of its own, hurts them, and returns the history of what
// happened, for the judge.

const { fork } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { setTimeout: pause } = require('node:timers/promises')
const { startProxy } = require('../support/proxy')
const { startRedis } = require('../support/redis')
const { cleanEnvironment } = require('../support/script')
const { within } = require('../support/until')
const { watchOver } = require('../support/watchdog')
const { OF_PROCESS, OF_REDIS } = require('./faults')
const { randomFrom } = require('./random')
const { now } = require('./recorder')

const PREFIX = 'torture:'
const REMEMBERED = 24
const LOOK_EVERY_MS = 100
const SETTLE_MS = 20_000

/**
 * - `seed`: a text; `ms`: how long the processes work
 * - `processes`, `users` in each, `places` in the pool of sessions, `pauseMs` between two requests of a user
 * - `maxStaleMs` of the stores, and more options for them in `store`; `persistence` of Redis: without it, a kill loses everything
 * - `faults`: names of those that may happen; all by default
 * - `calmMs`: how long nothing happens between two faults, on the average
 *
 * Resolves with `{ history, stats }`.
 */
async function torture(options) {
  const run = new Run({
    processes: 3,
    users: 6,
    places: 16,
    pauseMs: 10,
    maxStaleMs: 1000,
    persistence: false,
    calmMs: 800,
    faults: [...Object.keys(OF_REDIS), ...Object.keys(OF_PROCESS)],
    ...options
  })
  try {
    return await run.toTheEnd()
  } finally {
    await run.cleanUp()
  }
}

class Run {
  #options
  #history = []
  #stats = {}
  #workers = []
  #pool
  #gone = []
  #made = new Set()
  #ending = new AbortController()
  #cleanups = []
  #redis

  constructor(options) {
    this.#options = options
    this.#pool = Array(options.places).fill(null)
  }

  async toTheEnd() {
    const { ms, persistence, processes } = this.#options
    this.#redis = await startRedis({ persistence })
    this.#later(() => this.#redis.stop())
    for (let number = 1; number <= processes; number++) await this.#addWorker(`p${number}`)
    this.#share({ pool: this.#pool })
    this.#share({ start: true })

    const looking = this.#lookRepeatedly()
    const tracks = [this.#hurt(OF_REDIS, undefined), ...this.#workers.map((worker) => this.#hurt(OF_PROCESS, worker))]
    await pause(ms)
    this.#ending.abort()
    await Promise.all(tracks)

    this.#share({ stop: true })
    await within(SETTLE_MS + 30_000, Promise.all(this.#workers.map(({ ended }) => ended)), 'the end of the processes')
    await within(SETTLE_MS, looking, 'the last look into Redis')
    await this.#look([...this.#made])
    const beginning = ({ start, at }) => start ?? at
    this.#history.sort((one, other) => beginning(one) - beginning(other))
    return { history: this.#history, stats: this.#stats }
  }

  async cleanUp() {
    this.#ending.abort()
    for (const cleanup of this.#cleanups.reverse()) await cleanup()
  }

  #later(cleanup) {
    this.#cleanups.push(cleanup)
  }

  async #addWorker(name) {
    const { seed, users, pauseMs, maxStaleMs, store } = this.#options
    const proxy = await startProxy(this.#redis.port)
    this.#later(() => proxy.stop())
    const setup = {
      ...{ name, seed, users, pauseMs, maxStaleMs, settleMs: SETTLE_MS },
      options: { host: proxy.host, port: proxy.port, prefix: PREFIX, cache: { maxStaleMs }, ...store }
    }
    const env = { ...cleanEnvironment(), TORTURE_WORKER: JSON.stringify(setup) }
    const child = fork(path.join(__dirname, 'worker.js'), {
      env,
      execArgv: [],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc']
    })
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'meetabl-torture-'))
    const watchdog = watchOver(child.pid, directory)
    const ended = once(child, 'exit').then(([code, signal]) => {
      watchdog.kill()
      fs.rmSync(directory, { recursive: true, force: true })
      if (code !== 0) this.#history.push({ type: 'died', worker: name, at: now(), reason: String(signal ?? code) })
    })
    this.#later(() => {
      child.kill('SIGKILL')
      return ended
    })
    const worker = { name, child, proxy, ended }
    this.#workers.push(worker)
    await within(10_000, Promise.race([once(child, 'message'), ended]), 'the start of a process')
    if (child.exitCode !== null) throw new Error('a process of the run could not be started: what it said is above')
    child.on('message', (message) => this.#hear(worker, message))
  }

  #hear({ name }, { records, stats, place, made, gone }) {
    if (records) this.#history.push(...records)
    if (stats) this.#stats[name] = stats
    if (made) {
      this.#made.add(made)
      this.#pool[place] = made
    }
    if (gone) this.#bury(gone, place)
    if (made || gone) this.#share({ pool: this.#pool, gone: this.#gone })
  }

  #bury(sid, place) {
    if (this.#pool[place] === sid) this.#pool[place] = null
    this.#gone = [sid, ...this.#gone].slice(0, REMEMBERED)
  }

  #share(message) {
    for (const { child } of this.#workers) if (child.connected) child.send(message)
  }

  /** What Redis itself holds, all the time: it tells a change that was lost from a read that was late. */
  async #lookRepeatedly() {
    while (!this.#ending.signal.aborted) {
      await this.#look([...this.#pool.filter(Boolean), ...this.#gone])
      await pause(LOOK_EVERY_MS)
    }
  }

  async #look(sids) {
    if (sids.length === 0) return
    const start = now()
    try {
      const texts = await this.#redis.command('MGET', ...sids.map((sid) => PREFIX + sid))
      const end = now()
      // An empty text marks a session that was destroyed.
      const found = texts.map((text) => (text ? JSON.parse(text).slots : null))
      for (const [at, sid] of sids.entries()) {
        this.#history.push({ type: 'stored', worker: 'Redis', sid, start, end, found: found[at] })
      }
    } catch {
      // It is away: there is nothing to see.
    }
  }

  /** One fault after the other of those that befall one target, with time between for everybody to recover. */
  async #hurt(kinds, worker) {
    const names = Object.keys(kinds).filter((name) => this.#options.faults.includes(name))
    const random = randomFrom(`${this.#options.seed} ${worker?.name}`)
    if (names.length === 0) return
    for (;;) {
      // A process is hurt less often than Redis: there are several, and some calm is needed to judge at all.
      await this.#during(random.between(0.5, 1.5) * this.#options.calmMs * (worker ? 4 : 1) + 1000)
      if (this.#ending.signal.aborted) return
      await this.#happen(random.pick(names), kinds, { random, worker })
    }
  }

  async #happen(name, kinds, { random, worker }) {
    const loses = name === 'FLUSHALL' || (name.startsWith('SIGKILL') && !this.#options.persistence)
    const fault = {
      ...{ type: 'fault', name, start: now(), loses, keepsConnections: name === 'FLUSHALL' },
      workers: worker ? [worker.name] : this.#workers.map((each) => each.name)
    }
    this.#history.push(fault)
    const during = (ms) => this.#during(ms)
    try {
      await kinds[name]({ redis: this.#redis, proxy: worker?.proxy, worker: worker?.child, during, random })
    } finally {
      fault.end = now()
    }
    if (loses) this.#startAnew()
  }

  /** What was in Redis is gone: the processes make new sessions, and look now and then for the old ones. */
  #startAnew() {
    const old = this.#pool.filter(Boolean)
    this.#pool = this.#pool.map(() => null)
    this.#gone = [...old, ...this.#gone].slice(0, REMEMBERED)
    this.#share({ pool: this.#pool, gone: this.#gone })
  }

  #during(ms) {
    return pause(ms, undefined, { signal: this.#ending.signal }).catch(() => {})
  }
}

module.exports = { torture }
