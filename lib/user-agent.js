'use strict'

// Binds a session to the User-Agent that it began with, and ends it when another one uses it. That detects a stolen
// cookie; it does not prevent one, because whoever steals it may copy the header too.

const { createHash } = require('node:crypto')

const { clearCookies, sentNames } = require('./cookies')
const { checkOptions, oneOf } = require('./options')
const { EVENT_OPTIONS, SecurityEvents } = require('./security-events')

const LONGEST = 1024

const CHECKS = {
  compare: {
    isFine: (value) => ['exact', 'family'].includes(value) || typeof value === 'function',
    expected: "'exact', 'family' or a function"
  },
  mode: oneOf('enforce', 'report'),
  legacy: oneOf('bind', 'reject')
}

/** Middleware for after express-session. */
function userAgentGuard(options = {}) {
  const { onSecurityEvent, logger, ...rules } = checkOptions(options, { ...CHECKS, ...EVENT_OPTIONS })
  const guard = createGuard(rules, new SecurityEvents({ onSecurityEvent, logger }))

  return function guardUserAgent(req, res, next) {
    if (req.session) bindNewSessions(req.sessionStore)
    guard(req, res, next)
  }
}

/** The guard of a store whose new sessions are bound. */
function createGuard(options, events) {
  const { mode = 'enforce' } = options
  const judge = createJudge(options)

  return (req, res, next) => {
    const { session } = req
    if (!session) return next()
    const verdict = judge(session, req)
    if (verdict === 'agrees') return next()
    if (verdict === 'unbound') {
      bind(req, events)
      return next()
    }
    events.report('user_agent_mismatch', req, { reason: verdict, id: req.sessionID })
    if (mode === 'report') return next()
    refuse(req, res)
  }
}

/**
 * What to think of a request for a session: it `agrees`, the session is `unbound`, or why it is to be refused, `different`
 * or `never_bound`.
 */
function createJudge(options) {
  const { compare = 'exact', legacy = 'bind' } = checkOptions(options, CHECKS)
  const isSame = typeof compare === 'function' ? compare : COMPARISONS[compare]

  return (session, req) => {
    const bound = session.userAgent
    const current = userAgentOf(req)
    if (bound === current) return 'agrees'
    if (bound === undefined) return legacy === 'bind' || isNew(session, req) ? 'unbound' : 'never_bound'
    return typeof bound === 'string' && agrees(isSame, bound, current, req) ? 'agrees' : 'different'
  }
}

// What throws, or answers with anything but true, has not agreed.
function agrees(isSame, bound, current, req) {
  try {
    return isSame(bound, current, req) === true
  } catch {
    return false
  }
}

// Made in this request, before the store was seen here for the first time.
function isNew(session, req) {
  return sentNames(req.headers.cookie, session.id).length === 0
}

function bind(req, events) {
  const { session } = req
  if (isNew(session, req)) return bindWhenSaved(session, userAgentOf(req))
  session.userAgent = userAgentOf(req)
  events.report('user_agent_bound', req, { id: req.sessionID })
}

const COMPARISONS = {
  exact: (bound, current) => bound === current,
  family: (bound, current) => withoutVersions(bound) === withoutVersions(current)
}

// What is kept as a hash has no versions to leave out.
function withoutVersions(userAgent) {
  return userAgent.startsWith('sha256:') ? userAgent : userAgent.replace(/\d[\d._]*/g, '#')
}

/** What is kept of a User-Agent: itself, or its hash when it is long. */
function userAgentOf(req) {
  const text = req.headers['user-agent'] ?? ''
  return text.length <= LONGEST ? text : `sha256:${createHash('sha256').update(text).digest('hex')}`
}

const binding = new WeakSet()

/**
 * From now on, sessions of this store are bound when they are generated. express-session takes what a session holds then
 * for its beginning, so that a mere visitor's does not look modified: nothing is written, and no cookie set.
 */
function bindNewSessions(store) {
  if (binding.has(store.generate)) return
  const { generate } = store
  store.generate = function generateBound(req) {
    generate.call(this, req)
    req.session.userAgent = userAgentOf(req)
  }
  binding.add(store.generate)
}

function bindWhenSaved(session, userAgent) {
  const { save } = session
  const value = function saveBound(...args) {
    this.userAgent ??= userAgent
    return save.apply(this, args)
  }
  Object.defineProperty(session, 'save', { configurable: true, writable: true, enumerable: false, value })
}

// The session is over, and the answer is the same, whether or not the store could destroy it: nothing fails open.
function refuse(req, res) {
  const { session, sessionID, sessionStore } = req
  const names = sentNames(req.headers.cookie, sessionID)
  delete req.session
  const answer = () => {
    if (res.writableEnded) return
    clearCookies(res, names, session.cookie)
    res.statusCode = 401
    res.setHeader('Content-Type', 'application/json; charset=utf-8')
    res.setHeader('Cache-Control', 'no-store')
    res.end('{"error":"session_invalid"}')
  }
  destroyIfPossible(sessionStore, sessionID, answer)
}

/** Calls `done` once, whether the store destroys, fails or throws. */
function destroyIfPossible(store, id, done) {
  let isDone = false
  const once = () => {
    if (isDone) return
    isDone = true
    done()
  }
  try {
    store.destroy(id, once)
  } catch {
    once()
  }
}

module.exports = { bindNewSessions, createGuard, createJudge, destroyIfPossible, userAgentGuard }
