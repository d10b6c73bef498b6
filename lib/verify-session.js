'use strict'

// The session of a request that no middleware sees: a WebSocket's upgrade. The same rules, and one more: the page that
// opens it must be this application's own, because browsers let any page open a WebSocket, and send the cookie along.

const { checkOrigins, ownOrigin } = require('./origin')
const { createJudge, destroyIfPossible } = require('./user-agent')

/** `open(req)` gives the id in a request's cookie. */
function createVerifier({ open, store, events, timeouts, userAgent, csrf }) {
  const isTrusted = checkOrigins('csrf.trustedOrigins', csrf?.trustedOrigins ?? [])
  const judge = userAgent === false ? () => 'agrees' : createJudge(userAgent ?? {})
  const isEnforced = userAgent?.mode !== 'report'

  /**
   * Resolves with the session, or with null when the request has none or is refused. `app` tells which proxies are
   * trusted. It does not count as activity.
   */
  return async function verifySession(req, app = undefined) {
    const refuse = (reason, id = undefined) => {
      events.report('upgrade_refused', req, { reason, id })
      return null
    }
    const { origin } = req.headers
    if (!isTrusted.has(origin) && origin !== ownOrigin(req, app)) return refuse('origin')
    const { id } = open(req)
    if (id === null) return null
    const session = await load(store, id)
    if (!session) return refuse('session_unknown', id)
    const over = timeouts?.reasonToEnd(session)
    if (over) return refuse(`expired_${over}`, id)
    const verdict = judge(session, req)
    if (verdict === 'agrees' || verdict === 'unbound') return session
    events.report('user_agent_mismatch', req, { reason: verdict, id })
    if (!isEnforced) return session
    // Refused either way.
    return new Promise((resolve) => destroyIfPossible(store, id, () => resolve(null)))
  }
}

function load(store, id) {
  return new Promise((resolve, reject) => {
    store.load(id, (error, session) => (error && error.code !== 'ENOENT' ? reject(error) : resolve(session)))
  })
}

module.exports = { createVerifier }
