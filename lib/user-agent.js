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
  legacy: oneOf('bind', 'reject'),
  ...EVENT_OPTIONS
}

/** Middleware for after express-session. */
function userAgentGuard(options = {}) {
  return createGuard(options, new SecurityEvents(checkOptions(options, CHECKS)))
}

function createGuard(options, events) {
  const { compare = 'exact', mode = 'enforce', legacy = 'bind' } = checkOptions(options, CHECKS)
  const isSame = typeof compare === 'function' ? compare : COMPARISONS[compare]

  return function guardUserAgent(req, res, next) {
    if (!req.session) return next()
    bindNewSessions(req.sessionStore)
    const current = userAgentOf(req)
    const reason = reasonToRefuse(req, current)
    if (reason === null) return next()
    events.report('user_agent_mismatch', req, { reason, id: req.sessionID })
    if (mode === 'report') return next()
    refuse(req, res)
  }

  function reasonToRefuse(req, current) {
    const { session } = req
    if (session.userAgent === current) return null
    if (session.userAgent === undefined) return reasonToRefuseUnbound(req, current)
    return typeof session.userAgent === 'string' && agrees(session.userAgent, current, req) ? null : 'different'
  }

  function reasonToRefuseUnbound(req, current) {
    const { session } = req
    // Made in this request, before the store was seen here for the first time.
    if (sentNames(req.headers.cookie, req.sessionID).length === 0) {
      bindWhenSaved(session, current)
      return null
    }
    if (legacy === 'reject') return 'unbound'
    session.userAgent = current
    events.report('user_agent_bound', req, { id: req.sessionID })
    return null
  }

  // What throws, or answers with anything but true, has not agreed.
  function agrees(bound, current, req) {
    try {
      return isSame(bound, current, req) === true
    } catch {
      return false
    }
  }
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
  try {
    sessionStore.destroy(sessionID, answer)
  } catch {
    answer()
  }
}

module.exports = { createGuard, userAgentGuard, userAgentOf }
