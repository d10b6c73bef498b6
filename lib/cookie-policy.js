'use strict'

// The attributes of the session's cookie: safe ones by NODE_ENV, and combinations that browsers would drop, or that give
// the cookie away, refused at start (OWASP ASVS 5.0, 3.3.1 to 3.3.4).

const { aFlag, checkOptions, oneOf, refuseOption } = require('./options')

const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/
const aText = { isFine: (value) => typeof value === 'string' && value !== '', expected: 'text' }

const CHECKS = {
  path: { isFine: (value) => typeof value === 'string' && value.startsWith('/'), expected: "a path, as '/'" },
  domain: aText,
  secure: oneOf(true, false, 'auto'),
  httpOnly: { isFine: (value) => value === true, expected: 'true: no script of a page may read the session cookie' },
  sameSite: oneOf(true, 'strict', 'lax', 'none'),
  partitioned: aFlag,
  priority: oneOf('low', 'medium', 'high')
}

/** express-session's `cookie` option. */
function cookieOptions(given, { name, maxAge, isProduction }) {
  checkName(name)
  const options = {
    path: '/',
    secure: isProduction,
    sameSite: isProduction ? 'strict' : 'lax',
    ...withoutUndefined(checkOptions(given, CHECKS))
  }
  checkCombination(options, name)
  return { ...options, httpOnly: true, maxAge }
}

function checkName(name) {
  if (typeof name === 'string' && TOKEN.test(name)) return
  refuseOption('name', 'no cookie name', "letters, digits, '-', '_' and '.', as 'meetabl.sid'")
}

function checkCombination({ secure, sameSite, partitioned, domain, path }, name) {
  const needsSecure = (what) =>
    secure === true || refuseOption('cookie.secure', String(secure), `true, because ${what}`)
  if (sameSite === 'none') needsSecure("browsers drop a cookie that is `sameSite: 'none'` without it")
  if (partitioned) needsSecure('browsers drop a partitioned cookie without it')
  if (/^__(host|secure)-/i.test(name)) needsSecure(`browsers drop a cookie that is called \`${name}\` without it`)
  if (!/^__host-/i.test(name)) return
  if (domain !== undefined) refuseOption('cookie.domain', 'set', `none, because the cookie is called \`${name}\``)
  if (path !== '/') refuseOption('cookie.path', `'${path}'`, `'/', because the cookie is called \`${name}\``)
}

function withoutUndefined(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

module.exports = { cookieOptions }
