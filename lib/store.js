'use strict'

// The express-session store.

const { setImmediate: nextTurn } = require('node:timers/promises')

const { Store } = require('express-session')

const native = require('../binding')
const { Bases } = require('./bases')
const { isCallback, Operations } = require('./callback')
const { read, write } = require('./codec')
const { collectSettings } = require('./env')
const { createError, describe, fromNative } = require('./errors')
const { expiryOf, renewCookie } = require('./expiry')
const { Known } = require('./known')
const { endOf, lifetimeOf } = require('./lifetime')
const { listing } = require('./listing')
const { createLog } = require('./logger')
const { Parsed } = require('./parsed')
const { NO_BASE, NO_SLOT, Requests } = require('./requests')
const { checkStoreOptions } = require('./store-options')
const { Writing } = require('./writing')

// The addon's reply when nothing has to be done.
const ANSWERED = []

const done = () => {}
const same = (value) => value

class RedisStore extends Store {
  #native
  // What the addon calls this store. To ask it each time would take longer than a call.
  #number
  #requests
  #operations = new Operations()
  #bases
  #parsed = null
  #known = null
  #readJson = (sid, text) => this.#parse(sid, text)
  #skipWhenDown = false
  #writing = new Writing()

  constructor(options = {}) {
    super()
    const {
      ttl,
      serializer = JSON,
      logger,
      concurrency = 'merge',
      skipWhenDown = false,
      ...rest
    } = checkStoreOptions(options)
    const log = createLog(logger)
    // A function is called here; the addon is told of the default.
    const settings = { ...rest, ttl: typeof ttl === 'function' ? 86_400 : ttl }
    this.#native = this.#createNative(collectSettings(settings, process.env), log)
    this.#operations.attach(this.#native)
    this.#number = this.#native.number
    this.#requests = new Requests(this.#number, this.#operations)

    const config = this.#native.config
    this.prefix = config.prefix
    this.ttl = typeof ttl === 'function' ? ttl : config.ttl
    this.scanCount = config.scanCount
    this.disableTTL = config.disableTTL
    this.disableTouch = config.disableTouch
    this.serializer = serializer
    this.concurrency = concurrency
    this.#skipWhenDown = skipWhenDown
    // Nobody knows how to copy what another serializer makes.
    if (serializer === JSON) this.#parsed = new Parsed(typeof ttl !== 'function')
    if (config.cache) {
      this.#known = new Known(this.#number, this.#parsed, this.#readJson)
    }
    this.#bases = new Bases(concurrency === 'merge' && serializer === JSON)
  }

  get(sid, callback) {
    const known = this.#find(sid)
    if (known !== undefined) return this.#give(callback, known === null ? null : this.#loaded(sid, known))
    return this.#operations.run(
      callback,
      (operation) => this.#requests.get(operation, checkId(sid)),
      (text, end) => (text === null ? null : this.#read(sid, text, end))
    )
  }

  set(sid, session, callback) {
    let known
    let note
    return this.#change(
      callback,
      sid,
      (operation) => {
        const lifetime = lifetimeOf(session, this)
        if (lifetime <= 0) return this.#requests.destroy(operation, checkId(sid))
        const text = write(this.serializer, session)
        const life = this.disableTTL ? Number.POSITIVE_INFINITY : lifetime
        const base = this.#bases.get(sid, session)
        // What is new, Redis does not tell of.
        if (base !== NO_BASE) known = this.#known?.saving(sid, text, life)
        const reply = this.#requests.set(operation, checkId(sid), text, life, { base, slot: known?.slot ?? NO_SLOT })
        note = this.#bases.saving(sid, session, text)
        return reply
      },
      (version) => {
        this.#bases.saved(note)
        if (version > 0) known.saved(version)
      },
      () => this.#bases.failed(session, note)
    )
  }

  /** As express-session's, and remembers what the session was made from. */
  createSession(req, data) {
    const session = super.createSession(req, data)
    this.#bases.hand(data, session)
    return session
  }

  touch(sid, session, callback) {
    if (typeof callback === 'function' && this.#touchKnown(sid, session)) return callback(null)
    return this.#change(callback, sid, (operation) => {
      checkId(sid)
      if (this.disableTouch || this.disableTTL) return this.#answer()
      const lifetime = lifetimeOf(session, this)
      if (lifetime <= 0) return this.#requests.destroy(operation, sid)
      if (this.#writing.has(sid)) return this.#requests.touch(operation, sid, lifetime)
      this.#requests.touchNow(sid, lifetime)
      return ANSWERED
    })
  }

  destroy(sid, callback) {
    return this.#change(callback, sid, (operation) => this.#requests.destroy(operation, checkId(sid)))
  }

  // Until it is answered, what is known of the session is past.
  #change(callback, sid, start, succeeded = done, failed = done) {
    let written
    const end = () => {
      if (written !== undefined) this.#writing.end(written)
    }
    return this.#operations.run(
      callback,
      (operation) => {
        const reply = start(operation)
        if (reply === null) written = this.#writing.begin(sid)
        return reply
      },
      (version) => {
        end()
        succeeded(version)
      },
      () => {
        end()
        failed()
      }
    )
  }

  clear(callback) {
    return this.#run(callback, (operation) => this.#native.clear(this.#admit(operation)), done)
  }

  length(callback) {
    return this.#run(callback, (operation) => this.#native.length(this.#admit(operation)), same)
  }

  ids(callback) {
    return listing(callback, () => this.#pages(false))
  }

  all(callback) {
    return listing(callback, () => this.#sessions())
  }

  ready() {
    return this.#run(undefined, (operation) => this.#native.ready(operation), same)
  }

  close() {
    // From here on the addon has to be asked: it refuses.
    this.#requests.send()
    this.#known = null
    return this.#run(undefined, (operation) => this.#native.close(operation), done)
  }

  [Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]() {
    return this.close()
  }

  get state() {
    return this.#native.state
  }

  stats() {
    const stats = this.#native.stats()
    const hits = this.#known?.hits ?? 0
    return { ...stats, gets: stats.gets + hits, hits: stats.hits + hits, inFlight: this.#operations.underWay }
  }

  // For what the addon need not hear of, and would refuse all the same.
  #answer() {
    if (this.state !== 'closed') return ANSWERED
    throw createError(
      'ERR_STORE_CLOSED',
      'The session store is closed. Nothing can be read or written after `close()`.'
    )
  }

  // For what is about all sessions: after everything that was asked for so far.
  #run(callback, start, read) {
    this.#requests.send()
    return this.#operations.run(callback, start, read)
  }

  #admit(operation) {
    this.#operations.admit()
    return operation
  }

  /** Makes the addon's store. It does not keep this one alive. */
  #createNative(settings, log) {
    const [weakStore, weakOperations] = [new WeakRef(this), new WeakRef(this.#operations)]
    const notify = (isLog, name, first, second) => {
      if (isLog) log(name, first)
      else weakStore.deref()?.#notice(name, first, second)
    }
    try {
      return new native.NativeStore(settings, (numbers, texts, rare) => {
        weakOperations.deref()?.deliver(numbers, texts, rare, notify)
      })
    } catch (error) {
      throw fromNative(error)
    }
  }

  #notice(name, first, second) {
    if (name === 'fallback') this.#requests.setDirect(true)
    // express-session goes on without sessions then, until it hears `connect`.
    if (name === 'fallback' && this.#skipWhenDown) this.emit('disconnect')
    if (name === 'recovered') this.#requests.setDirect(false)
    if (name === 'reconnecting') this.emit(name, { attempt: first, delayMs: second })
    else if (name === 'recovered') this.emit(name, { replayed: first })
    else if (name !== 'error') this.emit(name)
    // An `error` event that nobody listens to would end the process.
    else if (this.listenerCount(name) > 0) this.emit(name, createError(first, second))
  }

  async *#pages(withText) {
    const list = new native.NativeListing(withText)
    for (;;) {
      const page = await this.#run(undefined, (operation) => this.#native.next(this.#admit(operation), list), same)
      if (page === null) return
      yield page
      // Memory answers at once, and a long list must not keep everything else waiting.
      await nextTurn()
    }
  }

  async *#sessions() {
    for await (const page of this.#pages(true)) {
      const sessions = []
      for (let at = 0; at < page.length; at += 2) {
        const session = await this.#parse(page[at], page[at + 1])
        if (session !== null) sessions.push(Object.assign(session, { id: page[at] }))
      }
      yield sessions
    }
  }

  /** The session in a stored text, with its live expiry; null when there is none in it. */
  #read(sid, text, end) {
    const kept = this.#parsed?.keep(sid, text, true)
    if (kept === undefined) return this.#loaded(sid, { text, session: this.#parse(sid, text), end })
    const session = kept.read(end, this.#readJson)
    return this.#loaded(sid, { text: kept.text, session, end: Number.POSITIVE_INFINITY })
  }

  #loaded(sid, { text, session, end }) {
    if (typeof session?.then === 'function') {
      return session.then((parsed) => this.#loaded(sid, { text, session: parsed, end }))
    }
    if (session !== null) this.#bases.loaded(sid, session, text)
    return this.#renew(session, end)
  }

  /** What is known without asking, undefined when nothing is. A write that is under way comes first. */
  #find(sid) {
    if (this.#known === null || typeof sid !== 'string' || this.#writing.has(sid)) return undefined
    return this.#known.get(sid)
  }

  #give(callback, result) {
    if (typeof result?.then === 'function' || !isCallback(callback)) {
      return this.#operations.run(
        callback,
        () => ANSWERED,
        () => result
      )
    }
    callback(null, result)
  }

  #parse(sid, text) {
    return read(this.serializer, text, (reason) => this.#unreadable(sid, reason))
  }

  #unreadable(sid, reason) {
    this.#native.reportUnreadable(sid, reason)
    return null
  }

  // A `ttl` function gives the key another life than the cookie, so then the cookie's expiry stays as it was stored.
  #renew(session, end) {
    if (end === Number.POSITIVE_INFINITY || typeof this.ttl === 'function') return session
    const expires = expiryOf(session)
    if (!Number.isNaN(expires)) renewCookie(session, expires, end)
    return session
  }

  /** Renews a session of which all is known, as most are. `false` when it takes more. */
  #touchKnown(sid, session) {
    if (this.#known === null || typeof this.ttl === 'function') return false
    if (this.disableTouch || this.disableTTL || this.#writing.has(sid)) return false
    const now = Date.now()
    const lifetime = endOf(session) - now
    const kept = lifetime > 0 ? this.#known.touch(sid, lifetime, now) : undefined
    if (kept === undefined) return false
    this.#requests.renew(kept, lifetime)
    return true
  }
}

function checkId(sid) {
  if (typeof sid === 'string') return sid
  throw createError('ERR_INVALID_SESSION_ID', `The session id is ${describe(sid)}. Expected a string.`)
}

module.exports = { RedisStore }
