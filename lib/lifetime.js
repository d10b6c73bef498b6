'use strict'

// How long a session lives, from its cookie or the store's `ttl`.

const { createError, toFailure } = require('./errors')

/**
 * Milliseconds that the session has left to live; none when it is 0 or less. Not the moment when it ends: where a test
 * sets `Date` to another time, a cookie's expiry follows it, and Redis does not. `store.ttl`: seconds, or a function of the
 * session that wins over the cookie.
 */
function lifetimeOf(session, store) {
  const expires = session?.cookie?.expires
  if (typeof store.ttl === 'function') return checkTime(callTtl(session, store)) * 1000
  if (expires) return checkTime(timeOf(expires)) - Date.now()
  return store.ttl * 1000
}

function callTtl(session, store) {
  try {
    return store.ttl(session)
  } catch (error) {
    throw toFailure(error, 'ERR_INVALID_TTL')
  }
}

function checkTime(time) {
  if (typeof time === 'number' && !Number.isNaN(time)) return time
  throw createError(
    'ERR_INVALID_TTL',
    "The session's lifetime is not a number. Expected `cookie.expires` to be a date, or `ttl` to give seconds."
  )
}

// NaN when it is no plain matter: what throws here throws again where that is answered for.
function endOf(session) {
  try {
    const { expires } = session.cookie
    return expires instanceof Date ? expires.getTime() : Number.NaN
  } catch {
    return Number.NaN
  }
}

// NaN for what is no date: some values (BigInt, Symbol) even throw.
function timeOf(expires) {
  if (expires instanceof Date) return expires.getTime()
  try {
    return new Date(expires).getTime()
  } catch {
    return Number.NaN
  }
}

module.exports = { endOf, lifetimeOf }
