// P2 and P3 where it depends on the moment: requests wait in their handlers, and a proxy holds what Redis answered.
const session = require('express-session')
const { startApp } = require('../app')
const { startProxy } = require('../proxy')
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')
const { until, within } = require('../until')
const { loaded } = require('./loaded')
const { serveSteps } = require('./serve')
const { startSites, Site } = require('./sites')

const wait = (gate) => ['wait', gate.name]

module.exports = () => {
  const stores = useStores()
  const { later } = stores

  let prefixes = 0
  const options = () => ({ port: stores.redis.port, prefix: `interleavings ${++prefixes}:` })
  const sitesWith = (more = {}) => startSites(later, 'in this process', { ...options(), ...more })

  const keyOf = (site, id) => stores.keyOf(site.store, id)
  const isThere = async (site, id) => (await stores.redis.command('EXISTS', keyOf(site, id))) === 1

  async function storedIn(site, id) {
    const { cookie: _, ...data } = JSON.parse(await stores.textOf(site.store, id))
    return data
  }

  /** A request of the session `id` that takes the steps up to `['here']` and waits there. */
  async function begin(site, id, ...steps) {
    const gate = site.gate()
    const answer = site.run(id, ...steps.map((step) => (step[0] === 'here' ? wait(gate) : step)))
    const [current] = await gate.reached()
    return {
      /** The id that its session has meanwhile. */
      id: current,
      async end() {
        await gate.open()
        return answer
      }
    }
  }

  describe('a save in the middle of a request', () => {
    test('P2 keeps what another request saves before the end', async () => {
      const [here, there] = await sitesWith()
      const id = await here.login(['set', 'user', 'ada'])
      const request = await begin(here, id, ['set', 'a1', 1], ['save'], ['here'], ['set', 'a2', 2])
      await there.run(id, ['set', 'b', 1])
      expect(await request.end()).toMatchObject({ status: 200, failures: [] })
      expect(await storedIn(here, id)).toEqual({ user: 'ada', a1: 1, a2: 2, b: 1 })
    })

    test('P2 is what later changes are based on: what it added may be changed and deleted by others', async () => {
      const [here, there] = await sitesWith()
      const id = await here.login(['set', 'user', 'ada'])
      const steps = [['set', 'changed', 1], ['set', 'deleted', 1], ['save'], ['here'], ['set', 'a2', 2]]
      const request = await begin(here, id, ...steps)
      await there.run(id, ['set', 'changed', 2], ['remove', 'deleted'])
      await request.end()
      expect(await storedIn(here, id)).toEqual({ user: 'ada', changed: 2, a2: 2 })
    })

    test('P2 that was merged itself deletes nothing at the end', async () => {
      const [here, there] = await sitesWith()
      const id = await here.login(['set', 'user', 'ada'])
      const request = await begin(
        here,
        id,
        ['here'],
        ['set', 'a1', 1],
        ['save'],
        ['set', 'a2', 2],
        ['save'],
        ['set', 'a3', 3]
      )
      await there.run(id, ['set', 'b', 1], ['set', 'user', 'grace'])
      await request.end()
      expect(await storedIn(here, id)).toEqual({ user: 'grace', a1: 1, a2: 2, a3: 3, b: 1 })
    })

    test('P2 follows the reload: what was reloaded is no change of this request', async () => {
      const [here, there] = await sitesWith()
      const id = await here.login(['set', 'n', 1])
      const request = await begin(
        here,
        id,
        ['here'],
        ['reload'],
        ['set', 'a', 1],
        ['save'],
        ['reload'],
        ['set', 'c', 1]
      )
      await there.run(id, ['set', 'n', 2], ['set', 'b', 1])
      await until(async () => (await here.look(id))?.n === 2)
      const { data } = await request.end()
      expect(data).toEqual({ n: 2, a: 1, b: 1, c: 1 })
      expect(await storedIn(here, id)).toEqual({ n: 2, a: 1, b: 1, c: 1 })
    })

    test('P2 for which it does not wait is what the next one is based on', async () => {
      const [here, there] = await sitesWith()
      for (let round = 0; round < 20; round++) {
        const id = await here.login(['set', 'user', 'ada'])
        const steps = [
          ['set', 'flash', 1],
          ['set', 'n', 1],
          ['saveWithoutWaiting'],
          ['remove', 'flash'],
          ['set', 'n', 2]
        ]
        const request = await begin(here, id, ['here'], ...steps)
        await there.run(id, ['set', 'b', 1])
        await request.end()
        expect(await storedIn(here, id)).toEqual({ user: 'ada', n: 2, b: 1 })
      }
    })

    test('P2 many times, from both sites in turn, loses nothing', async () => {
      const [here, there] = await sitesWith()
      const id = await here.login(['set', 'user', 'ada'])
      const saves = (name) => Array.from({ length: 50 }, (_, n) => [['set', `${name}${n}`, n], ['save']]).flat()
      const requests = [await begin(here, id, ['here'], ...saves('a')), await begin(there, id, ['here'], ...saves('b'))]
      await Promise.all(requests.map((request) => request.end()))
      expect(Object.keys(await storedIn(here, id))).toHaveLength(101)
    })
  })

  // express-session saves once more at the end of a request that has made a session, whatever it saved before.
  describe('a new session that is saved twice (expressjs/session 935)', () => {
    const beginnings = [
      ['after a regenerate', [['regenerate']]],
      ['after regenerateSession', [['regenerateSession']]],
      ['of a first visit', []]
    ]

    test.each(beginnings)('P2 %s does not overwrite what another request wrote', async (_, beginning) => {
      const [here, there] = await sitesWith()
      const old = beginning.length > 0 ? await here.login(['set', 'user', 'visitor']) : undefined
      const request = await begin(here, old, ...beginning, ['set', 'user', 'ada'], ['save'], ['here'])
      await there.run(request.id, ['set', 'b', 1], ['set', 'user', 'grace'])
      await request.end()
      expect(await storedIn(here, request.id)).toEqual({ user: 'grace', b: 1 })
    })

    const modes = [{}, { concurrency: 'last-write' }]
    const dying = beginnings.flatMap(([name, beginning]) => modes.map((mode) => [name, mode, beginning]))

    test.each(dying)('P3 %s (%j) stays dead when another request ended it in between', async (_, mode, beginning) => {
      const [here, there] = await sitesWith(mode)
      const old = beginning.length > 0 ? await here.login(['set', 'user', 'visitor']) : undefined
      const request = await begin(here, old, ...beginning, ['set', 'user', 'ada'], ['save'], ['here'], ['set', 'x', 1])
      await there.run(request.id, ['destroy'])
      await request.end()
      expect(await isThere(here, request.id)).toBe(false)
    })
  })

  describe.each([[{ resave: true }], [{ rolling: true }]])('with %j', (session) => {
    test('P2 a request that changes nothing undoes nothing', async () => {
      const [here, there] = await sitesWith({ app: { session: { cookie: { maxAge: 60_000 }, ...session } } })
      const id = await here.login(['set', 'user', 'ada'], ['set', 'old', 1])
      const request = await begin(here, id, ['here'])
      await there.run(id, ['set', 'user', 'grace'], ['remove', 'old'])
      await request.end()
      expect(await storedIn(here, id)).toEqual({ user: 'grace' })
    })
  })

  describe('what the session object shows', () => {
    const steps = [['set', 'a', 1], ['save'], ['set', 'b', 2], ['reload'], ['set', 'c', 3], ['save']]

    test('P2 is only what the application put there, as with the memory store of express-session', async () => {
      const site = (port) => new Site(later, { port })
      const ours = await serveSteps(options())
      later(() => ours.close())
      const { addSteps } = require('./steps')
      const reference = await startApp({ store: new session.MemoryStore(), routes: addSteps })
      later(() => reference.close())
      const seen = []
      for (const { run } of [site(ours.port), site(reference.port)].map((one) => ({ run: one.run.bind(one) }))) {
        const first = await run(undefined, ...steps)
        const again = await run(first.id, ...steps)
        const fresh = await run(first.id, ['regenerate'], ...steps)
        const look = await run(fresh.id)
        seen.push([first, again, fresh, look].map(({ id: _, ...rest }) => rest))
      }
      expect(seen[0]).toEqual(seen[1])
      expect(seen[0][3].keys.sort()).toEqual(['a', 'c', 'cookie'])
    })

    test('P2 nothing of it is in Redis', async () => {
      const [here] = await sitesWith()
      const id = await here.login(...steps)
      await here.run(id, ['set', 'd', 4])
      const stored = JSON.parse(await stores.textOf(here.store, id))
      expect(Object.keys(stored).sort()).toEqual(['a', 'c', 'cookie', 'd'])
    })

    test('a request that changes nothing writes nothing', async () => {
      const [here] = await sitesWith()
      const id = await here.login(['set', 'a', 1])
      const text = await stores.textOf(here.store, id)
      const { sets } = await here.stats()
      await here.run(id)
      await here.run(id, ['reload'])
      expect((await here.stats()).sets).toBe(sets)
      expect(await stores.textOf(here.store, id)).toBe(text)
    })
  })

  describe('an answer of Redis that comes late', () => {
    // The proxy is between Redis and the first site; the other site is next to Redis.
    async function withProxy(more = {}) {
      const proxy = await startProxy(stores.redis.port)
      later(() => proxy.stop())
      const address = { ...options(), commandTimeoutMs: 20_000, ...more }
      const [near] = await startSites(later, 'in this process', address)
      const [far] = await startSites(later, 'in this process', { ...address, port: proxy.port })
      const id = await near.login(['set', 'user', 'ada'])
      // What the heartbeat and the tracking say is not the answer to a command.
      const isAnswer = (chunk) => !/PONG|invalidate/.test(chunk.toString())
      const holdAnswer = () => within(5000, proxy.holdNext(isAnswer), 'the next answer of Redis')
      return { proxy, near, far, id, holdAnswer }
    }

    test('P2 to a save: what another site saves meanwhile is kept, and so is what comes after', async () => {
      const { proxy, near, far, id, holdAnswer } = await withProxy()
      const request = await begin(far, id, ['here'], ['set', 'a', 1], ['save'], ['set', 'b', 1])
      const held = holdAnswer()
      const answer = request.end()
      await held
      expect(await storedIn(near, id)).toEqual({ user: 'ada', a: 1 })
      await near.run(id, ['set', 'c', 1], ['set', 'user', 'grace'])
      proxy.release()
      expect(await answer).toMatchObject({ status: 200, failures: [] })
      expect(await storedIn(near, id)).toEqual({ user: 'grace', a: 1, b: 1, c: 1 })
    })

    test('P2 to a save that has to be merged: what another site saves before the second try is kept', async () => {
      const { proxy, near, far, id, holdAnswer } = await withProxy()
      const request = await begin(far, id, ['here'], ['set', 'a', 1])
      await near.run(id, ['set', 'b1', 1])
      let held = holdAnswer()
      const answer = request.end()
      for (const key of ['b2', 'b3', 'b4']) {
        await held
        await near.run(id, ['set', key, 1])
        proxy.release()
        held = holdAnswer()
      }
      await held
      proxy.release()
      expect(await answer).toMatchObject({ status: 200, failures: [] })
      expect(await storedIn(near, id)).toEqual({ user: 'ada', a: 1, b1: 1, b2: 1, b3: 1, b4: 1 })
    })

    test('P2 to a save that Redis refuses: what it would have saved is saved by the next one', async () => {
      const server = await stores.ownRedis({ args: ['--maxmemory-policy', 'noeviction'] })
      const proxy = await startProxy(server.port)
      later(() => proxy.stop())
      const store = stores.storeWith({ port: proxy.port, commandTimeoutMs: 20_000 })
      const id = newId()
      await store.set(id, sessionWith({ user: 'ada' }))
      const session = await loaded(store, id)
      await server.command('CONFIG', 'SET', 'maxmemory', 1)
      const held = within(
        5000,
        proxy.holdNext((chunk) => chunk.includes('OOM')),
        'the refusal'
      )
      session.a = 1
      const first = store.set(id, session).catch(() => {})
      await held
      await server.command('CONFIG', 'SET', 'maxmemory', 0)
      session.b = 1
      const second = store.set(id, session)
      proxy.release()
      await Promise.all([first, second])
      expect(await store.get(id)).toMatchObject({ user: 'ada', a: 1, b: 1 })
      session.c = 1
      await store.set(id, session)
      expect(await store.get(id)).toMatchObject({ user: 'ada', a: 1, b: 1, c: 1 })
    })

    const endings = [
      ['destroyed by the other site', ({ near, id }) => near.run(id, ['destroy'])],
      ['regenerated away by the other site', ({ near, id }) => near.run(id, ['regenerate'])],
      ['removed by clear()', ({ near }) => near.store.clear()],
      [
        'expired',
        async ({ near, id }) => {
          await stores.redis.command('PEXPIRE', keyOf(near, id), 1)
          await until(async () => !(await isThere(near, id)))
        }
      ]
    ]

    test.each(endings)('P3 to a save that has to be merged: the session, %s meanwhile, stays dead', async (_, end) => {
      const site = await withProxy()
      const { proxy, near, far, id, holdAnswer } = site
      const request = await begin(far, id, ['here'], ['set', 'a', 1])
      await near.run(id, ['set', 'b', 1])
      const held = holdAnswer()
      const answer = request.end()
      await held
      await end(site)
      proxy.release()
      expect((await answer).status).toBe(200)
      expect(await isThere(near, id)).toBe(false)
      expect([await near.look(id), await far.look(id)]).toEqual([null, null])
    })

    test('P3 to a save that has to be merged: a destroy of the same store is the end', async () => {
      const { proxy, near, far, id, holdAnswer } = await withProxy()
      const request = await begin(far, id, ['here'], ['set', 'a', 1])
      await near.run(id, ['set', 'b', 1])
      const held = holdAnswer()
      const answer = request.end()
      await held
      const destroyed = far.store.destroy(id)
      proxy.release()
      await destroyed
      expect((await answer).status).toBe(200)
      expect(await isThere(near, id)).toBe(false)
    })

    test.each(endings)('P3 to a read: the session, %s meanwhile, stays dead', async (_, end) => {
      const site = await withProxy()
      const { proxy, near, far, id } = site
      const held = proxy.holdNext((chunk) => chunk.includes('ada'))
      const answer = far.run(id, ['set', 'a', 1], ['save'], ['set', 'b', 1])
      await held
      await end(site)
      proxy.release()
      expect((await answer).status).toBe(200)
      expect(await isThere(near, id)).toBe(false)
      expect([await near.look(id), await far.look(id)]).toEqual([null, null])
    })

    test.each(endings)('P3 to a reload: the session, %s meanwhile, stays dead', async (_, end) => {
      const site = await withProxy()
      const { proxy, near, far, id } = site
      const request = await begin(far, id, ['here'], ['reload'], ['set', 'a', 1])
      await near.run(id, ['set', 'user', 'grace'])
      // A copy in the process would answer instead of Redis.
      await until(async () => (await far.stats()).invalidations !== 0)
      const held = proxy.holdNext((chunk) => chunk.includes('grace'))
      const answer = request.end()
      await held
      await end(site)
      proxy.release()
      expect(await answer).toMatchObject({ status: 200, data: { user: 'grace', a: 1 } })
      expect(await isThere(near, id)).toBe(false)
    })

    test('P3 a save and a destroy that one store sends together leave nothing', async () => {
      const { near, id } = await withProxy()
      for (let round = 0; round < 100; round++) {
        const held = await loaded(near.store, await near.login(['set', 'user', 'ada']))
        held.n = round
        const [save, destroy] = [near.store.set(held.id, held), near.store.destroy(held.id)]
        const [touch, again] = [near.store.touch(held.id, held), near.store.set(held.id, held)]
        await Promise.all([save, destroy, touch, again])
        expect(await isThere(near, held.id)).toBe(false)
      }
      expect(await isThere(near, id)).toBe(true)
    })
  })

  // Two texts of such a serializer may well be JSON objects with the same keys, and their mixture would be neither.
  test('P2 what a serializer of the application wrote is never merged', async () => {
    const key = (text, seal) => Buffer.from(text).map((byte) => byte ^ seal)
    const serializer = {
      stringify(value) {
        const seal = 1 + Math.floor(Math.random() * 255)
        return JSON.stringify({ seal, box: key(JSON.stringify(value), seal).toString('base64') })
      },
      parse(text) {
        const { seal, box } = JSON.parse(text)
        return JSON.parse(key(Buffer.from(box, 'base64'), seal).toString())
      }
    }
    const [here, there] = await sitesWith({ serializer })
    for (let round = 0; round < 20; round++) {
      const id = await here.login(['set', 'user', 'ada'])
      const requests = [
        await begin(here, id, ['here'], ['set', 'a', round]),
        await begin(there, id, ['here'], ['set', 'b', round])
      ]
      for (const request of requests) expect((await request.end()).status).toBe(200)
      expect(await there.look(id)).toEqual({ user: 'ada', b: round })
    }
  })
}
