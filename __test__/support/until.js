// Waiting for what can be observed, with a deadline, so that no test sleeps blindly: `until` asks again and again,
// `within` bounds a promise.
const { setTimeout: pause } = require('node:timers/promises')

/**
 * Resolves with the first truthy answer of `condition` (which may be async and may throw meanwhile). It fails when the
 * answer is no to a question that was asked after `ms`, so that `ms` may be the very time that a promise allows.
 */
async function until(condition, { ms = 10_000, every = 10, what = 'the condition' } = {}) {
  const deadline = performance.now() + ms
  let reason
  for (;;) {
    const asked = performance.now()
    try {
      const answer = await condition()
      if (answer) return answer
      reason = undefined
    } catch (error) {
      reason = error
    }
    if (asked > deadline) {
      throw new Error(`waited ${ms} ms in vain for ${what}`, { cause: reason })
    }
    await pause(every)
  }
}

/** The promise's outcome, or an error when it takes longer than `ms`. */
async function within(ms, promise, what = 'the promise') {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The arguments of the next `event` of an emitter, within `ms`. */
function nextEvent(emitter, event, ms = 10_000) {
  const seen = new Promise((resolve) => emitter.once(event, (...args) => resolve(args)))
  return within(ms, seen, `the event '${event}'`)
}

module.exports = { until, within, nextEvent }
