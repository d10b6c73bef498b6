'use strict'

// Everything in one middleware, in this order: signature, id, load, expiry, User-Agent, CSRF, handler. What fails early
// costs nothing later: a cookie that nobody here signed is no reason to ask the store.

const session = require('express-session')

const { cookieOptions } = require('./cookie-policy')
const { addCookie, setCookies } = require('./cookies')
const { createProtection } = require('./csrf')
const { collectSecrets, nameSecrets } = require('./env')
const { createError } = require('./errors')
const { sessionHelpers } = require('./helpers')
const { KeyRing, newSessionId } = require('./keys')
const { aFlag, aFunction, anything, checkOptions, oneOf } = require('./options')
const { EVENT_OPTIONS, SecurityEvents } = require('./security-events')
const { RedisStore } = require('./store')
const { readTimeouts, Timeouts } = require('./timeouts')
const { bindNewSessions, createGuard, destroyIfPossible } = require('./user-agent')
const { createVerifier } = require('./verify-session')

const DEFAULT_NAME = 'meetabl.sid'

// With this header a request does not count as activity: it is how a page asks how long its session still lasts.
const ACTIVITY_HEADER = 'session-activity'

// What the addon says of a cookie that holds no session of ours.
const REFUSALS = [
  null,
  { type: 'signature_refused', reason: 'unsigned' },
  { type: 'signature_refused', reason: 'forged' },
  { type: 'id_refused' }
]

const nothing = () => {}

const anObject = { isFine: (value) => typeof value === 'object' && value !== null, expected: 'an object' }
const aPart = { isFine: (value) => value === false || anObject.isFine(value), expected: 'options, or false' }
const aPattern = { isFine: (value) => value instanceof RegExp, expected: 'a regular expression' }

const CHECKS = {
  store: anObject,
  redis: anObject,
  secret: anything,
  name: anything,
  cookie: anObject,
  genid: aFunction,
  idPattern: aPattern,
  rolling: aFlag,
  timeoutMs: anything,
  absoluteTimeoutMs: anything,
  warnBeforeMs: anything,
  preset: anything,
  timeouts: oneOf(false),
  helpers: oneOf(false),
  userAgent: aPart,
  csrf: aPart,
  ...EVENT_OPTIONS
}

/** The middleware, with `store`, `close()`, `rotateSecrets([...])` and `verifySession(req)`. */
function meetablSession(options = {}) {
  const { name = DEFAULT_NAME, rolling = false, logger, ...given } = checkOptions(options, CHECKS)
  const times = readTimeouts(given, process.env)
  const isProduction = process.env.NODE_ENV === 'production'
  const cookie = cookieOptions(given.cookie ?? {}, { name, maxAge: times.idleMs, isProduction })
  const keys = new KeyRing(collectSecrets(given.secret, process.env))
  const events = new SecurityEvents({ onSecurityEvent: given.onSecurityEvent, logger })
  const timeouts = given.timeouts === false ? null : new Timeouts(times, rolling)
  const isId = idCheck(given.idPattern)
  const isPlain = plainCookie(name)
  const steps = [
    given.userAgent === false ? null : createGuard(given.userAgent ?? {}, events),
    given.csrf === false ? null : createProtection(given.csrf ?? {}, keys, events),
    given.helpers === false ? null : sessionHelpers()
  ].filter(Boolean)

  // The store comes last: it connects, and nothing above may fail after that.
  const store = given.store ?? new RedisStore({ logger, ...given.redis })
  const secrets = [...keys.secrets]
  const genid = checkedGenid(given.genid ?? newSessionId, isId)
  const load = session({
    store,
    secret: secrets,
    name,
    cookie,
    genid,
    rolling,
    resave: false,
    saveUninitialized: false
  })
  if (timeouts) beginNewSessions(store, timeouts)
  if (given.userAgent !== false) bindNewSessions(store)
  const open = createOpener({ keys, name, isId, events })

  function middleware(req, res, next) {
    if (req.session || isOutside(req, cookie.path)) return next()
    const { id, isEarlier } = open(req)
    const isActivity = req.headers[ACTIVITY_HEADER] !== 'none'
    // `handledId` is the session's id when the handler begins.
    const state = { id, isEarlier, isActivity, isLoaded: false, handledId: null }
    beforeHeaders(res, () => finish(req, res, state, { name, keys, events, timeouts }))
    const { end } = res
    const restore =
      id && !isEarlier && isPlain(req.headers.cookie)
        ? nothing
        : present(req, id && `${name}=${encodeURIComponent(keys.seal(id))}`)
    try {
      load(req, res, (error) => {
        restore()
        endInAnyCase(req, res, end)
        proceed(req, res, next, state, error)
      })
    } finally {
      restore()
    }
  }

  function proceed(req, res, next, state, error) {
    if (error) {
      // What could not be loaded whole is no session.
      delete req.session
      return next(error)
    }
    noteLoad(req, state, events)
    const protect = () => {
      const { sessionID } = req
      walk(steps, req, res, (refusal) => {
        state.handledId = sessionID
        next(refusal)
      })
    }
    if (timeouts && state.isLoaded) endIfOver(req, state, { timeouts, events }, protect)
    else protect()
  }

  return Object.assign(middleware, {
    store,

    /** Lets go of the store that was made here. One that was given is closed by who gave it. */
    async close() {
      if (given.store === undefined) await store.close()
    },

    /** From now on the first of these signs, and all of them verify. */
    rotateSecrets(list) {
      const named = nameSecrets('secrets', list)
      keys.rotate(named)
      secrets.splice(0, secrets.length, ...keys.secrets)
    },

    verifySession: createVerifier({ open, store, events, timeouts, userAgent: given.userAgent, csrf: given.csrf })
  })
}

/** Finds the session's id in a request's cookie. */
function createOpener({ keys, name, isId, events }) {
  const none = { id: null, isEarlier: false }
  const usesPlainIds = isId === null

  return (req) => {
    const { cookie } = req.headers
    if (!cookie) return none
    const opened = keys.open(cookie, name, usesPlainIds)
    if (typeof opened === 'number') {
      const refusal = REFUSALS[opened]
      if (refusal !== null) events.report(refusal.type, req, refusal)
      return none
    }
    const id = opened.id ?? opened
    if (!usesPlainIds && !isId(id)) {
      events.report('id_refused', req)
      return none
    }
    if (typeof opened === 'string') return { id, isEarlier: false }
    events.report('old_secret_used', req, { id })
    return { id, isEarlier: true }
  }
}

// Null for the ids that are handed out here, which the addon checks.
function idCheck(pattern) {
  if (pattern === undefined) return null
  const stateless = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ''))
  return (id) => stateless.test(id)
}

function checkedGenid(genid, isId) {
  const isFine = isId ?? ((id) => /^[\w-]{16,128}$/.test(id))
  return (req) => {
    const id = genid(req)
    if (typeof id === 'string' && isFine(id)) return id
    throw createError(
      'ERR_INVALID_SESSION_ID',
      '`genid` made an id that is not allowed. Expected 16 to 128 letters, digits, dashes and underscores, or what ' +
        '`idPattern` matches.'
    )
  }
}

// Where the browser sends no cookie there is no session, and nothing to protect.
function isOutside(req, path) {
  return path !== '/' && !(req.originalUrl ?? req.url).startsWith(path)
}

// One cookie alone, as express-session writes it: when the first secret signed it, it can be read in one way only, and
// there is nothing to hide.
function plainCookie(name) {
  const pattern = new RegExp(`^${name.replace(/\W/g, '\\$&')}=s%3A[\\w.%-]+$`)
  return (header) => pattern.test(header)
}

/**
 * Shows express-session the cookie that was verified, or none, while it looks for one: it reads headers in ways of its
 * own, and what cookie-parser made of them too. Returns what puts everything back.
 */
function present(req, cookie) {
  const { headers, cookies, signedCookies } = req
  const original = headers.cookie
  if (original === undefined) return nothing
  let isHidden = true
  headers.cookie = cookie ?? undefined
  if (cookies) req.cookies = undefined
  if (signedCookies) req.signedCookies = undefined
  return () => {
    if (!isHidden) return
    isHidden = false
    headers.cookie = original
    if (cookies) req.cookies = cookies
    if (signedCookies) req.signedCookies = signedCookies
  }
}

/**
 * A session that cannot become text (a BigInt, a cycle) makes express-session throw in `res.end`, and answer no second call:
 * the client would wait for ever. So the second one goes past it, without a session. `end` is what there was before it.
 */
function endInAnyCase(req, res, end) {
  const save = res.end
  let isBroken = false
  res.end = function endOnce(...args) {
    if (isBroken) return end.apply(this, args)
    try {
      return save.apply(this, args)
    } catch (error) {
      isBroken = true
      delete req.session
      throw error
    }
  }
}

function noteLoad(req, state, events) {
  const { id } = state
  if (id === null || !req.session) return
  state.isLoaded = req.sessionID === id
  if (!state.isLoaded) events.report('session_unknown', req, { id })
}

/** Ends what is over, should the store not have done so, and starts anew. */
function endIfOver(req, { isActivity }, { timeouts, events }, next) {
  const reason = timeouts.reasonToEnd(req.session)
  if (reason === null) {
    timeouts.use(req.session, isActivity)
    return next()
  }
  events.report('session_expired', req, { reason, id: req.sessionID })
  // Whether or not it could be destroyed: it is not used any more.
  destroyIfPossible(req.sessionStore, req.sessionID, () => {
    req.sessionStore.generate(req)
    next()
  })
}

function walk(steps, req, res, done) {
  let at = 0
  const next = (error) => (error || at === steps.length ? done(error) : steps[at++](req, res, next))
  next()
}

function beginNewSessions(store, timeouts) {
  const { generate } = store
  store.generate = function generateBegun(req) {
    generate.call(this, req)
    timeouts.begin(req.session)
  }
}

/** Calls once, right before the headers go. What is passed to `writeHead` is in the response by then: express-session. */
function beforeHeaders(res, call) {
  const { writeHead } = res
  let isCalled = false
  res.writeHead = function writeHeadLast(...args) {
    const isFirst = !isCalled
    isCalled = true
    if (isFirst) call()
    return writeHead.apply(this, args)
  }
}

function finish(req, res, state, { name, keys, events, timeouts }) {
  const { id, isEarlier, isActivity, isLoaded } = state
  const { session } = req
  const isSame = isLoaded && Boolean(session) && req.sessionID === id
  let isSet = setsCookie(res, name)
  if (isEarlier && isSame && !isSet && (!session.cookie.secure || req.secure)) {
    addCookie(res, session.cookie.serialize(name, keys.seal(id)))
    isSet = true
  }
  if (isSet) res.setHeader('Cache-Control', 'no-store')
  if (session && (isSame || isSet)) timeouts?.tell(res, session, isActivity)
  const type = whatHappened(req, state, isSet && !isSame)
  if (type !== null) events.report(type, req, { id: session ? req.sessionID : id })
}

function whatHappened({ session, sessionID }, { isLoaded, handledId }, isNew) {
  if (!session) return isLoaded && handledId !== null ? 'session_destroyed' : null
  if (handledId !== null && sessionID !== handledId) return 'session_regenerated'
  return isNew ? 'session_created' : null
}

function setsCookie(res, name) {
  return res.getHeader('Set-Cookie') !== undefined && setCookies(res).some((line) => line.startsWith(`${name}=`))
}

module.exports = { meetablSession }
