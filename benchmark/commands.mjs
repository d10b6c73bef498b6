// What Redis has to do for each request that only reads its session: 100 requests a second of 50 users. SECONDS changes how
// long it is watched; a touch window is up to 60 seconds.

import { setInterval } from 'node:timers/promises'
import support from '../__test__/support/redis.js'
import { startApp } from './app.mjs'
import { size } from './measure.mjs'
import { promise, publish, table } from './report.mjs'
import { OURS, THEIRS } from './subjects.mjs'
import { openVisitors } from './visitors.mjs'

const USERS = 50
const EVERY_MS = 10

const seconds = size('SECONDS', 60)

// Each has a Redis of its own, so both are watched at once.
const counts = await Promise.all([THEIRS, OURS].map(watch))
const rows = counts.map(({ name, requests, commands, total }) => {
  const each = Object.entries(commands).map(([command, calls]) => `${command} ${(calls / requests).toFixed(3)}`)
  return [name, requests, total / requests, each.join(', ')]
})
const [theirs, ours] = counts.map(({ total, requests }) => total / requests)

publish({
  name: 'commands',
  title: 'Commands for Redis',
  how:
    `Unmodified requests, 100 a second of ${USERS} users, for ${seconds} seconds; what Redis counted meanwhile (INFO ` +
    'commandstats), all that is not the work of a request included.',
  tables: [table(['', 'requests', 'commands for each request', 'of which'], rows)],
  promises: [promise('Redis commands for each unmodified request', ours, { most: 0.05 })],
  figures: { commands: { theirs, ours } }
})

async function watch(name) {
  const redis = await support.startRedis()
  const app = await startApp(name, redis)
  const visitors = await openVisitors(app.origin, { visitors: USERS, connections: 10 })
  // Everyone has been here once.
  await visit(visitors, USERS)
  const before = await commandCounts(redis)
  const requests = seconds * (1000 / EVERY_MS)
  await visit(visitors, requests)
  const after = await commandCounts(redis)
  await visitors.close()
  await app.close()
  await redis.stop()

  const commands = {}
  let total = 0
  for (const [command, calls] of Object.entries(after)) {
    const more = calls - (before[command] ?? 0)
    // The counting itself.
    if (more === 0 || command === 'info') continue
    commands[command] = more
    total += more
  }
  return { name, requests, commands, total }
}

async function visit(visitors, requests) {
  const request = visitors.requests('/unmodified', [])
  const answers = []
  for await (const _ of setInterval(EVERY_MS)) {
    const n = answers.length
    answers.push(new Promise((resolve, reject) => request(n, (error) => (error ? reject(error) : resolve()))))
    if (answers.length === requests) break
  }
  await Promise.all(answers)
}

async function commandCounts(redis) {
  const lines = (await redis.command('INFO', 'commandstats')).matchAll(/cmdstat_(\S+?):calls=(\d+)/g)
  return Object.fromEntries([...lines].map(([, command, calls]) => [command, Number(calls)]))
}
