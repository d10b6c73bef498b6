'use strict'

// Sessions that were parsed, so that the same text of the same session is parsed once: a copy takes a fifth of the time.

const { expiryOf, renewCookie } = require('./expiry')

// So many sessions are kept parsed at the most, and so many UTF-16 units of texts, none of them longer than this.
const MOST = 1 << 15
const MOST_UNITS = 4 << 20
const LONGEST = 16 << 10
const DEEPEST = 32

const DATA = { writable: true, enumerable: true, configurable: true }

/** The text of a session, and what was parsed of it. */
class Kept {
  #renews
  #isRead = false
  #session = null
  #objects = null
  #expires = Number.NaN

  // What lib/known.js has to know: the version that stands in the slot while it may be trusted, and the end on its clock.
  version = 0
  steadyEnd = 0

  /** The slot is this session's alone. A cookie's expiry follows the session's life when it `renews`. */
  constructor(sid, text, slot, renews) {
    this.sid = sid
    this.text = text
    this.slot = slot
    this.#renews = renews
  }

  /**
   * The session, the caller's own. It ends at this time of the wall clock, which is infinite without end. `parse(sid, text)`
   * makes it, or null, for as long as there is nothing to copy.
   */
  read(end, parse) {
    if (this.#session !== null) {
      // NaN is not to be renewed.
      if (this.#expires >= 0 && end < Number.POSITIVE_INFINITY) {
        this.#expires = renewCookie(this.#session, this.#expires, end)
      }
      return copy(this.#session, this.#objects)
    }
    const session = parse(this.sid, this.text)
    if (session === null) return null
    const expires = this.#renews && end < Number.POSITIVE_INFINITY ? expiryOf(session) : Number.NaN
    if (expires >= 0) renewCookie(session, expires, end)
    if (this.#isRead) this.#keep(session)
    // What is read a second time will be read more often. Most is not: to copy it for later would be in vain.
    this.#isRead = true
    return session
  }

  #keep(session) {
    if (depth(session) >= DEEPEST) return
    this.#objects = objectsIn(session)
    this.#session = copy(session, this.#objects)
    if (this.#renews) this.#expires = expiryOf(session)
  }
}

class Parsed {
  #renews
  #free = Array.from({ length: MOST }, (_, slot) => slot)
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

  /**
   * Keeps the text of a session, which may be a piece of a longer one, and what was parsed of it when it is the same. Undefined
   * when it is too long.
   */
  keep(sid, text, isPiece = false) {
    const former = this.recall(sid)
    if (former?.text === text) return former
    if (former !== undefined) this.#forget(former)
    if (text.length > LONGEST) return undefined
    const kept = new Kept(whole(sid), isPiece ? whole(text) : text, this.#free.pop(), this.#renews)
    this.#put(kept)
    return kept
  }

  #forget(kept) {
    if (this.#young.delete(kept.sid)) this.#units -= kept.text.length
    // To recall it may have filled the younger half, and that is the older one now.
    else this.#old.delete(kept.sid)
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

/** A piece of a string keeps all of that in memory: an id, that of a Cookie header. */
function whole(piece) {
  return ` ${piece}`.slice(1)
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

/** Where in an object of JSON.parse's there are objects: each key with the same of what is there; null for none. */
function objectsIn(value) {
  const objects = []
  for (const key of Object.keys(value)) {
    const inner = value[key]
    if (typeof inner === 'object' && inner !== null) objects.push(key, objectsIn(inner))
  }
  return objects.length > 0 ? objects : null
}

function copy(value, objects) {
  const made = Array.isArray(value) ? value.slice() : { ...value }
  if (objects === null) return made
  for (let at = 0; at < objects.length; at += 2) {
    const key = objects[at]
    const inner = copy(value[key], objects[at + 1])
    // A key of that name is data here, not the object's prototype.
    if (key === '__proto__') Object.defineProperty(made, key, { ...DATA, value: inner })
    else made[key] = inner
  }
  return made
}

module.exports = { Parsed, whole }
