// What TLS to Redis costs: the store alone, with it and without. COUNT and ROUNDS change its size.

import support from '../__test__/support/redis.js'
import { interleave, middle, runLoad, size } from './measure.mjs'
import { publish, table } from './report.mjs'
import { connect, idOf, OURS, sampleSession, THEIRS } from './subjects.mjs'

const SESSIONS = 1000
const IN_FLIGHT = 64

const count = size('COUNT', 20_000)
const rounds = size('ROUNDS', 9)
const session = sampleSession()
const ids = Array.from({ length: SESSIONS }, (_, n) => idOf(n))

const servers = { TCP: await support.startRedis(), TLS: await support.startRedis({ tls: true }) }
const subjects = []
for (const [wire, server] of Object.entries(servers)) {
  for (const name of [THEIRS, OURS]) {
    const subject = await connect(name, server, name === OURS ? { cache: false } : undefined)
    subjects.push({ ...subject, name: `${name}, ${wire}` })
  }
}

const operations = {
  set: (store) => (n, done) => store.set(ids[n % SESSIONS], session, done),
  'get, cache off': (store) => (n, done) => store.get(ids[n % SESSIONS], done)
}
const rows = []
for (const [name, operation] of Object.entries(operations)) {
  const load = { count, inFlight: IN_FLIGHT }
  const results = await interleave(subjects, rounds, ({ store }) => runLoad(operation(store), load))
  for (const wire of Object.keys(servers)) {
    const measured = ['perSecond', 'loopMicros'].flatMap((figure) => {
      const [theirs, here] = [THEIRS, OURS].map((subject) => middle(results, `${subject}, ${wire}`, figure))
      return [theirs, here, here / theirs]
    })
    rows.push([name, wire, ...measured])
  }
}

const head = ['op/s', 'loop, µs'].flatMap((unit) => [`${THEIRS}, ${unit}`, 'here', `here / ${THEIRS}`])
publish({
  name: 'tls',
  title: 'TLS to Redis',
  how: `The store alone, ${IN_FLIGHT} in flight, ${rounds} rounds of ${count} operations.`,
  tables: [table(['', 'over', ...head], rows, 2)]
})
for (const subject of subjects) await subject.close()
for (const server of Object.values(servers)) await server.stop()
