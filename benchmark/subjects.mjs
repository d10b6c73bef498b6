// What is compared, and the session that all of them keep.

import { RedisStore as ConnectRedisStore } from 'connect-redis'
import session from 'express-session'
import { RedisStore } from 'meetabl-session'
import { createClient } from 'redis'

export const NONE = 'no session'
export const MEMORY = 'MemoryStore'
export const THEIRS = 'connect-redis'
export const OURS = 'meetabl-session'

const DAY = 86_400_000

/** What an API with a login keeps: the cookie, who it is, and the tokens and texts that middleware leaves behind. */
export const data = {
  passport: { user: '9b2f6c1e-4f0a-4d3b-8c75-1f0e2d3c4b5a' },
  userAgent:
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36',
  csrfSecret: 'q7Zk3vX9pLmN2rTbYcVdEfGhJkWsAuIo',
  returnTo: '/calendars/9b2f6c1e/bookings?from=2026-11-01&to=2026-11-30&view=week'
}

/** The same as a store is given it. */
export function sampleSession() {
  const cookie = { originalMaxAge: DAY, expires: new Date(Date.now() + DAY), httpOnly: true, path: '/' }
  return { cookie, ...data }
}

export function idOf(n) {
  return `b7Qm2xKfT9uVwYzA4cEgHjLnPrSt${n}`
}

/** `{ name, store, close() }`, connected. `options` are this package's own. */
export async function connect(name, { url, tls: material }, options = {}) {
  const tls = material && { ca: material.ca, cert: material.cert, key: material.key }
  if (name === MEMORY) return { name, store: new session.MemoryStore(), close: () => {} }
  if (name === OURS) {
    const store = new RedisStore({ url, prefix: 'ours:', logger: false, ...(tls && { tls }), ...options })
    const state = await store.ready()
    if (state !== 'ready') throw new Error(`Redis does not serve: the store is ${state}`)
    return { name, store, close: () => store.close() }
  }
  const client = createClient({ url, ...(tls && { socket: { tls: true, ...tls } }) })
  await client.connect()
  return { name, store: new ConnectRedisStore({ client, prefix: 'theirs:' }), close: () => client.close() }
}
