'use strict'

// `req.regenerateSession` and `req.destroySession`, on any express-session store.

const { handOver, isCallback, unwatched } = require('./callback')
const { clearCookies, sentNames } = require('./cookies')
const { createError } = require('./errors')

/** Middleware for after express-session. */
function sessionHelpers() {
  return function addSessionHelpers(req, res, next) {
    // Under which names the browser sent what was this request's session at some time.
    const names = new Set()
    req.regenerateSession = (callback) => settle(regenerate(req, names), callback)
    req.destroySession = (callback) => settle(destroy(req, res, names), callback)
    next()
  }
}

/** Unlike `req.session.regenerate`, starts no new session when the old one could not be destroyed. */
async function regenerate(req, names) {
  await destroyInStore(req, names)
  req.sessionStore.generate(req)
}

async function destroy(req, res, names) {
  const { cookie } = requireSession(req)
  await destroyInStore(req, names)
  delete req.session
  clearCookies(res, names, cookie)
}

function destroyInStore(req, names) {
  requireSession(req)
  for (const name of sentNames(req.headers.cookie, req.sessionID)) names.add(name)
  return new Promise((resolve, reject) => {
    req.sessionStore.destroy(req.sessionID, (error) => (error ? reject(error) : resolve()))
  })
}

function requireSession(req) {
  if (req.session) return req.session
  throw createError(
    'ERR_NO_SESSION',
    'This request has no session. Expected express-session to run before, and the session not to be destroyed yet.'
  )
}

function settle(promise, callback) {
  if (!isCallback(callback)) return unwatched(promise)
  handOver(promise, callback)
}

module.exports = { sessionHelpers }
