// P3: a session that has ended while requests hold it, on both sites, stays dead: in Redis and for its cookie.
const { rememberingLogger } = require('../logger')
const { useStores } = require('../stores')
const { until } = require('../until')
const { loaded } = require('./loaded')
const { startSites } = require('./sites')

const wait = (gate) => ['wait', gate.name]

/** Requests that hold the session: their steps before it ends and after, and how many of their saves must be refused. */
const HOLDERS = [
  { before: [], after: [['set', 'late', 1]], refused: 1 },
  { before: [], after: [], refused: 0 },
  { before: [], after: [['set', 'late', 2], ['save'], ['set', 'later', 2]], refused: 2 },
  { before: [['set', 'early', 3], ['save']], after: [['set', 'late', 3]], refused: 1 },
  { before: [['reload']], after: [['set', 'late', 4]], refused: 1 },
  { before: [], after: [['reload'], ['set', 'late', 5], ['save']], refused: 1 },
  { before: [['set', 'early', 6], ['save'], ['reload']], after: [['save'], ['remove', 'user']], refused: 2 }
]

/** How the sessions end. */
const ENDINGS = {
  'a logout': ({ killer, ids }) => all(ids, (id) => killer.run(id, ['destroy'])),
  destroySession: ({ killer, ids }) => all(ids, (id) => killer.run(id, ['destroySession'])),
  regenerate: ({ killer, ids }) => all(ids, (id) => killer.run(id, ['regenerate'], ['set', 'user', 'grace'])),
  regenerateSession: ({ killer, ids }) => all(ids, (id) => killer.run(id, ['regenerateSession'])),
  expiry: async ({ ids, command, keyOf }) => {
    await all(ids, (id) => command('PEXPIRE', keyOf(id), 1))
    await until(async () => (await command('EXISTS', ...ids.map(keyOf))) === 0)
  },
  'clear()': ({ sites }) => sites[0].store.clear()
}

const all = (list, call) => Promise.all(list.map(call))

const base64 = {
  stringify: (session) => Buffer.from(JSON.stringify(session)).toString('base64'),
  parse: (text) => JSON.parse(Buffer.from(text, 'base64').toString())
}

async function withoutScripts(stores) {
  await stores.redis.command('ACL', 'SETUSER', 'plain', 'on', '>secret', '~*', '&*', '+@all', '-@scripting')
  return { username: 'plain', password: 'secret' }
}

/** Options for the stores, and how many sessions each ending gets. */
const MODES = [
  ['by default', 20, () => ({})],
  ["with concurrency: 'last-write'", 10, () => ({ concurrency: 'last-write' })],
  ['with a serializer that is not JSON', 10, () => ({ serializer: base64 })],
  ['where scripts are forbidden', 10, withoutScripts]
]

/** All holders of all sessions, on all sites, waiting in their handlers. `release()` gives what they answer. */
async function hold(sites, ids) {
  const gates = sites.map((site) => site.gate())
  const answers = sites.flatMap((site, at) =>
    ids.flatMap((id) => HOLDERS.map(({ before, after }) => site.run(id, ...before, wait(gates[at]), ...after)))
  )
  // When the test fails before their release, they fail with it.
  for (const answer of answers) answer.catch(() => {})
  for (const gate of gates) {
    const waiting = await gate.reached(ids.length * HOLDERS.length)
    expect(new Set(waiting)).toEqual(new Set(ids))
  }
  return {
    async release() {
      for (const gate of gates) await gate.open()
      return Promise.all(answers)
    }
  }
}

module.exports = (second) => {
  const stores = useStores()
  const { later } = stores
  let prefixes = 0

  // A serializer cannot be sent to another process.
  const modes = second === 'in this process' ? MODES : MODES.slice(0, 1)

  describe.each(modes)('%s', (_, rounds, options) => {
    test.each(Object.keys(ENDINGS))('P3 no session comes back after %s', async (ending) => {
      const prefix = `deaths ${second} ${++prefixes}:`
      const sites = await startSites(later, second, { port: stores.redis.port, prefix, ...(await options(stores)) })
      const keyOf = (id) => prefix + id
      const ids = await all(Array.from({ length: rounds }), () => sites[0].login(['set', 'user', 'ada']))

      const held = await hold(sites, ids)
      // From either site.
      const killer = sites[prefixes % 2]
      await ENDINGS[ending]({ sites, killer, ids, keyOf, command: (...args) => stores.redis.command(...args) })
      expect(await stores.redis.command('EXISTS', ...ids.map(keyOf))).toBe(0)
      const wrong = (await held.release()).filter(
        ({ status, failures }) => status !== 200 || failures.some((failure) => failure !== 'failed to load session')
      )
      expect(wrong).toEqual([])
      expect({ cameBack: await stores.redis.command('EXISTS', ...ids.map(keyOf)) }).toEqual({ cameBack: 0 })
      const shown = (await all(ids, (id) => all(sites, (site) => site.look(id)))).flat().filter((data) => data !== null)
      expect({ stillKnown: shown }).toEqual({ stillKnown: [] })

      const refused = rounds * HOLDERS.reduce((sum, holder) => sum + holder.refused, 0)
      for (const site of sites) {
        await until(async () => (await site.stats()).refusedEvents === refused)
        expect(await site.stats()).toMatchObject({ refused, refusedEvents: refused })
      }
    })
  })

  if (second !== 'in this process') return

  test('P3 a session that dies of old age while requests hold it stays dead', async () => {
    const LIFETIME_MS = 1500
    const prefix = `deaths of old age:`
    const sites = await startSites(later, second, { port: stores.redis.port, prefix })
    const ids = await all(Array.from({ length: 10 }), () =>
      sites[0].login(['set', 'user', 'ada'], ['maxAge', LIFETIME_MS])
    )
    const held = await hold(sites, ids)
    const alive = () => stores.redis.command('EXISTS', ...ids.map((id) => prefix + id))
    await until(async () => (await alive()) === 0)
    expect((await held.release()).filter(({ status }) => status !== 200)).toEqual([])
    expect(await alive()).toBe(0)
    for (const id of ids) expect(await all(sites, (site) => site.look(id))).toEqual([null, null])
  })

  test('P3 that scripts are forbidden is logged once, and new sessions are saved all the same', async () => {
    const logger = rememberingLogger()
    const options = { port: stores.redis.port, prefix: 'deaths logged:', ...(await withoutScripts(stores)), logger }
    const sites = await startSites(later, second, options)
    for (let n = 0; n < 10; n++) {
      const id = await sites[0].login(['set', 'user', 'ada'])
      await sites[0].run(id, ['set', 'n', n])
      await sites[0].run(id, ['set', 'm', n], ['save'], ['set', 'l', n])
      expect(await sites[0].look(id)).toEqual({ user: 'ada', n, m: n, l: n })
    }
    const lines = logger.lines.filter(({ level, message }) => level !== 'debug' && /script|eval/i.test(message))
    expect(lines).toHaveLength(1)
    expect(lines[0].level).toBe('warn')
    expect(sites[0].store.state).toBe('ready')
  })

  test('P3 a refused save says so in a debug line without an id, and gives no error', async () => {
    const logger = rememberingLogger()
    const options = { port: stores.redis.port, prefix: 'deaths refused:', logger }
    const [here, there] = await startSites(later, second, options)
    const id = await here.login(['set', 'user', 'ada'])
    const events = []
    here.store.on('refused', (...details) => events.push(details))
    const gate = here.gate()
    const answer = here.run(id, wait(gate), ['set', 'late', 1], ['save'])
    await gate.reached()
    await there.run(id, ['destroy'])
    await gate.open()
    expect(await answer).toMatchObject({ status: 200, failures: [] })
    expect(logger.of('debug').filter((line) => /refused|gone/i.test(line))).toHaveLength(1)
    expect(logger.text()).not.toContain(id)
    await until(() => events.length > 0)
    expect(events).toEqual([[]])
  })

  test('P3 a touch brings nothing back, and gives no error', async () => {
    const [here, there] = await startSites(later, second, { port: stores.redis.port, prefix: 'deaths touched:' })
    const id = await here.login(['set', 'user', 'ada'], ['maxAge', 60_000])
    const session = await loaded(there.store, id)
    await here.store.destroy(id)
    for (let n = 0; n < 3; n++) await there.store.touch(id, session)
    await there.store.close()
    expect(await stores.redis.command('EXISTS', `deaths touched:${id}`)).toBe(0)
  })

  test('P3 what is pending for a session in this process ends with its destroy', async () => {
    const [here] = await startSites(later, second, { port: stores.redis.port, prefix: 'deaths pending:' })
    for (let round = 0; round < 100; round++) {
      const id = await here.login(['set', 'user', 'ada'], ['maxAge', 60_000])
      const held = await loaded(here.store, id)
      const calls = [here.store.touch(id, held), here.store.set(id, held), here.store.destroy(id)]
      await Promise.all([...calls, here.store.set(id, held), here.store.touch(id, held)])
    }
    await here.store.close()
    expect(await stores.redis.command('KEYS', 'deaths pending:*')).toEqual([])
  })
}
