'use strict'

// The text that each session object was last in step with. A save says what it was made from, so that only what this
// request changed is written over what others have made of the session meanwhile, and one that is gone stays gone.

const { ANY_BASE, NO_BASE } = require('./requests')

/** Kept beside the sessions, so that nothing is added to them. */
class Bases {
  #merges
  #known = createNotes()

  /** Without `merges` a loaded session replaces what others have made of it. */
  constructor(merges) {
    this.#merges = merges
  }

  /** `data` was read from the store. */
  loaded(sid, data, text) {
    this.#known.set(data, { sid, text, before: undefined })
  }

  /** `data` has become the session object of a request. */
  hand(data, session) {
    const base = this.#known.get(data)
    if (base !== undefined) this.#known.set(session, base)
  }

  /** What to save this session over, as lib/requests.js has it. */
  get(sid, session) {
    const base = this.#known.get(session)
    if (base === undefined || base.sid !== sid) return NO_BASE
    return this.#merges ? base.text : ANY_BASE
  }

  /**
   * Calls take effect in their order, so the next save is made from this one before it is answered. Returns what `saved` and
   * `failed` have to be told.
   */
  saving(sid, session, text) {
    const before = this.#known.get(session)
    if (before === undefined && !isOfRequest(session)) return undefined
    const base = { sid, text, before }
    this.#known.set(session, base)
    return base
  }

  saved(base) {
    if (base !== undefined) base.before = undefined
  }

  /** A save failed: the session, or the next save of it, is in step with what it was before. */
  failed(session, base) {
    if (base === undefined) return
    const latest = this.#known.get(session)
    if (latest === base) this.#known.set(session, base.before)
    for (let later = latest; later !== undefined; later = later.before) {
      if (later.before === base) later.before = base.before
    }
  }
}

class Same {
  constructor(object) {
    // biome-ignore lint/correctness/noConstructorReturn: so that a private field can be put on an object that is there.
    return object
  }
}

/**
 * A note on any object, as a WeakMap has it: seen by nobody else, not by JSON either. It is a private field, because each
 * session that is read gets a note, and an entry of a WeakMap costs twenty times as much to make and to collect.
 */
function createNotes() {
  return class Notes extends Same {
    #note

    static get(object) {
      return #note in object ? object.#note : undefined
    }

    static set(object, note) {
      if (#note in object) object.#note = note
      else new Notes(object).#note = note
    }
  }
}

// What a caller made itself is written as it is, each time.
function isOfRequest(session) {
  return typeof session.save === 'function'
}

module.exports = { Bases }
