'use strict'

// Sessions that were parsed, so that the same text of the same session is parsed once: a copy takes a fifth of the time.

const { expiryOf, renewCookie } = require('./expiry')

// So many sessions are kept parsed at the most, and so many UTF-16 units of texts, none of them longer than this.
const MOST = 1 << 15
const MOST_UNITS = 4 << 20
const LONGEST = 16 << 10
const DEEPEST = 32

/** A parsed session, from which others are copied. */
class Kept {
  #session
  #objects
  #expires

  // What lib/known.js has to know: the version that stands in the slot while it may be trusted, and the end on its clock.
  version = 0
  end = 0

  /** A cookie's expiry follows the session's life when it `renews`. The slot is this session's alone. */
  constructor({ sid, text, slot, session, renews }) {
    this.sid = sid
    this.text = text
    this.slot = slot
    this.#objects = objectsIn(session)
    this.#session = copy(session, this.#objects)
    this.#expires = renews ? expiryOf(session) : Number.NaN
  }

  /** The session of one that lives so many milliseconds more, the caller's own. */
  copy(life) {
    if (this.#expires >= 0 && life < Number.POSITIVE_INFINITY) {
      this.#expires = renewCookie(this.#session, this.#expires, life)
    }
    return copy(this.#session, this.#objects)
  }
}

class Parsed {
  #renews
  #free = Array.from({ length: MOST }, (_, slot) => slot)
  #seen = new Set()
  #young = new Map()
  #old = new Map()
  #units = 0

  /** With the live expiry in a session's cookie when this `renews` it. */
  constructor(renews) {
    this.#renews = renews
  }

  /** What is kept of a session, whatever has become of it. */
  recall(sid) {
    const kept = this.#young.get(sid)
    if (kept !== undefined) return kept
    const older = this.#old.get(sid)
    if (older === undefined) return undefined
    this.#old.delete(sid)
    this.#put(older)
    return older
  }

  /** The slot that a session has when it is kept next. There is a free one: neither half ever has half of them. */
  slotFor(sid) {
    return this.recall(sid)?.slot ?? this.#free.at(-1)
  }

  /** What is kept of a session with this text. */
  find(sid, text) {
    const kept = this.recall(sid)
    return kept !== undefined && kept.text === text ? kept : undefined
  }

  /** Whether a session that was just read is to be kept: one that is read a second time will be read more often. */
  isWorthKeeping(sid) {
    if (this.#seen.delete(sid)) return true
    if (this.#seen.size >= MOST) this.#seen.clear()
    this.#seen.add(sid)
    return false
  }

  /** Keeps a parsed session. Returns undefined when it is too big. */
  keep(sid, text, session) {
    this.#forget(sid)
    if (text.length > LONGEST || session === null || depth(session) >= DEEPEST) return undefined
    // A piece of a long text would keep all of it.
    const kept = new Kept({ sid, text: ` ${text}`.slice(1), slot: this.#free.pop(), session, renews: this.#renews })
    this.#put(kept)
    return kept
  }

  #forget(sid) {
    const kept = this.recall(sid)
    if (kept === undefined) return
    this.#young.delete(sid)
    this.#units -= kept.text.length
    this.#free.push(kept.slot)
  }

  // Two halves: when the younger is full, the older goes as a whole. To take the oldest from a Map one by one, each search
  // for it would pass by all that were taken before.
  #put(kept) {
    this.#young.set(kept.sid, kept)
    this.#units += kept.text.length
    if (this.#units < MOST_UNITS / 2 && this.#young.size < MOST / 2) return
    for (const { slot } of this.#old.values()) this.#free.push(slot)
    this.#old = this.#young
    this.#young = new Map()
    this.#units = 0
  }
}

function depth(value) {
  if (typeof value !== 'object' || value === null) return 0
  let deepest = 0
  for (const key in value) {
    const below = depth(value[key])
    if (below > deepest) deepest = below
    if (deepest > DEEPEST) break
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

module.exports = { Parsed }
