'use strict'

// Sessions that are known without asking Redis. What was parsed once is copied here, which takes a tenth of the time that
// parsing again would; and the addon shows in shared numbers which of it may still be trusted, which takes a tenth of the
// time that a call would.

const { known, words } = require('../binding')
const { expiryOf, renewCookie } = require('./expiry')

// What the addon says instead of a text.
const ASK = -1
const MISSING = -2

// Where the shared numbers have what: until when all of it may be trusted, on two clocks, and one version for each slot.
const LEASE_STEADY = 0
const LEASE_WALL = 1
const FIRST_SLOT = 2

// So many UTF-16 units of texts are kept parsed at the most, and none that is longer than this.
const MOST_UNITS = 4 << 20
const LONGEST = 16 << 10

// Tests may set `Date` and `performance` to another time. This clock stays.
const steady = performance.now.bind(performance)

/** A parsed session, from which others are copied. */
class Kept {
  #session
  #objects
  #expires

  /** `slot` shows `version` as long as it may be trusted, `end` is on the steady clock. */
  constructor({ sid, text, version, slot, end, session, expires }) {
    this.sid = sid
    this.text = text
    this.version = version
    this.slot = slot
    this.end = end
    this.#session = copy(session, objectsIn(session))
    this.#objects = objectsIn(session)
    this.#expires = expires
  }

  copy(life) {
    // NaN is not to be renewed.
    if (this.#expires === this.#expires) this.#expires = renewCookie(this.#session, this.#expires, life)
    return copy(this.#session, this.#objects)
  }
}

class Known {
  #store
  #isJson
  #renews
  #parse
  #words
  #young = new Map()
  #old = new Map()
  #units = 0
  #free = []
  #most

  /**
   * For the store that the addon calls by this number. `parse(sid, text)` makes a session, or null, of a text. What it
   * makes is kept only when it `isJson`: nobody knows how to copy anything else. Its cookie's expiry is the live one when
   * this `renews` it.
   */
  constructor(store, { isJson, renews, parse }) {
    this.#store = store
    this.#isJson = isJson
    this.#renews = renews
    this.#parse = parse
    this.#words = words(store)
    const slots = this.#words.length - FIRST_SLOT
    this.#most = slots / 2
    for (let slot = slots - 1; slot >= 0; slot--) this.#free.push(slot)
  }

  /** Sessions that were found without a call. */
  hits = 0

  /**
   * `{ text, session, life }` with a session that is the caller's own, null when there is none, and undefined when Redis
   * has to be asked. The life is infinite also when the session's cookie has been renewed already.
   */
  get(sid) {
    const kept = this.#recall(sid)
    const now = steady()
    if (kept === undefined || !this.#trusts(kept, now)) return this.#read(sid, kept, now)
    this.hits++
    return { text: kept.text, session: kept.copy(kept.end - now), life: Number.POSITIVE_INFINITY }
  }

  /** Moves the end of a session. Returns what is kept of it, undefined when that may not be trusted. */
  touch(sid, lifetime) {
    const kept = this.#recall(sid)
    const now = steady()
    if (kept === undefined || !this.#trusts(kept, now)) return undefined
    kept.end = now + lifetime
    return kept
  }

  #trusts(kept, now) {
    const numbers = this.#words
    if (numbers[FIRST_SLOT + kept.slot] !== kept.version || now >= kept.end) return false
    return now <= numbers[LEASE_STEADY] && Date.now() <= numbers[LEASE_WALL]
  }

  #read(sid, former, now) {
    // There is a free one: each half has fewer sessions than half of the slots.
    const slot = former === undefined ? this.#free.at(-1) : former.slot
    const reply = known(this.#store, sid, slot, now)
    if (reply === ASK) return undefined
    if (reply === MISSING) return null
    const [text, version, life] = reply
    const session = this.#parse(sid, text)
    if (this.#isJson && isKept(text, session)) {
      if (former === undefined) this.#free.pop()
      const expires = this.#renews && life !== Number.POSITIVE_INFINITY ? expiryOf(session) : Number.NaN
      this.#keep(new Kept({ sid, text, version, slot, end: now + life, session, expires }))
    }
    return { text, session, life }
  }

  // Two halves: when the younger is full, the older goes as a whole. To take the oldest from a Map one by one, each search
  // for it would pass by all that were taken before.
  #keep(kept) {
    this.#young.set(kept.sid, kept)
    this.#units += kept.text.length
    if (this.#units < MOST_UNITS / 2 && this.#young.size < this.#most) return
    for (const { slot } of this.#old.values()) this.#free.push(slot)
    this.#old = this.#young
    this.#young = new Map()
    this.#units = 0
  }

  #recall(sid) {
    const kept = this.#young.get(sid)
    if (kept !== undefined) return kept
    const older = this.#old.get(sid)
    if (older === undefined) return undefined
    this.#old.delete(sid)
    this.#keep(older)
    return older
  }
}

function isKept(text, session) {
  return text.length <= LONGEST && session !== null && depth(session) < 32
}

function depth(value) {
  if (typeof value !== 'object' || value === null) return 0
  let deepest = 0
  for (const key in value) {
    const below = depth(value[key])
    if (below > deepest) deepest = below
    if (deepest > 32) break
  }
  return deepest + 1
}

/** Where in an object of JSON.parse's there are objects: pairs of a key and the same of what is there; null for none. */
function objectsIn(value) {
  const objects = []
  for (const key of Object.keys(value)) {
    const inner = value[key]
    if (typeof inner === 'object' && inner !== null) objects.push([key, objectsIn(inner)])
  }
  return objects.length > 0 ? objects : null
}

function copy(value, objects) {
  const made = Array.isArray(value) ? value.slice() : { ...value }
  if (objects === null) return made
  for (const [key, inner] of objects) set(made, key, copy(value[key], inner))
  return made
}

// A key of that name is data here, not the object's prototype.
function set(object, key, value) {
  if (key === '__proto__')
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
  else object[key] = value
}

module.exports = { Known }
