'use strict'

// `req.regenerateSession` and `req.destroySession`, on any express-session store.

const { createError } = require('./errors')

/** Middleware for after express-session. */
function sessionHelpers() {
  return function addSessionHelpers(req, res, next) {
    req.regenerateSession = (callback) => settle(regenerate(req), callback)
    req.destroySession = (callback) => settle(destroy(req, res), callback)
    next()
  }
}

/** Unlike `req.session.regenerate`, starts no new session when the old one could not be destroyed. */
async function regenerate(req) {
  await destroyInStore(req)
  req.sessionStore.generate(req)
}

async function destroy(req, res) {
  const { cookie } = requireSession(req)
  const id = req.sessionID
  await destroyInStore(req)
  delete req.session
  clearCookie(req, res, id, cookie)
}

function destroyInStore(req) {
  requireSession(req)
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

// The cookie goes with the same name, path and domain that it came with (OWASP ASVS 5.0, 14.3.1). Its name is the one
// under which the browser sent this session.
function clearCookie(req, res, id, cookie) {
  if (res.headersSent) return
  for (const name of cookieNames(req.headers.cookie, id)) {
    cookie.expires = new Date(0)
    const earlier = [res.getHeader('Set-Cookie') ?? []].flat()
    res.setHeader('Set-Cookie', [...earlier, cookie.serialize(name, '')])
  }
}

function cookieNames(header = '', id) {
  const pairs = header.split(';').map((pair) => {
    const at = pair.indexOf('=')
    return { name: pair.slice(0, at).trim(), value: decode(pair.slice(at + 1).trim()) }
  })
  return new Set(pairs.filter(({ value }) => value.startsWith(`s:${id}.`)).map(({ name }) => name))
}

function decode(value) {
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}

function settle(promise, callback) {
  if (typeof callback !== 'function') return promise
  // In a microtask of its own, so that what the callback throws is no rejection.
  promise.then(
    () => queueMicrotask(() => callback()),
    (error) => queueMicrotask(() => callback(error))
  )
}

module.exports = { sessionHelpers }
