// What TypeScript users can rely on in the security layer.

import { createServer } from 'node:http'
import express from 'express'
import session, { MemoryStore, type Session } from 'express-session'
import { expectAssignable, expectError, expectType } from 'tsd'
import {
  csrfProtection,
  csrfTokenRoute,
  type MeetablSession,
  meetablSession,
  type RedisStore,
  type SecurityEvent,
  sign,
  unsign,
  userAgentGuard
} from '../..'
import { watchSession } from '../../browser.mjs'

const secret = 'a secret of at least 32 characters'

expectType<string>(sign('value', secret))
expectType<string | false>(unsign('value.signature', Buffer.from(secret)))
expectError(sign(42, secret))
expectError(sign('value'))

const app = express()
app.use(session({ secret, resave: false, saveUninitialized: false }))
app.use(userAgentGuard())
app.use(userAgentGuard({ compare: 'family', mode: 'report', legacy: 'reject', logger: false }))
app.use(userAgentGuard({ compare: (bound, current, req) => bound === current && req.method === 'GET' }))
expectError(userAgentGuard({ compare: 'loosely' }))
app.use(csrfProtection())
app.use(csrfProtection({ secret: [secret, Buffer.from(secret)], mode: 'origin', exempt: ['/hook', '/hooks/'] }))
app.use(csrfProtection({ trustedOrigins: 'https://admin.example.com', reportOnly: true }))
expectError(csrfProtection({ methods: ['POST'] }))
app.get('/token', csrfTokenRoute())
app.get('/form', (req) => expectType<string>(req.csrfToken()))

const sessions = meetablSession()
expectAssignable<MeetablSession>(sessions)
expectType<RedisStore>(sessions.store)
app.use(sessions)
expectType<MemoryStore>(meetablSession({ store: new MemoryStore() }).store)
expectType<RedisStore>(meetablSession({ redis: { prefix: 'api:' }, preset: 'aal2' }).store)
meetablSession({
  secret,
  name: '__Host-sid',
  cookie: { secure: true, sameSite: 'strict' },
  genid: (req) => req.url,
  idPattern: /^user:\d+$/,
  timeoutMs: 1000,
  absoluteTimeoutMs: 2000,
  warnBeforeMs: 20_000,
  userAgent: false,
  csrf: { mode: 'strict' },
  helpers: false,
  onSecurityEvent: (event) => expectType<SecurityEvent>(event)
})
expectError(meetablSession({ cookie: { httpOnly: false } }))
expectError(meetablSession({ saveUninitialized: true }))
expectError(meetablSession({ preset: 'aal4' }))
expectType<void>(sessions.rotateSecrets([secret, 'an earlier one of 32 characters too']))
expectError(sessions.rotateSecrets([]))
expectType<Promise<void>>(sessions.close())
createServer(app).on('upgrade', async (req) => {
  const found = await sessions.verifySession(req, app)
  if (found) expectAssignable<Session>(found)
})

expectType<{ stop(): void }>(watchSession({ url: '/session', texts: { stay: 'Bleiben' } }))
expectError(watchSession({}))
