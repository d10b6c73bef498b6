'use strict'

// How long sessions last: the idle and the absolute timeout, and the warning ahead of them. The session itself remembers
// when it started, and when its cookie was last given a new expiry.

const { readTimeout } = require('./env')
const { refuseOption } = require('./options')

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const LONGEST = 365 * DAY

const WARN_BEFORE = 2 * MINUTE
const WARN_BEFORE_MIN = 20 * SECOND

// NIST SP 800-63B-4, 2.1.3, 2.2.3 and 2.3.3: when a session has to end at the latest.
const PRESETS = {
  aal1: { absoluteMs: 30 * DAY },
  aal2: { absoluteMs: DAY, idleMs: HOUR },
  aal3: { absoluteMs: 12 * HOUR, idleMs: 15 * MINUTE }
}

/** `{ idleMs, absoluteMs, warnBeforeMs }`, from options, preset and environment; `absoluteMs` may be infinite. */
function readTimeouts({ timeoutMs, absoluteTimeoutMs, warnBeforeMs, preset }, env) {
  const most = preset === undefined ? {} : readPreset(preset)
  const idle = readTimeout(timeoutMs, env)
  const idleMs = idle ? checkTime(idle, { most: most.idleMs, preset }) : (most.idleMs ?? DAY)
  const absolute = { name: 'absoluteTimeoutMs', value: absoluteTimeoutMs }
  const absoluteMs =
    absoluteTimeoutMs === undefined
      ? (most.absoluteMs ?? Number.POSITIVE_INFINITY)
      : checkTime(absolute, { most: most.absoluteMs, preset })
  return { idleMs, absoluteMs, warnBeforeMs: readWarning(warnBeforeMs, Math.min(idleMs, absoluteMs)) }
}

function readPreset(preset) {
  if (Object.hasOwn(PRESETS, preset)) return PRESETS[preset]
  return refuseOption('preset', 'unknown', Object.keys(PRESETS).join(', '))
}

function checkTime({ name, value, text = value }, { most = LONGEST, preset, least = 1 }) {
  if (Number.isInteger(value) && value >= least && value <= most) return value
  const reason = preset && value > most ? `, as the preset ${preset} asks` : ''
  const found = ['number', 'string'].includes(typeof text) ? `'${String(text).slice(0, 32)}'` : 'no number'
  return refuseOption(name, found, `whole milliseconds from ${least} to ${most}${reason}`)
}

// By default half of a short life, and never less than people need to read it and to act.
function readWarning(value, lifeMs) {
  if (value === undefined) return Math.max(WARN_BEFORE_MIN, Math.min(WARN_BEFORE, lifeMs / 2))
  return checkTime({ name: 'warnBeforeMs', value }, { least: WARN_BEFORE_MIN, most: Math.max(WARN_BEFORE_MIN, lifeMs) })
}

/** When sessions end, and what their responses say of it. `isRolling`: the cookie is renewed with every response. */
class Timeouts {
  #absoluteMs
  #warnBeforeMs
  #isRolling

  constructor({ absoluteMs, warnBeforeMs }, isRolling) {
    this.#absoluteMs = absoluteMs
    this.#warnBeforeMs = warnBeforeMs
    this.#isRolling = isRolling
  }

  /** For a session that was just generated. */
  begin(session) {
    session.startedAt = Date.now()
    session.renewedAt = session.startedAt
    this.#limit(session, false)
    this.#cap(session)
  }

  /** Why a loaded session is over; null when it is not. */
  reasonToEnd(session) {
    const now = Date.now()
    if (now >= this.#end(session)) return 'absolute'
    const { expires } = session.cookie
    return expires && +expires <= now ? 'idle' : null
  }

  /**
   * For a session that was just loaded. A request that does not count as activity leaves its expiry alone. One that does
   * gives the browser's cookie a new expiry when half of the old one's time is over: each time would be safer against
   * nothing, and a slow response could bring an old id back over a new one.
   */
  use(session, isActivity) {
    session.startedAt ??= Date.now()
    this.#limit(session, isActivity === false)
    const { originalMaxAge } = session.cookie
    if (!isActivity || this.#isRolling || !originalMaxAge) return
    session.renewedAt ??= session.startedAt
    if (Date.now() - session.renewedAt > originalMaxAge / 2) session.renewedAt = Date.now()
  }

  /** The headers that tell the browser when the session ends. */
  tell(res, session, isActivity) {
    const now = Date.now()
    const { originalMaxAge, expires } = session.cookie
    const idle = isActivity
      ? (originalMaxAge ?? Number.POSITIVE_INFINITY)
      : +(expires ?? Number.POSITIVE_INFINITY) - now
    const absolute = this.#end(session) - now
    const left = Math.max(0, Math.min(idle, absolute))
    if (left === Number.POSITIVE_INFINITY) return
    res.setHeader('Session-Expires-In', Math.floor(left / SECOND))
    const warnsIn = left - this.#warnBeforeMs
    if (warnsIn <= 0) res.setHeader('Session-Warning', absolute <= idle ? 'absolute' : 'idle')
    else if (!isActivity) res.setHeader('Session-Warning-In', Math.ceil(warnsIn / SECOND))
  }

  // express-session calls `touch` at the end of a request, and then saves or touches what is stored: the store ends a
  // session on time by its cookie's expiry, without being asked.
  #limit(session, isFrozen) {
    if (!isFrozen && this.#absoluteMs === Number.POSITIVE_INFINITY) return
    const cap = () => this.#cap(session)
    const value = function touch() {
      if (isFrozen) return this
      this.resetMaxAge()
      cap()
      return this
    }
    Object.defineProperty(session, 'touch', { configurable: true, writable: true, enumerable: false, value })
  }

  #cap({ cookie, startedAt }) {
    const end = startedAt + this.#absoluteMs
    if (!cookie.expires || +cookie.expires <= end) return
    const { originalMaxAge } = cookie
    cookie.expires = new Date(end)
    // The setter makes it what is left. It stays what each touch gives.
    cookie.originalMaxAge = originalMaxAge
  }

  #end({ startedAt }) {
    return typeof startedAt === 'number' ? startedAt + this.#absoluteMs : Number.POSITIVE_INFINITY
  }
}

module.exports = { readTimeouts, Timeouts }
