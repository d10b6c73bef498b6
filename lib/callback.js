'use strict'

// The one place that turns a completion into a callback or a promise, exactly once.

const { AsyncResource } = require('node:async_hooks')

const { createError, describe, fromNative, toFailure } = require('./errors')

// What a result is, as the addon numbers it: EVENT, the last but one, needs no name here.
const DONE = 0
const NOTHING = 1
const TEXT = 2
const NUMBER = 3
const LIST = 4
const FAILURE = 5
const LOG = 7

// How many of the rare values belong to a result of each kind.
const RARE_VALUES = [0, 0, 0, 0, 1, 2, 3, 2]

// So many operations wait for Redis at the most, and no further one while their ids and texts have so many UTF-16 units: as
// much as a fast network carries in a second, and nothing waits longer by default. What comes on top is refused. Memory must
// not answer it: what waits may be of the same session, and has to take effect first.
const MOST_WAITING = 100_000
const MOST_UNITS = 128 << 20

// Stores with an answer outstanding. The addon holds its store weakly, so that one that nobody uses any more can be
// collected; someone who waits is a user.
const busy = new Set()

/** Operations under way: their numbers, and who waits for each. */
class Operations {
  #native = null
  #waiting = []
  #free = []
  #underWay = 0
  #units = 0
  // Of the operation that is being started.
  #admitted = 0

  get underWay() {
    return this.#underWay
  }

  /** The addon's store, as soon as it is made. */
  attach(native) {
    this.#native = native
  }

  /** Whether so much waits for Redis that nothing more may. */
  get isFull() {
    return this.#holds(1)
  }

  /** Whether memory serves. An event says so too, but only when JavaScript has time for it. */
  get isDegraded() {
    return this.#native.state === 'degraded'
  }

  /** To be asked by whoever starts an operation that may have to wait, with the length of what waits with it. */
  admit(units = 0) {
    // What waited for Redis has its answer when memory serves, which may be on its way yet: that is no reason to refuse.
    if (this.isFull && (!this.isDegraded || this.#holds(2))) {
      throw createError(
        'ERR_STORE_BUSY',
        `Too much waits for Redis: ${this.#underWay} session operations with ${this.#units} characters. Expected fewer ` +
          `than ${MOST_WAITING} operations, with less than ${MOST_UNITS} characters. Nothing was done: start fewer at a ` +
          'time, or try again later.'
      )
    }
    this.#admitted = units
  }

  #holds(times) {
    return this.#underWay >= times * MOST_WAITING || this.#units >= times * MOST_UNITS
  }

  /**
   * Starts an operation. `start(operation)` returns what the addon returns: the reply, or null for one that
   * comes later. `read(value, end)` turns a reply into the result, `failed()` hears that there is none. With a session's text
   * comes when it ends, on the wall clock. Without a callback, returns a promise.
   */
  run(callback, start, read, failed) {
    if (isCallback(callback)) {
      this.#start(start, read, failed, callback)
      return
    }
    const promise = new Promise((resolve, reject) => {
      this.#start(start, read, failed, (error, result) => (error ? reject(error) : resolve(result)))
    })
    return unwatched(promise)
  }

  // A later answer is read and given in the caller's async context: a promise would keep it, but the serializer not.
  #start(start, read, failed, settle) {
    const operation = this.#free.length > 0 ? this.#free.pop() : this.#waiting.push(null) - 1
    let reply
    this.#admitted = 0
    try {
      reply = start(operation)
    } catch (error) {
      this.#free.push(operation)
      settle(fromNative(toFailure(error)))
      return
    }
    if (reply !== null) {
      this.#free.push(operation)
      finish(settle, read, reply[0], Date.now() + reply[1])
      return
    }
    const context = new AsyncResource('MEETABL_SESSION', { requireManualDestroy: true })
    const units = this.#admitted
    this.#waiting[operation] = { settle, read, failed, context, units }
    this.#units += units
    if (++this.#underWay === 1) this.#setBusy(true)
  }

  /** Takes a batch of the addon's results, and calls `notify(isLog, ...)` for each event and log line in it. */
  deliver(numbers, texts, rare, notify) {
    const now = Date.now()
    let textEnd = 0
    let next = 0
    for (let at = 0; at < numbers.length; at += 4) {
      const operation = numbers[at]
      const kind = numbers[at + 1]
      const textStart = textEnd
      const first = next
      if (kind === TEXT) textEnd += numbers[at + 2]
      else next += RARE_VALUES[kind]
      try {
        if (kind === TEXT) this.#settle(operation, texts.slice(textStart, textEnd), now + numbers[at + 3])
        else if (kind === DONE) this.#settle(operation, numbers[at + 2])
        else this.#deliverOther(operation, kind, numbers[at + 2], rare.slice(first, next), notify)
      } catch (error) {
        // What a caller's callback throws is the process's to hear of, and no other callback's concern.
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }

  #deliverOther(operation, kind, number, values, notify) {
    if (kind === NOTHING) this.#settle(operation, null)
    else if (kind === NUMBER) this.#settle(operation, number)
    else if (kind === LIST) this.#settle(operation, values[0])
    else if (kind === FAILURE) this.#fail(operation, createError(values[0], values[1]))
    else notify(kind === LOG, ...values)
  }

  #settle(operation, value, end) {
    const { settle, read, context } = this.#take(operation)
    inContext(context, finish, settle, read, value, end)
  }

  #fail(operation, error) {
    const { settle, failed, context } = this.#take(operation)
    failed?.()
    inContext(context, settle, error)
  }

  #take(operation) {
    const waiter = this.#waiting[operation]
    this.#waiting[operation] = null
    this.#free.push(operation)
    this.#units -= waiter.units
    if (--this.#underWay === 0) this.#setBusy(false)
    return waiter
  }

  // An idle store never keeps the process alive. One that owes an answer does, for as long as Redis may take.
  #setBusy(isBusy) {
    this.#native.hold(isBusy)
    if (isBusy) busy.add(this)
    else busy.delete(this)
  }
}

/** Whether there is a callback, or a promise is wanted. */
function isCallback(callback) {
  if (callback === undefined || callback === null) return false
  if (typeof callback === 'function') return true
  throw createError(
    'ERR_INVALID_ARGUMENT',
    `The callback is ${describe(callback)}. Expected a function, or nothing for a promise.`
  )
}

/** A promise that may be dropped: express-session drops that of `destroy`, and a rejection would end the process. */
function unwatched(promise) {
  promise.catch(() => {})
  return promise
}

function inContext(context, call, ...values) {
  try {
    context.runInAsyncScope(call, undefined, ...values)
  } finally {
    context.emitDestroy()
  }
}

// The callback is outside the `try`: what it throws is not what failed here.
function finish(settle, read, value, end) {
  let result
  try {
    result = read(value, end)
  } catch (error) {
    settle(toFailure(error))
    return
  }
  // A serializer may parse asynchronously.
  if (typeof result?.then === 'function') handOver(result, settle)
  else settle(null, result)
}

/** Gives a callback what becomes of a promise: in a microtask of its own, so that what it throws is no rejection. */
function handOver(promise, callback) {
  promise.then(
    (result) => queueMicrotask(() => callback(null, result)),
    (error) => queueMicrotask(() => callback(toFailure(error)))
  )
}

module.exports = { handOver, isCallback, Operations, unwatched }
