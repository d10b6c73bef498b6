// The store alone, against connect-redis, on one Redis: operations per second, and what they cost the event loop.
// `npm run bench`; COUNT, ROUNDS and IN_FLIGHT change its size.

import os from 'node:os'
import { RedisStore as ConnectRedisStore } from 'connect-redis'
import { RedisStore } from 'meetabl-session'
import { createClient } from 'redis'
import support from '../__test__/support/redis.js'
import { interleave, median, ratio, runLoad } from './measure.mjs'

const count = Number(process.env.COUNT ?? 20_000)
const rounds = Number(process.env.ROUNDS ?? 9)
const concurrency = (process.env.IN_FLIGHT ?? '1,64,512').split(',').map(Number)

// What an API with a login keeps: the cookie, who it is, and the tokens and texts that middleware leaves behind.
const session = {
  cookie: { originalMaxAge: 86_400_000, expires: new Date(Date.now() + 86_400_000), httpOnly: true, path: '/' },
  passport: { user: '9b2f6c1e-4f0a-4d3b-8c75-1f0e2d3c4b5a' },
  userAgent:
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36',
  csrfSecret: 'q7Zk3vX9pLmN2rTbYcVdEfGhJkWsAuIo',
  returnTo: '/calendars/9b2f6c1e/bookings?from=2026-11-01&to=2026-11-30&view=week'
}
const ids = Array.from({ length: 1000 }, (_, n) => `b7Qm2xKfT9uVwYzA4cEgHjLnPrSt${n}`)
const missing = ids.map((id) => `none-${id}`)

const redis = await support.startRedis()
const client = createClient({ url: redis.url })
await client.connect()
const ours = new RedisStore({ url: redis.url, prefix: 'ours:', logger: false })
await ours.ready()

const subjects = [
  { name: 'connect-redis', store: new ConnectRedisStore({ client, prefix: 'theirs:' }) },
  { name: 'meetabl-session', store: ours }
]
const operations = {
  set: (store) => (n, done) => store.set(ids[n % 1000], session, done),
  get: (store) => (n, done) => store.get(ids[n % 1000], done),
  'get, missing': (store) => (n, done) => store.get(missing[n % 1000], done),
  touch: (store) => (n, done) => store.touch(ids[n % 1000], session, done)
}

console.log(`Node ${process.version}, ${os.cpus().length} cores (${os.cpus()[0].model}), Redis on the same machine.`)
console.log(`Sessions of ${JSON.stringify(session).length} bytes, ${rounds} rounds of ${count} operations, medians.\n`)
console.log('| operation | in flight | connect-redis, op/s | here, op/s | ratio | event loop, µs/op | here | ratio |')
console.log('|---|---:|---:|---:|---:|---:|---:|---:|')
for (const inFlight of concurrency) {
  for (const [name, operation] of Object.entries(operations)) {
    const size = { count: inFlight === 1 ? count / 10 : count, inFlight }
    const results = await interleave(subjects, rounds, ({ store }) => runLoad(operation(store), size))
    const [theirs, here] = subjects.map((subject) => figures(results.get(subject.name)))
    const ratios = ['perSecond', 'loopMicros'].map((figure) =>
      ratio(results, 'meetabl-session', 'connect-redis', figure)
    )
    console.log(
      `| ${name} | ${inFlight} | ${theirs.perSecond} | ${here.perSecond} | ${ratios[0].toFixed(2)} | ` +
        `${theirs.loopMicros} | ${here.loopMicros} | ${ratios[1].toFixed(2)} |`
    )
  }
}

await ours.close()
await client.close()
await redis.stop()

function figures(results) {
  return {
    perSecond: Math.round(median(results.map((result) => result.perSecond))),
    loopMicros: median(results.map((result) => result.loopMicros)).toFixed(1)
  }
}
