'use strict'

// What happened that somebody who watches over an API should know: one event each, to a function and to the log. Events
// hold no session id, secret or session data. What a client wrote in them is cut short and stays on its line.

const { sessionLogName } = require('./keys')
const { createLog } = require('./logger')
const { aFunction, anything } = require('./options')

// Every event that there is, with its level.
const LEVELS = {
  session_created: 'info',
  session_regenerated: 'info',
  session_destroyed: 'info',
  session_expired: 'info',
  session_unknown: 'info',
  signature_refused: 'warn',
  id_refused: 'warn',
  old_secret_used: 'info',
  user_agent_bound: 'info',
  user_agent_mismatch: 'warn',
  csrf_refused: 'warn',
  upgrade_refused: 'warn'
}

// Of each type so many at once, and so many a second: a flood of forged requests must not become one of log lines.
const BURST = 100
const PER_SECOND = 10

const LONGEST = 200

// Whatever could end a line, move a cursor, or write from right to left.
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu

const EVENT_OPTIONS = { onSecurityEvent: aFunction, logger: anything }

class SecurityEvents {
  #listener
  #log
  #budgets = new Map()

  constructor({ onSecurityEvent, logger }) {
    this.#listener = onSecurityEvent
    this.#log = createLog(logger)
  }

  /** `reason` is a word of this library's, `id` the session that it is about. */
  report(type, req, { reason, id } = {}) {
    const suppressed = this.#admit(type)
    if (suppressed === null) return
    const event = {
      type,
      time: new Date().toISOString(),
      ...(reason && { reason }),
      ...(id && { session: nameOf(id) }),
      ip: clean(req.ip ?? req.socket?.remoteAddress),
      method: clean(req.method),
      path: clean(pathOf(req)),
      userAgent: clean(req.headers['user-agent']),
      ...(suppressed > 0 && { suppressed })
    }
    this.#write(LEVELS[type], lineOf(event))
    this.#tell(event)
  }

  // How many of this type were left out since the last one; null to leave out this one too.
  #admit(type) {
    const now = performance.now()
    const budget = this.#budgets.get(type) ?? { left: BURST, at: now, suppressed: 0 }
    this.#budgets.set(type, budget)
    budget.left = Math.min(BURST, budget.left + ((now - budget.at) / 1000) * PER_SECOND)
    budget.at = now
    if (budget.left < 1) {
      budget.suppressed++
      return null
    }
    budget.left--
    const { suppressed } = budget
    budget.suppressed = 0
    return suppressed
  }

  // A listener that fails is no reason to fail the request, or to let one pass.
  #tell(event) {
    const failed = () => this.#write('error', 'security: `onSecurityEvent` failed')
    try {
      const returned = this.#listener?.(event)
      if (typeof returned?.then === 'function') returned.then(undefined, failed)
    } catch {
      failed()
    }
  }

  // Nor is a logger that fails.
  #write(level, line) {
    try {
      this.#log(level, line)
    } catch {}
  }
}

// An id that could not even be one has no name.
function nameOf(id) {
  try {
    return sessionLogName(id)
  } catch {
    return 'none'
  }
}

// Without the query, which may hold anybody's secrets.
function pathOf(req) {
  return (req.originalUrl ?? req.url ?? '').split('?', 1)[0]
}

function clean(text = '') {
  return String(text).slice(0, LONGEST).replace(UNPRINTABLE, ' ')
}

function lineOf({ type, time, ...rest }) {
  const fields = Object.entries(rest).map(([name, value]) => `${name}=${JSON.stringify(value)}`)
  return `security: ${type} ${fields.join(' ')}`
}

module.exports = { EVENT_OPTIONS, LEVELS, SecurityEvents }
