// The store alone, against connect-redis and express-session's MemoryStore, on one Redis: operations per second, and what
// they cost the event loop. COUNT, ROUNDS and IN_FLIGHT change its size.

import support from '../__test__/support/redis.js'
import { interleave, middle, ratio, runLoad, size, sizes } from './measure.mjs'
import { promise, publish, table } from './report.mjs'
import { connect, idOf, MEMORY, OURS, sampleSession, THEIRS } from './subjects.mjs'

const SESSIONS = 1000

const count = size('COUNT', 60_000)
const rounds = size('ROUNDS', 9)
const session = sampleSession()
const ids = Array.from({ length: SESSIONS }, (_, n) => idOf(n))

const redis = await support.startRedis()
const theirs = await connect(THEIRS, redis)
const memory = await connect(MEMORY, redis)
const ours = await connect(OURS, redis)
const oursWithout = await connect(OURS, redis, { cache: false })
const [cached, uncached] = [
  [theirs, memory, ours],
  [theirs, memory, oursWithout]
]

const operations = [
  { name: 'set', subjects: cached, prepare: (store) => (n, done) => store.set(ids[n % SESSIONS], session, done) },
  { name: 'save', subjects: cached, prepare: prepareSave },
  { name: 'get, change, save', subjects: cached, prepare: prepareChange },
  { name: 'get, hit', subjects: cached, prepare: prepareGet },
  { name: 'get, cache off', subjects: uncached, prepare: prepareGet },
  { name: 'get, no such session', subjects: cached, prepare: prepareMissing },
  { name: 'touch', subjects: cached, prepare: (store) => (n, done) => store.touch(ids[n % SESSIONS], session, done) }
]
const promised = {
  set: { perSecond: 1.8, loopMicros: 0.5 },
  'get, hit': { perSecond: 5, loopMicros: 1 / 5 },
  'get, cache off': { perSecond: 1.8, loopMicros: 0.55 },
  touch: { perSecond: 7, loopMicros: 1 / 6 }
}

for (const { store } of [...cached, oursWithout]) for (const id of ids) await call(store, 'set', id, session)

const tables = []
const promises = []
const figures = []
for (const inFlight of sizes('IN_FLIGHT', [1, 64, 512])) {
  const rows = []
  for (const { name, subjects, prepare } of operations) {
    const load = { count: inFlight === 1 ? Math.ceil(count / 10) : count, inFlight }
    const prepared = new Map()
    for (const { name, store } of subjects) prepared.set(name, await prepare(store))
    const results = await interleave(subjects, rounds, (subject) => runLoad(prepared.get(subject.name), load))
    rows.push(row(name, results))
    if (inFlight === 64) judge(name, results)
  }
  const head = ['op/s', 'loop, µs'].flatMap((unit) => [`${THEIRS}, ${unit}`, MEMORY, 'here', `here / ${THEIRS}`])
  tables.push(`### ${inFlight} in flight`, table(['', ...head], rows))
}

publish({
  name: 'store',
  title: 'The store alone',
  how:
    `${SESSIONS} sessions of ${JSON.stringify(session).length} bytes, ${rounds} rounds of ${count} operations (a tenth ` +
    'with one in flight). "loop" is how long the event loop was busy for each operation, `JSON` included. `set` is given ' +
    'a plain object; `save` a session that was loaded before, and is saved again and again; "get, change, save" is what a ' +
    'request does that changes its session.',
  tables,
  promises,
  figures: { store: figures }
})
for (const subject of [theirs, ours, oursWithout]) await subject.close()
await redis.stop()

/** Sessions as requests have them: loaded, changed, saved, and so again and again. */
async function prepareSave(store) {
  const loaded = []
  for (const id of ids) {
    const request = { sessionID: id, sessionStore: store }
    loaded.push(store.createSession(request, await call(store, 'get', id)))
  }
  return (n, done) => {
    const session = loaded[n % SESSIONS]
    session.visits = n
    store.set(ids[n % SESSIONS], session, done)
  }
}

/** What express-session does for a request that changes its session. */
async function prepareChange(store) {
  await prepareGet(store)
  return (n, done) => {
    const sessionID = ids[n % SESSIONS]
    store.get(sessionID, (error, data) => {
      if (error) return done(error)
      const session = store.createSession({ sessionID, sessionStore: store }, data)
      session.visits = n
      store.set(sessionID, session, done)
    })
  }
}

async function prepareGet(store) {
  for (const id of ids) if (!(await call(store, 'get', id))) throw new Error('a session is not there')
  return (n, done) => store.get(ids[n % SESSIONS], done)
}

/** Another id each time, as a scanner has them. */
function prepareMissing(store) {
  let asked = 0
  return (_, done) => store.get(`none-${asked++}`, done)
}

function call(store, method, ...values) {
  return new Promise((resolve, reject) => {
    store[method](...values, (error, result) => (error ? reject(error) : resolve(result)))
  })
}

function row(name, results) {
  const measured = ['perSecond', 'loopMicros'].flatMap((figure) => [
    ...[THEIRS, MEMORY, OURS].map((subject) => middle(results, subject, figure)),
    ratio(results, OURS, THEIRS, figure)
  ])
  return [name, ...measured]
}

function judge(name, results) {
  const [theirs, ours] = [THEIRS, OURS].map((subject) => middle(results, subject, 'loopMicros'))
  figures.push({ name, theirs, ours })
  const limits = promised[name]
  if (!limits) return
  const [more, less] = ['perSecond', 'loopMicros'].map((figure) => ratio(results, OURS, THEIRS, figure))
  promises.push(promise(`${name}: operations per second`, more, { least: limits.perSecond }, ` × ${THEIRS}`))
  promises.push(promise(`${name}: event-loop time`, less, { most: limits.loopMicros }, ` × ${THEIRS}`))
}
