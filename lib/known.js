'use strict'

// Sessions that the addon knows without asking Redis. It says how long one lives and which version of its text it has;
// what was parsed once is copied here, which takes a tenth of the time that parsing again would.

const { find, known } = require('../binding')

// What the addon says instead of how long a session lives.
const ASK = -1
const MISSING = -2
const OTHER = -3

// So many UTF-16 units of texts are kept parsed at the most, and none that is longer than this.
const MOST_UNITS = 4 << 20
const LONGEST = 16 << 10

class Known {
  #store
  #isJson
  #parse
  #young = new Map()
  #old = new Map()
  #units = 0

  /**
   * For the store that the addon calls by this number. `parse(sid, text)` makes a session, or null, of a text. What it
   * makes is kept only when it `isJson`: nobody knows how to copy anything else.
   */
  constructor(store, isJson, parse) {
    this.#store = store
    this.#isJson = isJson
    this.#parse = parse
  }

  /**
   * `{ text, session, life }` with a session that is the caller's own, null when there is none, and undefined when Redis
   * has to be asked.
   */
  get(sid) {
    const parsed = this.#recall(sid)
    const life = find(this.#store, sid, parsed === undefined ? 0 : parsed.version)
    if (life === ASK) return undefined
    if (life === MISSING) return null
    if (life !== OTHER) return { text: parsed.text, session: copy(parsed.session), life }
    return this.#read(sid)
  }

  #read(sid) {
    const reply = known(this.#store, sid)
    if (reply === null) return undefined
    const [text, version, life] = reply
    const session = this.#parse(sid, text)
    if (this.#isJson && isKept(text, session)) this.#keep(sid, { text, version, session: copy(session) })
    return { text, session, life }
  }

  // Two halves: when the younger is full, the older goes as a whole. To take the oldest from a Map one by one, each search
  // for it would pass by all that were taken before.
  #keep(sid, parsed) {
    this.#young.set(sid, parsed)
    this.#units += parsed.text.length
    if (this.#units < MOST_UNITS / 2) return
    this.#old = this.#young
    this.#young = new Map()
    this.#units = 0
  }

  #recall(sid) {
    const parsed = this.#young.get(sid)
    if (parsed !== undefined) return parsed
    const older = this.#old.get(sid)
    if (older !== undefined) this.#keep(sid, older)
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

/** A copy of what JSON.parse made: plain objects, arrays and values. */
function copy(value) {
  if (Array.isArray(value)) return value.map(copyInner)
  const made = { ...value }
  for (const key in made) {
    const inner = made[key]
    if (typeof inner === 'object' && inner !== null) set(made, key, copy(inner))
  }
  return made
}

function copyInner(value) {
  return typeof value === 'object' && value !== null ? copy(value) : value
}

// A key of that name is data here, not the object's prototype.
function set(object, key, value) {
  if (key === '__proto__')
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
  else object[key] = value
}

module.exports = { Known }
