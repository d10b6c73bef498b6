// What a request waits for its session when Redis is not next door: one request at a time, through a proxy that adds to the
// round trip. COUNT, ROUNDS and ROUND_TRIPS change its size.

import { createClient } from 'redis'
import support from '../__test__/support/redis.js'
import { startApp } from './app.mjs'
import { difference, interleave, median, middle, runLoad, size, sizes } from './measure.mjs'
import { startProxy } from './proxy.mjs'
import { promise, publish, table } from './report.mjs'
import { NONE, OURS, THEIRS } from './subjects.mjs'
import { openVisitors } from './visitors.mjs'

const count = size('COUNT', 200)
const rounds = size('ROUNDS', 9)

const redis = await support.startRedis()
const rows = []
const promises = []
const figures = []
for (const roundTrip of sizes('ROUND_TRIPS', [1, 5])) {
  const proxy = await startProxy(redis.port, roundTrip)
  const ping = await roundTripThrough(proxy)
  const apps = []
  for (const name of [NONE, THEIRS, OURS]) {
    const app = await startApp(name, proxy)
    apps.push({ ...app, visitors: await openVisitors(app.origin, { visitors: 20, connections: 1 }) })
  }
  for (const kind of ['unmodified', 'modified']) await compare(apps, kind, roundTrip, ping)
  for (const app of apps) {
    await app.visitors.close()
    await app.close()
  }
  await proxy.close()
}

publish({
  name: 'distance',
  title: 'Redis farther away',
  how:
    'One request at a time, Redis behind a proxy that adds 1 or 5 ms to the round trip. Milliseconds, medians of ' +
    `${rounds} rounds of ${count} requests. "PING" is what the round trip comes to.`,
  tables: [table(['round trip', 'session', 'PING', NONE, THEIRS, 'here', `${THEIRS} adds`, 'here adds'], rows, 2)],
  promises,
  figures: { distance: figures }
})
await redis.stop()

async function compare(apps, kind, roundTrip, ping) {
  const results = await interleave(apps, rounds, (app) => run(app, `/${kind}`))
  const [theirs, ours] = [THEIRS, OURS].map((name) => difference(results, name, NONE, 'median'))
  const medians = [NONE, THEIRS, OURS].map((name) => middle(results, name, 'median'))
  rows.push([`+ ${roundTrip} ms`, kind, ping, ...medians, theirs, ours])
  figures.push({ roundTrip, kind, theirs, ours })
  const what = `${kind} request, round trip + ${roundTrip} ms: median more than without a session`
  // A modified request pays one round trip, not two.
  const most = kind === 'unmodified' ? 0.5 : 1.5 * ping
  promises.push(promise(what, ours, { most }, ' ms'))
}

async function run({ visitors }, path) {
  const times = []
  await runLoad(visitors.requests(path, times), { count, inFlight: 1 })
  return { median: median(times) }
}

async function roundTripThrough({ url }) {
  const client = createClient({ url })
  await client.connect()
  const times = []
  for (let n = 0; n < 100; n++) {
    const begin = performance.now()
    await client.ping()
    times.push(performance.now() - begin)
  }
  await client.close()
  return median(times)
}
