'use strict'

// The session's cookie as the browser sent it, and how it is taken away again.

/** The names under which the browser sent this session's signed id. */
function sentNames(header = '', id) {
  const pairs = header.split(';').map((pair) => {
    const at = pair.indexOf('=')
    return { name: pair.slice(0, at).trim(), value: decode(pair.slice(at + 1).trim()) }
  })
  return pairs.filter(({ value }) => value.startsWith(`s:${id}.`)).map(({ name }) => name)
}

// A value may stand in quotes (RFC 6265, 4.1.1).
function decode(value) {
  const bare = value.startsWith('"') ? value.slice(1, -1) : value
  try {
    return decodeURIComponent(bare)
  } catch {
    return bare
  }
}

/** The cookie goes with the same path and domain that it came with (OWASP ASVS 5.0, 14.3.1). */
function clearCookies(res, names, cookie) {
  if (res.headersSent) return
  cookie.expires = new Date(0)
  for (const name of names) addCookie(res, cookie.serialize(name, ''))
}

function addCookie(res, line) {
  res.setHeader('Set-Cookie', [...setCookies(res), line])
}

/** The Set-Cookie lines that the response has so far. */
function setCookies(res) {
  return [res.getHeader('Set-Cookie') ?? []].flat()
}

module.exports = { addCookie, clearCookies, sentNames, setCookies }
