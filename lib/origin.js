'use strict'

// Where a request says that it comes from, and where it should.

const { createError } = require('./errors')
const { show } = require('./options')

const HOST = /^[\w.-]+(:\d+)?$|^\[[\da-f:.]+\](:\d+)?$/i

/** Checks at start: whole origins, as browsers write them. */
function checkOrigins(name, origins) {
  const list = Array.isArray(origins) ? origins : [origins]
  for (const origin of list) {
    if (typeof origin === 'string' && originIn(origin) === origin) continue
    throw createError(
      'ERR_INVALID_OPTION',
      `\`${name}\` holds ${show(origin)}. Expected whole origins, as 'https://shop.example.com' or 'http://localhost:3000'.`
    )
  }
  return new Set(list)
}

/** The origin that a page of this very application has; null when that cannot be told. Heeds `trust proxy`. */
function ownOrigin(req, app = req.app) {
  const trusts = app?.get('trust proxy fn')
  const isBehindProxy = Boolean(trusts?.(req.socket.remoteAddress, 0))
  const forwarded = (name) => (isBehindProxy && req.headers[name]?.split(',', 1)[0].trim()) || undefined
  const protocol = forwarded('x-forwarded-proto') ?? (req.socket.encrypted ? 'https' : 'http')
  const host = forwarded('x-forwarded-host') ?? req.headers.host
  return host && HOST.test(host) ? originIn(`${protocol}://${host}`) : null
}

/** The origin of a URL; null for none, and for those that browsers call `null`. */
function originIn(url) {
  try {
    const { origin, protocol } = new URL(url)
    return protocol === 'https:' || protocol === 'http:' ? origin : null
  } catch {
    return null
  }
}

module.exports = { checkOrigins, originIn, ownOrigin }
