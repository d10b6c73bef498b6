'use strict'

// Refuses requests that another site made a browser send. Two layers: where the request comes from, as the browser says,
// and a token that only this application's pages can know.

const { collectSecrets } = require('./env')
const { createError } = require('./errors')
const { KeyRing } = require('./keys')
const { aFlag, anything, checkOptions, oneOf, refuseOption, show } = require('./options')
const { checkOrigins, originIn, ownOrigin } = require('./origin')
const { EVENT_OPTIONS, SecurityEvents } = require('./security-events')

const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS'])
const OWN_SITES = new Set(['same-origin', 'none'])
const TOKEN_HEADERS = ['x-csrf-token', 'x-xsrf-token', 'csrf-token']
const TOKEN_FIELD = '_csrf'
const TOKEN_SHAPE = /^[\w-]{22}\.[\w-]{43}$/

const CHECKS = {
  mode: oneOf('strict', 'origin'),
  reportOnly: aFlag,
  trustedOrigins: anything,
  exempt: anything
}

/** Middleware for after express-session, and for after the body parser when forms send the token as `_csrf`. */
function csrfProtection(options = {}) {
  const checks = { secret: anything, ...CHECKS, ...EVENT_OPTIONS }
  const { secret, onSecurityEvent, logger, ...rules } = checkOptions(options, checks)
  const keys = new KeyRing(collectSecrets(secret, process.env))
  return createProtection(rules, keys, new SecurityEvents({ onSecurityEvent, logger }))
}

function createProtection(options, keys, events) {
  const { mode = 'strict', reportOnly = false, trustedOrigins = [], exempt = [] } = checkOptions(options, CHECKS)
  const isTrusted = trustIn(checkOrigins('trustedOrigins', trustedOrigins))
  const isExempt = exemption(exempt)

  return function protectFromCsrf(req, _res, next) {
    const isFree = isSafe(req) || isExempt(req)
    const reason = isFree ? null : (checkSource(req, isTrusted) ?? checkToken(req, keys, mode))
    // Last, because Express gives each request a shape of its own: V8 has to look up anew all that is read after this.
    req.csrfToken = () => createToken(req, keys)
    if (reason === null) return next()
    events.report('csrf_refused', req, { reason, id: req.session && req.sessionID })
    next(reportOnly ? undefined : refusal())
  }
}

/** A handler that answers with a token, for pages that are not rendered by the server. */
function csrfTokenRoute() {
  return function sendCsrfToken(req, res) {
    if (typeof req.csrfToken !== 'function') {
      throw createError('ERR_NO_CSRF_PROTECTION', 'No CSRF protection. Expected `csrfProtection()` to run before.')
    }
    const body = JSON.stringify({ csrfToken: req.csrfToken() })
    res.setHeader('Cache-Control', 'no-store')
    res.setHeader('Content-Type', 'application/json; charset=utf-8')
    res.end(body)
  }
}

// A token is only good for a session that is kept, so asking for one is what makes a visitor's session stay.
function createToken(req, keys) {
  if (!req.session) {
    throw createError('ERR_NO_SESSION', 'This request has no session, and without one there is no token.')
  }
  req.session.csrf = true
  return keys.csrfToken(req.sessionID)
}

// The method on the wire, whatever an override made of it, and what it made of it too.
function isSafe(req) {
  return SAFE_METHODS.has(req.method) && SAFE_METHODS.has(req.originalMethod ?? req.method)
}

/** The first layer: the reason to refuse, undefined for none. */
function checkSource(req, isTrusted) {
  const { 'sec-fetch-site': site, origin, referer } = req.headers
  if (site !== undefined) return OWN_SITES.has(site) || isTrusted(origin) ? undefined : 'cross_site'
  if (origin !== undefined) return isOwn(req, origin) || isTrusted(origin) ? undefined : 'origin'
  if (referer === undefined) return undefined
  const from = originIn(referer)
  return from !== null && (isOwn(req, from) || isTrusted(from)) ? undefined : 'referer'
}

function isOwn(req, origin) {
  return origin === ownOrigin(req)
}

function trustIn(origins) {
  return (origin) => origins.has(origin)
}

/** The second layer. When the browser said nothing about the source, the token decides in every mode. */
function checkToken(req, keys, mode) {
  if (mode === 'origin' && saysSource(req)) return null
  if (!req.session) return 'no_session'
  const tokens = tokensOf(req)
  if (tokens.length === 0) return 'token_missing'
  if (!tokens.every((token) => typeof token === 'string' && TOKEN_SHAPE.test(token))) return 'token_malformed'
  if (tokens.some((token) => token !== tokens[0])) return 'token_conflict'
  return keys.verifyCsrf(req.sessionID, tokens[0]) ? null : 'token_wrong'
}

function saysSource({ headers }) {
  return ['sec-fetch-site', 'origin', 'referer'].some((name) => headers[name] !== undefined)
}

// Never from the query, which ends up in logs, nor from a cookie, which the browser adds by itself.
function tokensOf({ headers, body }) {
  const tokens = TOKEN_HEADERS.map((name) => headers[name])
  if (typeof body === 'object' && body !== null && Object.hasOwn(body, TOKEN_FIELD)) tokens.push(body[TOKEN_FIELD])
  return tokens.filter((token) => token !== undefined)
}

/** Paths that are not protected: whole ones, or all below one that ends in a slash. */
function exemption(paths) {
  const list = Array.isArray(paths) ? paths : [paths]
  for (const path of list) {
    if (typeof path === 'string' && path.startsWith('/') && isPlain(path)) continue
    refuseOption('exempt', show(path), "whole paths ('/hook'), or what they start with up to a slash ('/hooks/')")
  }
  const whole = new Set(list)
  const folders = list.filter((path) => path.endsWith('/'))
  return (req) => {
    if (list.length === 0) return false
    const path = (req.originalUrl ?? req.url).split('?', 1)[0]
    return isPlain(path) && (whole.has(path) || folders.some((folder) => path.startsWith(folder)))
  }
}

// A path that could mean another one to somebody down the line is nobody's exemption.
function isPlain(path) {
  return !/\.\.|\/\/|[\\%?#;]/.test(path)
}

// Without its stack: it would tell a client where this code lies, and cost an attacker's victim time.
function refusal() {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  const error = new Error('invalid csrf token')
  Error.stackTraceLimit = limit
  return Object.assign(error, { code: 'EBADCSRFTOKEN', status: 403, statusCode: 403, expose: true })
}

module.exports = { checkSource, createProtection, csrfProtection, csrfTokenRoute, trustIn }
