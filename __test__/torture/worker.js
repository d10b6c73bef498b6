// One process of a run, forked by the driver: a store of its own, and users who do to sessions what express-session
// does, one step after the other. Every operation is told to the driver with its times.

const session = require('express-session')
const { RedisStore } = require('../..')
const { until } = require('../support/until')
const { setTimeout: pause } = require('node:timers/promises')
const { hashOf, randomFrom } = require('./random')

const LIFETIME_MS = 600_000
const { name, seed, origin, users, pauseMs, settleMs, maxStaleMs, options } = JSON.parse(process.env.TORTURE_WORKER)

const store = new RedisStore({ ...options, logger: false })
const counts = { operations: 0, values: 0 }
const records = []
// Sessions that all processes use, by their place in the pool; and some that are gone, which nobody must see again.
let pool = []
let gone = []
let running = true
let isAway = false

const now = () => Number(process.hrtime.bigint() - BigInt(origin)) / 1e6

for (const event of ['ready', 'fallback', 'recovered']) {
  store.on(event, () => {
    if (event !== 'ready') isAway = event === 'fallback'
    records.push({ type: 'event', worker: name, name: event, at: now() })
  })
}

/** What tells whether the store was in step with Redis from one moment to another. */
function standing() {
  const { connections, servedFromMemory, timeouts } = store.stats()
  return { state: store.state, isAway, counters: `${connections} ${servedFromMemory} ${timeouts}` }
}

function answeredBy(before, after) {
  const isInStep = [before, after].every(({ state, isAway }) => state === 'ready' && !isAway)
  if (isInStep && before.counters === after.counters) return 'redis'
  return after.state === 'degraded' && after.isAway ? 'memory' : 'unsure'
}

/** Calls the store as express-session does and takes the record. Resolves with what the callback got. */
function operate(type, sid, details, ...args) {
  const record = { type, id: `${name}-${++counts.operations}`, worker: name, sid, ...details }
  const method = type === 'get' || type === 'touch' || type === 'destroy' ? type : 'set'
  const before = standing()
  return new Promise((resolve) => {
    const answer = (error, value) => {
      if (record.end !== undefined) {
        record.twice = true
        return
      }
      record.end = now()
      record.by = answeredBy(before, standing())
      if (error) record.error = String(error.code ?? error)
      if (type === 'get') record.found = slotsOf(value)
      records.push(record)
      resolve(error ? undefined : value)
    }
    record.start = now()
    store[method](sid, ...args, answer)
  })
}

const slotsOf = (value) => (value ? { ...value.slots } : null)

/** What is asked of one user: one request after the other. */
class User {
  constructor(number) {
    this.slot = `${name}.${number}`
    this.random = randomFrom(`${seed} ${this.slot}`)
  }

  async live() {
    while (running) {
      await this.request()
      await pause(this.random.between(0, pauseMs * 2))
    }
  }

  async request() {
    const place = this.random.whole(0, pool.length - 1)
    const sid = pool[place]
    if (!sid) return this.create(place)
    if (gone.length > 0 && this.random.chance(0.1)) return this.load(this.random.pick(gone))
    // Some processes only read some sessions: what they have cached is not renewed by writing.
    const onlyReads = hashOf(`${seed} ${name} ${sid}`) % 3 === 0
    const kind = this.random.weighted(onlyReads ? READING : MIXED)
    return this[kind](sid, place)
  }

  async load(sid) {
    const data = await operate('get', sid)
    return data ? store.createSession({ sessionID: sid, sessionStore: store }, data) : undefined
  }

  async read(sid) {
    await this.load(sid)
  }

  async touch(sid) {
    const loaded = await this.load(sid)
    if (!loaded) return
    await this.think()
    loaded.touch()
    await operate('touch', sid, {}, loaded)
  }

  async modify(sid) {
    const loaded = await this.load(sid)
    if (!loaded) return
    await this.think()
    await this.save(loaded)
    if (this.random.chance(0.2)) await this.save(loaded)
  }

  /** A request that takes so long that anything may happen to its session meanwhile. */
  async linger(sid) {
    const loaded = await this.load(sid)
    if (!loaded) return
    await pause(this.random.between(50, 1500))
    if (this.random.chance(0.5)) return this.save(loaded)
    loaded.touch()
    await operate('touch', sid, {}, loaded)
  }

  async destroy(sid, place) {
    if (!(await this.load(sid))) return
    if (pool[place] === sid) process.send({ place, gone: sid })
    await operate('destroy', sid)
    await this.load(sid)
  }

  async regenerate(sid, place) {
    await this.destroy(sid, place)
    await this.create(place)
  }

  async create(place) {
    const sid = `${seed}_${this.slot}_${++counts.values}`.replace(/[^\w-]/g, '_').padEnd(24, '_')
    const request = { sessionID: sid, sessionStore: store }
    const created = new session.Session(request, { cookie: new session.Cookie({ maxAge: LIFETIME_MS }), slots: {} })
    await this.save(created, { creates: true })
    process.send({ place, made: sid })
  }

  /** A new value in this user's own slot, and one thing that all users change. */
  async save(loaded, details) {
    const value = ++counts.values
    loaded.slots[this.slot] = value
    loaded.lastBy = this.slot
    await operate('set', loaded.id, { ...details, slot: this.slot, value }, loaded)
  }

  async think() {
    if (this.random.chance(0.5)) await pause(this.random.between(0, 30))
  }
}

const MIXED = { read: 60, touch: 15, modify: 20, linger: 2, destroy: 1.5, regenerate: 1.5 }
const READING = { read: 95, touch: 5 }

function tell() {
  if (records.length > 0 && process.connected) process.send({ records: records.splice(0) })
}

/** Ends like a run of requests does; then everything has to be in Redis, and is looked at once more. */
async function settle(lives) {
  running = false
  await Promise.all(lives)
  const inTouch = async () => {
    await operate('get', 'nobody-has-this-session')
    return store.state === 'ready' && !isAway
  }
  await until(inTouch, { ms: settleMs, every: 100, what: 'Redis' }).catch(() => {})
  const last = new User('last')
  await pause(maxStaleMs)
  for (const sid of [...pool, ...gone]) if (sid) await last.load(sid)
  const { hits, misses, invalidations, merged, conflicts, refused, replayed, timeouts } = store.stats()
  await store.close()
  records.push({ type: 'event', worker: name, name: 'closed', at: now() })
  tell()
  process.send({ stats: { hits, misses, invalidations, merged, conflicts, refused, replayed, timeouts } })
  process.disconnect()
}

process.on('message', (message) => {
  if (message.pool) pool = message.pool
  if (message.gone) gone = message.gone
  if (message.blockMs) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, message.blockMs)
  if (message.start) start()
})
process.on('disconnect', () => process.exit())

async function start() {
  await store.ready()
  const lives = Array.from({ length: users }, (_, number) => new User(number).live())
  const telling = setInterval(tell, 200)
  process.once('message', function stop(message) {
    if (!message.stop) return process.once('message', stop)
    clearInterval(telling)
    return settle(lives)
  })
}

process.send({ born: true })
