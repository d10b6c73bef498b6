// One process of a run, forked by the driver: a store of its own, and users who do to sessions what express-session
// does, one step after the other. Everything is told to the driver.

const { setTimeout: pause } = require('node:timers/promises')
const session = require('express-session')
const { RedisStore } = require('../..')
const { until } = require('../support/until')
const { hashOf, randomFrom } = require('./random')
const { Recorder } = require('./recorder')

const LIFETIME_MS = 600_000
const SHOWN = ['hits', 'misses', 'invalidations', 'merged', 'conflicts', 'refused', 'replayed', 'timeouts']

const { name, seed, users, pauseMs, settleMs, maxStaleMs, options } = JSON.parse(process.env.TORTURE_WORKER)

const store = new RedisStore({ ...options, logger: false })
const recorder = new Recorder(store, name)
let values = 0
// Sessions that all processes use, by their place in the pool; and some that are gone, which nobody must see again.
let pool = []
let gone = []
let running = true

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

  request() {
    const place = this.random.whole(0, pool.length - 1)
    const sid = pool[place]
    if (!sid) return this.create(place)
    if (gone.length > 0 && this.random.chance(0.1)) return this.read(this.random.pick(gone))
    // Some processes only read some sessions: what they have cached is not renewed by writing.
    const onlyReads = hashOf(`${seed} ${name} ${sid}`) % 3 === 0
    const kind = this.random.weighted(onlyReads ? READING : MIXED)
    return this[kind](sid, place)
  }

  read(sid) {
    return recorder.load(sid)
  }

  async touch(sid) {
    const loaded = await recorder.load(sid)
    if (!loaded) return
    await this.think()
    await recorder.touch(loaded)
  }

  async modify(sid) {
    const loaded = await recorder.load(sid)
    if (!loaded) return
    await this.think()
    await this.save(loaded)
    if (this.random.chance(0.2)) await this.save(loaded)
  }

  /** A request that takes so long that anything may happen to its session meanwhile. */
  async linger(sid) {
    const loaded = await recorder.load(sid)
    if (!loaded) return
    await pause(this.random.between(50, 1500))
    if (this.random.chance(0.5)) await this.save(loaded)
    else await recorder.touch(loaded)
  }

  async destroy(sid, place) {
    if (!(await recorder.load(sid))) return
    if (pool[place] === sid) process.send({ place, gone: sid })
    await recorder.destroy(sid)
    await recorder.load(sid)
  }

  async regenerate(sid, place) {
    await this.destroy(sid, place)
    await this.create(place)
  }

  async create(place) {
    const sid = `${seed}_${this.slot}_${++values}`.replace(/[^\w-]/g, '_').padEnd(24, '_')
    const request = { sessionID: sid, sessionStore: store }
    const cookie = new session.Cookie({ maxAge: LIFETIME_MS })
    await this.save(new session.Session(request, { cookie, slots: {} }), true)
    process.send({ place, made: sid })
  }

  save(loaded, creates) {
    return recorder.save(loaded, this.slot, ++values, creates)
  }

  async think() {
    if (this.random.chance(0.5)) await pause(this.random.between(0, 30))
  }
}

const MIXED = { read: 60, touch: 15, modify: 20, linger: 2, destroy: 1.5, regenerate: 1.5 }
const READING = { read: 95, touch: 5 }

function tell() {
  if (recorder.records.length > 0 && process.connected) process.send({ records: recorder.records.splice(0) })
}

/** After the last request, everything has to get to Redis, and is looked at once more. */
async function settle(lives) {
  running = false
  await Promise.all(lives)
  const isInTouch = async () => {
    await recorder.load('nobody-has-this-session')
    return recorder.isInStep
  }
  // If it takes too long, the judge sees it.
  await until(isInTouch, { ms: settleMs, every: 100 }).catch(() => {})
  await pause(maxStaleMs)
  for (const sid of [...pool, ...gone]) if (sid) await recorder.load(sid)
  const stats = store.stats()
  await store.close()
  recorder.note('closed')
  tell()
  process.send({ stats: Object.fromEntries(SHOWN.map((counter) => [counter, stats[counter]])) })
  process.disconnect()
}

async function start() {
  await store.ready()
  const lives = Array.from({ length: users }, (_, number) => new User(number).live())
  const telling = setInterval(tell, 200)
  process.on('message', ({ stop }) => {
    if (!stop) return
    clearInterval(telling)
    settle(lives)
  })
}

process.on('message', (message) => {
  if (message.pool) pool = message.pool
  if (message.gone) gone = message.gone
  if (message.blockMs) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, message.blockMs)
  if (message.start) start()
})
process.on('disconnect', () => process.exit())
process.send({ born: true })
