// Memory and the time of a lookup as the table of sessions in the process grows, and what a bound on its bytes holds back.
// SESSIONS, COUNT and ROUNDS change its size.

import { createClient } from 'redis'
import support from '../__test__/support/redis.js'
import { argumentsOf, serve, startChild } from './child.mjs'
import { interleave, middle, runLoad, size, sizes } from './measure.mjs'
import { promise, publish, shown, table } from './report.mjs'
import { connect, idOf, OURS, sampleSession } from './subjects.mjs'

const MIB = 2 ** 20
const BOUND = 64 * MIB

const count = size('COUNT', 100_000)

const own = argumentsOf(import.meta.filename)
if (own) await hold(...own)
else await compare()

async function compare() {
  const rounds = size('ROUNDS', 5)
  const counts = sizes('SESSIONS', [10_000, 100_000, 1_000_000])
  const most = Math.max(...counts)
  // Room to track them all: by default Redis forgets beyond a million, and tells us to forget them too.
  const redis = await support.startRedis({ args: ['--tracking-table-max-keys', 2 * most + 1] })
  await plant(redis, most)
  // Little room for JavaScript's own garbage, so that it does not hide what the table takes.
  const options = { execArgv: ['--expose-gc', '--max-semi-space-size=1'] }
  const tables = []
  for (const [sessions, maxBytes] of [...counts.map((sessions) => [sessions, 2048 * MIB]), [most, BOUND]]) {
    const child = await startChild(import.meta.filename, [redis.url, sessions, maxBytes], options)
    tables.push({ ...child, name: `${sessions} in ${maxBytes}`, sessions, maxBytes, filled: await child.ask('fill') })
  }
  const results = await interleave(tables, rounds, ({ ask }) => ask('lookUp'))
  const micros = (held) => middle(results, held.name, 'micros')
  const [few, many, bounded] = [tables[0], tables.at(-2), tables.at(-1)]
  const rows = tables.map((held) => {
    const { entries, bytes, grown } = held.filled
    const hits = middle(results, held.name, 'hits')
    return [shown(held.sessions), `${held.maxBytes / MIB} MiB`, entries, bytes / MIB, grown / MIB, micros(held), hits]
  })
  const slower = micros(many) / micros(few)
  const grown = bounded.filled.grown / MIB
  publish({
    name: 'memory',
    title: 'A growing table',
    how:
      'One process for each row, which reads so many sessions and then looks up some of them at random. "RSS" is what the ' +
      `whole process grew by. A lookup is a \`get\` without \`JSON.parse\`, the median of ${rounds} rounds of ${count}.`,
    tables: [table(['sessions', 'bound', 'held', 'MiB', 'RSS, MiB', 'lookup, µs', 'hits'], rows, 2)],
    promises: [
      promise(`lookup among ${shown(most)} sessions`, slower, { most: 1.5 }, ` × among ${shown(counts[0])}`),
      promise(`RSS with a bound of ${BOUND / MIB} MiB`, grown, { most: (1.5 * BOUND) / MIB }, ' MiB')
    ],
    figures: { memory: tables.map(({ sessions, maxBytes, filled }) => ({ sessions, maxBytes, ...filled })) }
  })
  for (const { close } of tables) await close()
  await redis.stop()
}

async function plant({ url }, sessions) {
  const client = createClient({ url })
  await client.connect()
  const text = JSON.stringify(sampleSession())
  for (let n = 0; n < sessions; ) {
    const replies = []
    for (const end = Math.min(n + 10_000, sessions); n < end; n++) {
      replies.push(client.set(`ours:${idOf(n)}`, text, { expiration: { type: 'PX', value: 86_400_000 } }))
    }
    await Promise.all(replies)
  }
  await client.close()
}

/** In a process of its own: a store that reads `sessions`. */
async function hold(url, sessions, maxBytes) {
  const session = sampleSession()
  const serializer = { stringify: JSON.stringify, parse: () => session }
  const { store } = await connect(OURS, { url }, { cache: { maxBytes: Number(maxBytes) }, serializer })
  const read = (id, load) => runLoad((n, done) => store.get(id(n), done), load)
  // The heap and the connection reach their size before it is measured.
  await read(() => 'none', { count: 100_000, inFlight: 512 })
  serve(true, {
    async fill() {
      const before = residentBytes()
      await read(idOf, { count: Number(sessions), inFlight: 512 })
      const { entries, bytes } = store.stats()
      return { entries, bytes, grown: residentBytes() - before }
    },
    async lookUp() {
      const some = Array.from({ length: count }, () => idOf(Math.floor(Math.random() * sessions)))
      const before = store.stats().hits
      const { loopMicros } = await read((n) => some[n], { count, inFlight: 64 })
      return { micros: loopMicros, hits: (store.stats().hits - before) / count }
    }
  })
}

function residentBytes() {
  globalThis.gc()
  return process.memoryUsage().rss
}
