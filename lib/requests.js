'use strict'

// What is asked for a session, on its way to the addon: collected, and handed over together. Crossing costs as much as
// all the rest of a call, and one crossing for many is hardly dearer than one for one.

const { ask, renew, submit, touch } = require('../binding')
const { createError } = require('./errors')

// How the addon numbers what can be asked for.
const GET = 0
const SET = 1
const TOUCH = 2
const DESTROY = 3

// So many are handed over together at the most: while Redis works on the first, JavaScript makes the next.
const TOGETHER = 16

// So many UTF-16 units of ids and texts are collected at the most, unless one request alone has more: a string cannot
// grow without end, and copying so much takes longer than a crossing.
const MOST_UNITS = 1 << 20

const FIELDS = 7
const RENEWAL_FIELDS = 3

// Renewals that are handed over together at the most: nobody waits for them.
const RENEWALS = 64

// In the place of the text that a session was made from: there is none, or whatever the session has become is replaced.
const NO_BASE = -1
const ANY_BASE = -2

// In the place of a slot: what is saved is not kept.
const NO_SLOT = -1

const NOTHING = { base: NO_BASE, slot: NO_SLOT }

class Requests {
  #store
  #operations
  #numbers = new Float64Array(TOGETHER * FIELDS)
  #ids = ''
  #texts = ''
  #count = 0
  #units = 0
  #direct = false
  #renewals = new Float64Array(RENEWALS * RENEWAL_FIELDS)
  #renewed = []

  /**
   * For the store that the addon calls by this number, and its operations. Lifetimes are in milliseconds from now, infinite
   * for no end.
   */
  constructor(store, operations) {
    this.#store = store
    this.#operations = operations
  }

  get(operation, id) {
    return this.#add(operation, GET, id, '', 0, NOTHING)
  }

  /** `base`: the text that the session was made from, or NO_BASE or ANY_BASE. `slot`: as in lib/parsed.js, or NO_SLOT. */
  set(operation, id, text, lifetime, made = NOTHING) {
    return this.#add(operation, SET, id, text, lifetime, made)
  }

  touch(operation, id, lifetime) {
    return this.#add(operation, TOUCH, id, '', lifetime, NOTHING)
  }

  destroy(operation, id) {
    return this.#add(operation, DESTROY, id, '', 0, NOTHING)
  }

  /** Renews a session of lib/known.js. Nobody waits for it. */
  renew(kept, lifetime) {
    const count = this.#renewed.push(kept)
    const at = (count - 1) * RENEWAL_FIELDS
    this.#renewals[at] = kept.slot
    this.#renewals[at + 1] = kept.version
    this.#renewals[at + 2] = lifetime
    if (count === RENEWALS) this.#sendRenewals()
    else if (count === 1) queueMicrotask(this.send)
  }

  /** The same for any session. */
  touchNow(id, lifetime) {
    this.#sendRenewals()
    touch(this.#store, id, lifetime)
  }

  /** While memory serves, each request is made at once, because the answer is known at once. */
  setDirect(direct) {
    this.send()
    this.#direct = direct
  }

  /** Hands over what was collected. */
  send = () => {
    this.#sendRenewals()
    if (this.#count === 0) return
    const numbers = this.#numbers.subarray(0, this.#count * FIELDS)
    const ids = this.#ids
    const texts = this.#texts
    this.#count = 0
    this.#units = 0
    this.#ids = ''
    this.#texts = ''
    submit(this.#store, numbers, ids, texts)
  }

  #sendRenewals() {
    const count = this.#renewed.length
    if (count === 0) return
    const renewed = this.#renewed
    this.#renewed = []
    try {
      const failed = renew(this.#store, this.#renewals.subarray(0, count * RENEWAL_FIELDS))
      // They have changed since, had to go, or are about to end: the addon has to look for them.
      for (const at of failed ?? []) touch(this.#store, renewed[at].sid, this.#renewals[at * RENEWAL_FIELDS + 2])
    } catch {
      // The store has ended. They were answered, and nobody waits for them.
    }
  }

  // Returns the addon's reply, null for one that comes later.
  #add(operation, kind, id, text, lifetime, { base, slot }) {
    // What was asked for first takes effect first.
    this.#sendRenewals()
    const hasBase = typeof base === 'string'
    const units = id.length + text.length + (hasBase ? base.length : 0)
    if (this.#operations.isFull && !this.#direct && this.#operations.isDegraded) this.setDirect(true)
    this.#operations.admit(units)
    if (this.#direct) return ask(this.#store, operation, kind, id, text, lifetime, base)
    if (this.#units + units > MOST_UNITS) this.send()
    this.#units += units
    this.#ids += id
    this.#texts += text
    if (hasBase) this.#texts += base
    const at = this.#count * FIELDS
    this.#numbers[at] = operation
    this.#numbers[at + 1] = kind
    this.#numbers[at + 2] = id.length
    this.#numbers[at + 3] = text.length
    this.#numbers[at + 4] = lifetime
    this.#numbers[at + 5] = hasBase ? base.length : base
    this.#numbers[at + 6] = slot
    this.#count++
    if (units > MOST_UNITS) this.#sendAlone()
    else if (this.#count === TOGETHER) this.send()
    else if (this.#count === 1) queueMicrotask(this.send)
    return null
  }

  // At once, so that one that is too big to cross fails its own caller and no one else.
  #sendAlone() {
    try {
      this.send()
    } catch (cause) {
      throw createError('ERR_INVALID_SESSION', 'The session is too big to be stored: `cause` says why.', cause)
    }
  }
}

module.exports = { ANY_BASE, NO_BASE, NO_SLOT, Requests }
