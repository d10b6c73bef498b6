// Session ids and session data as express-session makes them.
const crypto = require('node:crypto')
const { Cookie } = require('express-session')

function newId() {
  return crypto.randomBytes(24).toString('base64url')
}

/** A session with a cookie that lives for `lifetimeMs`; without it, a cookie without an expiry. */
function sessionWith(data = {}, lifetimeMs = undefined) {
  return { cookie: new Cookie({ maxAge: lifetimeMs }), ...data }
}

/** What storing makes of it. */
function stored(session) {
  return JSON.parse(JSON.stringify(session))
}

module.exports = { newId, sessionWith, stored }
