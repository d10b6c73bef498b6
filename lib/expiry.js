'use strict'

// A cookie's expiry, as it stands in a session's text.

// The end of the year 9999: the years after it are written differently.
const LAST_YEAR_END = 253_402_300_800_000

// The last moment that a date can hold, in milliseconds.
const LAST_DATE = 8.64e15

// In milliseconds.
const LEAST_DRIFT = 20

// JSON.stringify, in three fifths of the time for a usual session: V8 spends as much on one date as on all the rest.
function stringify(session) {
  const { cookie } = session
  const plain = typeof cookie?.toJSON === 'function' ? cookie.toJSON('cookie') : cookie
  const expires = formatDate(plain?.expires)
  if (expires === undefined || session.toJSON !== undefined) return JSON.stringify(session)
  return JSON.stringify({ ...session, cookie: { ...plain, expires } })
}

// What stands behind the second, for each millisecond.
const MILLIS = Array.from({ length: 1000 }, (_, millis) => `${String(millis).padStart(3, '0')}Z`)

// The second that was formatted last: under load the next date is in the same one.
let second = Number.NaN
let secondText = ''

/** What Date.toJSON writes; undefined for what is no date from 1970 to 9999. */
function formatDate(date) {
  const time = date instanceof Date ? date.getTime() : Number.NaN
  if (!(time >= 0 && time < LAST_YEAR_END)) return undefined
  const millis = time % 1000
  if (time - millis !== second) {
    second = time - millis
    secondText = new Date(second).toISOString().slice(0, 20)
  }
  return secondText + MILLIS[millis]
}

/** When a parsed session's cookie expires, in milliseconds; NaN when it does not say so. */
function expiryOf(session) {
  const expires = session?.cookie?.expires
  return typeof expires === 'string' ? parseDate(expires) : Number.NaN
}

// Date.parse, three times as fast for what Date.toJSON writes: every session that is read has one.
function parseDate(text) {
  if (text.length !== 24 || text[23] !== 'Z') return Date.parse(text)
  const two = (at) => text.charCodeAt(at) * 10 + text.charCodeAt(at + 1) - 528
  const millis = two(20) * 10 + text.charCodeAt(22) - 48
  return Date.UTC(two(0) * 100 + two(2), two(5) - 1, two(8), two(11), two(14), two(17), millis)
}

/**
 * Makes a parsed session's cookie expire when the session ends. `expires` is what it says now; returns what it says afterwards.
 * A session that does not say when its cookie expires (`expires` is not a number) stays as it is.
 */
function renewCookie(session, expires, end) {
  const live = Math.min(end, LAST_DATE)
  const off = Math.abs(live - expires)
  if (!(off > LEAST_DRIFT) || off <= drift(session.cookie.originalMaxAge)) return expires
  session.cookie.expires = new Date(live).toISOString()
  return live
}

// How far the live expiry may be from the stored one without a touch between them: the time the commands took.
function drift(originalMaxAge) {
  return Math.min(1000, Math.max(LEAST_DRIFT, originalMaxAge / 100 || 0))
}

module.exports = { expiryOf, renewCookie, stringify }
