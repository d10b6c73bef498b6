'use strict'

// The one place that turns a completion into a callback or a promise, exactly once.

const { AsyncResource } = require('node:async_hooks')

const { createError, fromNative } = require('./errors')

// Stores with an answer outstanding. The addon holds its store weakly, so that one that nobody uses any more can be
// collected; someone who waits is a user.
const busy = new Set()

/** Operations under way: their numbers, and who waits for each. */
class Operations {
  #native = null
  #waiting = []
  #free = []
  #underWay = 0
  #flushPlanned = false
  #flush = () => {
    this.#flushPlanned = false
    this.#native.flush()
  }

  /** The addon's store, as soon as it is made. */
  attach(native) {
    this.#native = native
  }

  /**
   * Starts an operation. `start(native, number)` returns what the addon returns: the reply, or null for one that comes
   * later. `read(value, lifetime)` turns a reply into the result. Without a callback, returns a promise.
   */
  run(callback, start, read) {
    if (callback === undefined || callback === null) {
      return new Promise((resolve, reject) => {
        this.#start(start, read, (error, result) => (error ? reject(error) : resolve(result)), null)
      })
    }
    if (typeof callback !== 'function') {
      throw createError(
        'ERR_INVALID_ARGUMENT',
        `The callback is of type ${typeof callback}. Expected a function, or nothing for a promise.`,
      )
    }
    this.#start(start, read, callback, AsyncResource)
  }

  // With a callback, a later answer is given in the caller's async context, which a promise would have kept too.
  #start(start, read, settle, Context) {
    const number = this.#free.pop() ?? this.#waiting.length
    this.#waiting[number] = null
    let reply
    try {
      reply = start(this.#native, number)
    } catch (error) {
      this.#free.push(number)
      settle(fromNative(error))
      return
    }
    if (reply !== null) {
      this.#free.push(number)
      finish(settle, read, reply[0], reply[1])
      return
    }
    this.#waiting[number] = {
      settle,
      read,
      context: Context && new Context('MEETABL_SESSION', { requireManualDestroy: true }),
    }
    this.#underWay++
    if (this.#underWay === 1) this.#setBusy(true)
    if (!this.#flushPlanned) {
      this.#flushPlanned = true
      queueMicrotask(this.#flush)
    }
  }

  /** Takes a batch of the addon's results: four values for each. */
  deliver(results) {
    for (let at = 0; at < results.length; at += 4) {
      const number = results[at]
      const operation = this.#waiting[number]
      this.#waiting[number] = null
      this.#free.push(number)
      this.#underWay--
      try {
        settleLater(operation, results[at + 1], results[at + 2], results[at + 3])
      } catch (error) {
        // What a caller's callback throws is the process's to hear of, and no other callback's concern.
        queueMicrotask(() => {
          throw error
        })
      }
    }
    if (this.#underWay === 0 && results.length > 0) this.#setBusy(false)
  }

  // An idle store never keeps the process alive. One that owes an answer does, for as long as Redis may take.
  #setBusy(isBusy) {
    this.#native.hold(isBusy)
    if (isBusy) busy.add(this)
    else busy.delete(this)
  }
}

function settleLater({ settle, read, context }, code, value, lifetime) {
  if (context === null) return complete(settle, read, code, value, lifetime)
  try {
    context.runInAsyncScope(complete, undefined, settle, read, code, value, lifetime)
  } finally {
    context.emitDestroy()
  }
}

function complete(settle, read, code, value, lifetime) {
  if (code === null) finish(settle, read, value, lifetime)
  else settle(createError(code, value))
}

// The callback is outside the `try`: what it throws is not what failed here.
function finish(settle, read, value, lifetime) {
  let result
  try {
    result = read(value, lifetime)
  } catch (error) {
    settle(error)
    return
  }
  if (typeof result?.then === 'function') settleWhenKnown(settle, result)
  else settle(null, result)
}

// A serializer may parse asynchronously. In a microtask of its own, so that a callback's throw stays a throw.
function settleWhenKnown(settle, promise) {
  promise.then(
    (result) => queueMicrotask(() => settle(null, result)),
    (error) => queueMicrotask(() => settle(error)),
  )
}

module.exports = { Operations }
