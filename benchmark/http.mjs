// Whole requests: Express 5 with express-session, each app in a process of its own, the load in this one. COUNT, ROUNDS and
// CONNECTIONS change its size.

import support from '../__test__/support/redis.js'
import { startApp } from './app.mjs'
import { interleave, middle, quantile, ratio, runLoad, size } from './measure.mjs'
import { publish, table } from './report.mjs'
import { MEMORY, NONE, OURS, THEIRS } from './subjects.mjs'
import { openVisitors } from './visitors.mjs'

const VISITORS = 1000

const count = size('COUNT', 10_000)
const rounds = size('ROUNDS', 9)
const connections = size('CONNECTIONS', 64)

const redis = await support.startRedis()
const apps = []
for (const name of [NONE, MEMORY, THEIRS, OURS]) {
  const app = await startApp(name, redis)
  apps.push({ ...app, visitors: await openVisitors(app.origin, { visitors: VISITORS, connections }) })
}

const tables = []
const figures = {}
for (const kind of ['unmodified', 'modified']) {
  const results = await interleave(apps, rounds, (app) => run(app, `/${kind}`))
  const rows = apps.map(({ name }) => {
    const measured = ['perSecond', 'loopMicros', 'processorMicros', 'p50', 'p99']
    return [name, ...measured.map((figure) => middle(results, name, figure)), ratio(results, name, THEIRS, 'perSecond')]
  })
  const head = ['', 'requests/s', 'event loop, µs', 'process, µs', 'median, ms', 'p99, ms', `requests/s, / ${THEIRS}`]
  tables.push(`### Session ${kind}`, table(head, rows))
  figures[kind] = Object.fromEntries(apps.map(({ name }) => [name, middle(results, name, 'perSecond')]))
}

publish({
  name: 'http',
  title: 'Whole requests',
  how:
    `Express 5 with express-session, ${VISITORS} visitors over ${connections} connections, ${rounds} rounds of ${count} ` +
    'requests, as many as the app can take. "event loop" and "process" are what a request costs the app: its event loop, ' +
    'and its whole process with the threads of Node and of this package.',
  tables,
  figures: { http: figures }
})
for (const app of apps) {
  await app.visitors.close()
  await app.close()
}
await redis.stop()

async function run(app, path) {
  const times = []
  const load = { count, inFlight: connections }
  const { perSecond, loopMs, processorMs } = await app.observe(() => runLoad(app.visitors.requests(path, times), load))
  return {
    perSecond,
    loopMicros: (loopMs / count) * 1000,
    processorMicros: (processorMs / count) * 1000,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99)
  }
}
