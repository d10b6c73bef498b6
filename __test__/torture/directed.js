// The two races of tracking that serve a stale session for ever when they are lost, made on purpose: DESIGN's facts 6.1
// and 6.5. Two stores; the reader's way to Redis leads through a proxy that puts things in the wrong order.

const { setTimeout: pause } = require('node:timers/promises')
const session = require('express-session')
const { RedisStore } = require('../..')
const { startProxy } = require('../support/proxy')
const { startRedis } = require('../support/redis')
const { until } = require('../support/until')
const { Recorder } = require('./recorder')

const PREFIX = 'directed:'
const LIFETIME_MS = 600_000

/** Resolves with the history, for the judge. No fault is in it: Redis is reachable all the time. */
async function directed({ rounds = 20, maxStaleMs = 200 } = {}) {
  const cleanups = []
  try {
    return await race({ rounds, maxStaleMs, later: (cleanup) => cleanups.push(cleanup) })
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup()
  }
}

async function race({ rounds, maxStaleMs, later }) {
  const redis = await startRedis()
  later(() => redis.stop())
  const proxy = await startProxy(redis.port)
  later(() => proxy.stop())
  const options = { prefix: PREFIX, logger: false, touchWindowMs: 0, cache: { maxStaleMs } }
  const stores = [proxy.port, redis.port].map((port) => {
    const store = new RedisStore({ ...options, host: redis.host, port })
    later(() => store.close())
    return store
  })
  // It listens to the stores' events from the beginning.
  const scene = new Scene(stores, proxy)
  await Promise.all(stores.map((store) => store.ready()))
  for (let round = 0; round < rounds; round++) {
    for (const name of RACES) await scene[name]()
  }
  // Whoever has missed the other's change shows it for ever, so all can be looked at together.
  await pause(maxStaleMs)
  await scene.readAll()
  return scene.history
}

const RACES = ['ownSaveThenAnothers', 'ownTouchThenAnothers', 'invalidationWithTheReply', 'invalidationBeforeTheReply']

class Scene {
  #reader
  #readersStore
  #writer
  #writersStore
  #proxy
  #values = 0
  #sids = []

  constructor([readersStore, writersStore], proxy) {
    this.#readersStore = readersStore
    this.#writersStore = writersStore
    this.#reader = new Recorder(readersStore, 'reader')
    this.#writer = new Recorder(writersStore, 'writer')
    this.#proxy = proxy
  }

  get history() {
    return [...this.#reader.records, ...this.#writer.records].sort((one, other) => one.start - other.start)
  }

  async readAll() {
    for (const sid of this.#sids) await this.#reader.load(sid)
  }

  /** 6.1: the own write ends the tracking of the key, unless it is read in the same step. */
  async ownSaveThenAnothers() {
    const sid = await this.#create()
    await this.#reader.save(await this.#reader.load(sid), 'reader', ++this.#values)
    await this.#reader.load(sid)
    await this.#change(sid)
  }

  async ownTouchThenAnothers() {
    const sid = await this.#create()
    await this.#reader.touch(await this.#reader.load(sid))
    // The touch is sent when the next command is.
    await this.#reader.load('nobody-has-this-session')
    await this.#reader.load(sid)
    await this.#change(sid)
  }

  /** 6.5: the reply and the invalidation that follows it arrive in one piece. */
  async invalidationWithTheReply() {
    const sid = await this.#create()
    const held = this.#proxy.holdNext((chunk) => chunk.includes(`"writer":${this.#values}`))
    const loading = this.#reader.load(sid)
    await held
    await this.#change(sid)
    await briefly(() => this.#proxy.held.includes('invalidate'))
    this.#proxy.release()
    await loading
  }

  /** 6.5: the invalidation arrives before the rest of the replies that the load's reply is part of. */
  async invalidationBeforeTheReply() {
    const [sid, other] = [await this.#create(), await this.#create()]
    const session = await this.#reader.load(other)
    const { invalidations } = this.#readersStore.stats()
    const split = this.#proxy.splitNext((chunk) => chunk.includes(sid))
    const loading = [this.#reader.load(sid), this.#reader.touch(session)]
    await split
    await this.#change(sid)
    await briefly(() => this.#readersStore.stats().invalidations > invalidations)
    this.#proxy.release()
    await Promise.all(loading)
  }

  async #create() {
    const sid = `directed-${this.#sids.length}`.padEnd(24, '_')
    this.#sids.push(sid)
    const request = { sessionID: sid, sessionStore: this.#writersStore }
    const cookie = new session.Cookie({ maxAge: LIFETIME_MS })
    await this.#writer.save(new session.Session(request, { cookie, slots: {} }), 'writer', ++this.#values, true)
    return sid
  }

  async #change(sid) {
    await this.#writer.save(await this.#writer.load(sid), 'writer', ++this.#values)
  }
}

// A build that has no cache has no invalidations, and nothing to be raced.
function briefly(condition) {
  return until(condition, { ms: 300, every: 1 }).catch(() => {})
}

module.exports = { directed }
