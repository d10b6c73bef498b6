// What TypeScript users can rely on. Session data is typed as express-session says: by module augmentation.

import express from 'express'
import session, { type SessionData, type Store } from 'express-session'
import { expectAssignable, expectError, expectType } from 'tsd'
import { type ListedSession, type Logger, RedisStore, type StoreState, type StoreStats, sessionHelpers } from '../..'

declare module 'express-session' {
  interface SessionData {
    userId?: string
    cart?: Record<string, number>
  }
}

const store = new RedisStore()
expectAssignable<Store>(store)
new RedisStore({ url: 'rediss://user:password@host:6380/0', prefix: 'api:', ttl: 3600 })
new RedisStore({ ttl: (data) => (data.userId ? 3600 : 60), tls: { ca: '-----BEGIN CERTIFICATE-----' } })
new RedisStore({ logger: console, serializer: JSON, cache: { maxBytes: 1 << 20 } })
new RedisStore({ logger: false, disableTTL: true, disableTouch: true, scanCount: 1000 })
expectError(new RedisStore({ port: '6379' }))
expectError(new RedisStore({ prefx: 'a' }))
expectError(new RedisStore({ client: {} }))
expectAssignable<Logger>(console)

// Each method: a promise, or a callback.
expectType<Promise<SessionData | null>>(store.get('id'))
expectType<void>(store.get('id', (_error, data) => expectType<SessionData | null | undefined>(data)))
declare const data: SessionData
expectType<Promise<void>>(store.set('id', data))
expectType<void>(store.set('id', data, () => {}))
expectType<Promise<void>>(store.touch('id', data))
expectType<Promise<void>>(store.destroy('id'))
expectType<Promise<void>>(store.clear())
expectType<Promise<number>>(store.length())
expectType<StoreState>(await store.ready())
expectType<StoreState>(store.state)
expectType<StoreStats>(store.stats())
expectType<Promise<void>>(store.close())
expectError(store.get(42))

// A listing is an array to who awaits it, and can be iterated over.
expectType<string[]>(await store.ids())
expectType<ListedSession[]>(await store.all())
async function listed() {
  for await (const id of store.ids()) expectType<string>(id)
  for await (const one of store.all()) expectType<string | undefined>(one.userId)
}
expectAssignable<() => Promise<void>>(listed)

store.on('reconnecting', ({ attempt, delayMs }) => expectType<[number, number]>([attempt, delayMs]))
store.on('error', (error) => expectAssignable<string>(error.code))
store.once('recovered', ({ replayed }) => expectType<number>(replayed))

const app = express()
app.use(session({ store, secret: 'a secret of at least 32 characters', resave: false, saveUninitialized: false }))
app.use(sessionHelpers())
app.post('/login', async (req, res) => {
  expectType<Promise<void>>(req.regenerateSession())
  expectType<void>(req.regenerateSession((error) => error))
  req.session.userId = 'ada'
  expectType<string>(req.session.userId)
  expectType<Promise<void>>(req.destroySession())
  expectType<void>(req.destroySession(() => res.end()))
})
