'use strict'

// Sessions that are known without asking Redis. The addon shows in numbers that both see which of what is kept parsed may
// still be trusted: to look there takes a tenth of the time that a call would.

const { known, words } = require('../binding')

// What the addon says instead of a text.
const ASK = -1
const MISSING = -2

// Where the numbers have what: until when all of it may be trusted, on two clocks, and one version for each slot.
const LEASE_STEADY = 0
const LEASE_WALL = 1
const FIRST_SLOT = 2

// Tests may set `Date` and `performance` to another time. This clock goes on.
const steady = performance.now.bind(performance)

// No slot: what is asked for is not kept.
const NO_SLOT = 2 ** 32 - 1

class Known {
  #store
  #parsed
  #parse
  #words

  /**
   * For the store that the addon calls by this number. Sessions are kept in `parsed`, unless it is null. `parse(sid, text)`
   * makes a session, or null, of a text.
   */
  constructor(store, parsed, parse) {
    this.#store = store
    this.#parsed = parsed
    this.#parse = parse
    this.#words = words(store)
  }

  /** Sessions that were found without a call. */
  hits = 0

  /**
   * `{ text, session, end }` with a session that is the caller's own, null when there is none, and undefined when Redis has
   * to be asked. The end, on the wall clock, is infinite also when the session's cookie has been renewed already.
   */
  get(sid) {
    const now = steady()
    const wall = Date.now()
    const kept = this.#trusted(sid, now, wall)
    if (kept === undefined) return this.#ask(sid, now, wall)
    this.hits++
    const session = kept.read(wall + kept.steadyEnd - now, this.#parse)
    return { text: kept.text, session, end: Number.POSITIVE_INFINITY }
  }

  /** Moves the end of a session, at this time of the wall clock. Returns what is kept of it, undefined when that may not be trusted. */
  touch(sid, lifetime, wall) {
    const now = steady()
    const kept = this.#trusted(sid, now, wall)
    if (kept !== undefined) kept.steadyEnd = now + lifetime
    return kept
  }

  /**
   * A session that is kept is about to be saved. Returns its slot, -1 without one, and what to call with the version that its
   * text has when it was.
   */
  saving(sid, text, lifetime) {
    const slot = this.#parsed?.recall(sid)?.slot ?? -1
    const steadyEnd = steady() + lifetime
    const saved = (version) => {
      const former = this.#parsed.recall(sid)
      if (former?.slot !== slot) return
      const kept = former.text === text ? former : this.#parsed.keep(sid, text)
      if (kept === undefined) return
      kept.version = version
      kept.steadyEnd = steadyEnd
    }
    return { slot, saved }
  }

  #trusted(sid, now, wall) {
    const kept = this.#parsed?.recall(sid)
    const numbers = this.#words
    if (kept === undefined || numbers[FIRST_SLOT + kept.slot] !== kept.version || now >= kept.steadyEnd)
      return undefined
    return now <= numbers[LEASE_STEADY] && wall <= numbers[LEASE_WALL] ? kept : undefined
  }

  #ask(sid, now, wall) {
    const reply = known(this.#store, sid, this.#parsed?.slotFor(sid) ?? NO_SLOT, now)
    if (reply === ASK) return undefined
    if (reply === MISSING) return null
    const [text, version, life] = reply
    const kept = this.#parsed?.keep(sid, text)
    if (kept === undefined) return { text, session: this.#parse(sid, text), end: wall + life }
    kept.version = version
    kept.steadyEnd = now + life
    return { text, session: kept.read(wall + life, this.#parse), end: Number.POSITIVE_INFINITY }
  }
}

module.exports = { Known }
