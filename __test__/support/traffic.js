// Steady traffic on a store through whatever happens to its Redis: users who write, read, touch and now and then start
// anew, each one step after the other, and a record of every answer.
const { newId, sessionWith } = require('./sessions')
const { setTimeout: pause } = require('node:timers/promises')

/**
 * Starts `users` users. `stop()` resolves, when the last answer is in, with:
 * - `answers`: `{ method, ms, error, calls }` of every call (`calls` is how often its callback was called)
 * - `written`: session id → number, the last acknowledged `set`; `null` after an acknowledged `destroy`
 * - `stale`: reads that gave less than what had been acknowledged
 */
function startTraffic(store, { users = 32, lifetimeMs = 600_000 } = {}) {
  const answers = []
  const written = new Map()
  const stale = []
  let running = true

  function step(method, ...args) {
    const answer = { method, ms: 0, error: undefined, calls: 0 }
    answers.push(answer)
    const startedAt = performance.now()
    return new Promise((resolve) => {
      store[method](...args, (error, value) => {
        answer.calls += 1
        answer.ms = performance.now() - startedAt
        answer.error = error ?? undefined
        resolve({ error, value })
      })
    })
  }

  async function write(sid, n) {
    const { error } = await step('set', sid, sessionWith({ n }, lifetimeMs))
    if (!error) written.set(sid, n)
  }

  async function read(sid) {
    const { error, value } = await step('get', sid)
    const least = written.get(sid)
    if (!error && value && (least === null || value.n < least)) stale.push({ found: value.n, least })
  }

  async function live() {
    let sid = newId()
    for (let n = 1; running; n++) {
      await write(sid, n)
      await read(sid)
      await step('touch', sid, sessionWith({ n }, lifetimeMs))
      if (n % 20 === 0) {
        const { error } = await step('destroy', sid)
        if (!error) written.set(sid, null)
        await read(sid)
        sid = newId()
      }
      await pause(1)
    }
  }

  const lives = Array.from({ length: users }, live)
  return {
    get count() {
      return answers.length
    },
    async stop() {
      running = false
      await Promise.all(lives)
      return { answers, written, stale }
    }
  }
}

module.exports = { startTraffic }
