// P2: what parallel requests do to one session, on two sites, is all there afterwards.
const { useStores } = require('../stores')
const { until } = require('../until')
const { startSites } = require('./sites')

const AT_ONCE = 16
const ROUNDS = 20

const wait = (gate) => ['wait', gate.name]
const countOf = (object = {}) => Object.keys(object).length
const each = (make) => Array.from({ length: AT_ONCE }, (_, n) => make(n))

module.exports = (second) => {
  const stores = useStores()
  const { later } = stores

  let prefixes = 0
  const sitesWith = (options = {}) =>
    startSites(later, second, { port: stores.redis.port, prefix: `updates ${second} ${++prefixes}:`, ...options })

  /**
   * One request for each of `changes` (lists of steps), in turn on the one site and the other. All have loaded the session
   * before the first goes on, so that none sees what another did.
   */
  async function together(sites, id, changes) {
    const gates = sites.map((site) => site.gate())
    const answers = changes.map((steps, n) => sites[n % 2].run(id, wait(gates[n % 2]), ...steps))
    for (const gate of gates) await gate.reached(changes.length / 2)
    for (const gate of gates) await gate.open()
    const failed = (await Promise.all(answers)).filter(({ status, failures }) => status !== 200 || failures.length > 0)
    expect(failed).toEqual([])
  }

  /** The same, but each goes on only when the one before is answered. */
  async function oneByOne(sites, id, changes) {
    const waiting = []
    for (const [n, steps] of changes.entries()) {
      const site = sites[n % 2]
      const gate = site.gate()
      const answer = site.run(id, wait(gate), ...steps)
      await gate.reached()
      waiting.push({ gate, answer })
    }
    for (const { gate, answer } of waiting) {
      await gate.open()
      expect(await answer).toMatchObject({ status: 200, failures: [] })
    }
  }

  async function storedIn(sites, id) {
    const text = await stores.textOf(sites[0].store, id)
    const { cookie: _, ...data } = JSON.parse(text)
    return data
  }

  const additions = [
    ['top-level keys', [['set', 'user', 'ada']], (n) => `k${n}`, (data) => countOf(data) - 1],
    ['keys of one object', [['set', 'cart.first', 1]], (n) => `cart.k${n}`, (data) => countOf(data.cart) - 1],
    [
      'keys of an object that is not there yet',
      [['set', 'user', 'ada']],
      (n) => `a.b.k${n}`,
      (data) => countOf(data.a?.b)
    ]
  ]

  test.each(additions)(
    'P2 of different %s that 16 requests at a time add, none is lost',
    async (_, start, key, count) => {
      const sites = await sitesWith()
      let kept = 0
      for (let round = 0; round < ROUNDS; round++) {
        const id = await sites[0].login(...start)
        await together(
          sites,
          id,
          each((n) => [['set', key(n), n]])
        )
        kept += count(await storedIn(sites, id))
      }
      expect({ lost: ROUNDS * AT_ONCE - kept }).toEqual({ lost: 0 })
    }
  )

  test('P2 of keys that requests add round after round, as they come, none is lost', async () => {
    const sites = await sitesWith()
    const id = await sites[0].login(['set', 'user', 'ada'])
    for (let round = 0; round < ROUNDS; round++) {
      await Promise.all(each((n) => sites[n % 2].run(id, ['set', `r${round}.k${n}`, n])))
    }
    const { user, ...rounds } = await storedIn(sites, id)
    expect(user).toBe('ada')
    const all = Object.fromEntries(each((n) => [`k${n}`, n]))
    expect(rounds).toEqual(Object.fromEntries(Array.from({ length: ROUNDS }, (_, round) => [`r${round}`, all])))
  })

  test('P2 when some requests delete and others add, both happens', async () => {
    const sites = await sitesWith()
    for (let round = 0; round < ROUNDS; round++) {
      const id = await sites[0].login(
        ...each((n) => ['set', `old${n}`, n]),
        ...each((n) => ['set', `cart.old${n}`, n]),
        ['set', 'kept', true]
      )
      // By pairs, so that both sites do both.
      await together(
        sites,
        id,
        each((n) => {
          if ((n >> 1) % 2 === 0)
            return [
              ['remove', `old${n}`],
              ['remove', `cart.old${n}`]
            ]
          return [
            ['set', `new${n}`, n],
            ['set', `cart.new${n}`, n]
          ]
        })
      )
      const deleted = (n) => (n >> 1) % 2 === 0
      const keys = each((n) => (deleted(n) ? [] : [`new${n}`, `old${n}`])).flat()
      const values = Object.fromEntries(keys.map((key) => [key, Number(key.slice(3))]))
      expect(await storedIn(sites, id)).toEqual({ ...values, cart: values, kept: true })
    }
  })

  test('P2 of the same key, set by all, the later save wins', async () => {
    const sites = await sitesWith()
    for (let round = 0; round < ROUNDS; round++) {
      const id = await sites[0].login(['set', 'color', 'none'], ['set', 'deep.er.color', 'none'])
      const order = each((n) => n).sort(() => Math.random() - 0.5)
      await oneByOne(
        sites,
        id,
        order.map((n) => [
          ['set', 'color', n],
          ['set', 'deep.er.color', n],
          ['set', `k${n}`, n]
        ])
      )
      const last = order.at(-1)
      const keys = Object.fromEntries(each((n) => [`k${n}`, n]))
      expect(await storedIn(sites, id)).toEqual({ color: last, deep: { er: { color: last } }, ...keys })
    }
  })

  test('P2 of the same key, set by all at once, one value is there and no other key is lost', async () => {
    const sites = await sitesWith()
    for (let round = 0; round < ROUNDS; round++) {
      const id = await sites[0].login(['set', 'color', 'none'])
      await together(
        sites,
        id,
        each((n) => [
          ['set', 'color', n],
          ['set', `k${n}`, n]
        ])
      )
      const { color, ...others } = await storedIn(sites, id)
      expect(each((n) => n)).toContain(color)
      expect(countOf(others)).toBe(AT_ONCE)
    }
  })

  test('P2 of a key that one deletes and another sets, the later save wins', async () => {
    const sites = await sitesWith()
    for (let round = 0; round < ROUNDS; round++) {
      const id = await sites[0].login(['set', 'color', 'none'], ['set', 'other', 'none'])
      await oneByOne(sites, id, [
        [
          ['set', 'color', 'red'],
          ['remove', 'other']
        ],
        [
          ['remove', 'color'],
          ['set', 'other', 'red']
        ]
      ])
      expect(await storedIn(sites, id)).toEqual({ other: 'red' })
    }
  })

  test('P2 an array is replaced as a whole, by the later save', async () => {
    const sites = await sitesWith()
    for (let round = 0; round < ROUNDS; round++) {
      const id = await sites[0].login(['set', 'list', ['first']], ['set', 'deep', { list: [] }])
      await oneByOne(
        sites,
        id,
        each((n) => [
          ['push', 'list', n],
          ['push', 'deep.list', n]
        ])
      )
      expect(await storedIn(sites, id)).toEqual({ list: ['first', 15], deep: { list: [15] } })
    }
  })

  test('P2 an array that only one request changed keeps that change', async () => {
    const sites = await sitesWith()
    const id = await sites[0].login(['set', 'list', ['first']])
    await oneByOne(sites, id, [[['push', 'list', 'second']], [['set', 'other', 1]]])
    expect(await storedIn(sites, id)).toEqual({ list: ['first', 'second'], other: 1 })
  })

  // JavaScript puts such keys in order, whatever the order in the text: that is no change of the session.
  test('P2 an object whose keys are numbers stays deleted when it was deleted', async () => {
    const sites = await sitesWith()
    const id = await sites[0].login(['set', 'user', 'ada'])
    await oneByOne(sites, id, [[['set', 'cart.7', 1]], [['set', 'cart.3', 1]], [['set', 'cart.5', 1]]])
    expect(await storedIn(sites, id)).toEqual({ user: 'ada', cart: { 3: 1, 5: 1, 7: 1 } })
    await oneByOne(sites, id, [[['remove', 'cart']], [['set', 'theme', 'dark']]])
    expect(await storedIn(sites, id)).toEqual({ user: 'ada', theme: 'dark' })
  })

  test("P2 with concurrency: 'last-write' the later save replaces the session", async () => {
    const sites = await sitesWith({ concurrency: 'last-write' })
    const id = await sites[0].login(['set', 'user', 'ada'])
    await oneByOne(sites, id, [[['set', 'a', 1]], [['set', 'b', 2]]])
    expect(await storedIn(sites, id)).toEqual({ user: 'ada', b: 2 })
  })

  test('P2 what both sites show afterwards is what is stored', async () => {
    const sites = await sitesWith()
    const id = await sites[0].login(['set', 'user', 'ada'])
    await together(
      sites,
      id,
      each((n) => [['set', `k${n}`, n]])
    )
    const data = await storedIn(sites, id)
    expect(countOf(data)).toBe(AT_ONCE + 1)
    for (const site of sites) {
      await until(async () => countOf(await site.look(id)) === AT_ONCE + 1)
      expect(await site.look(id)).toEqual(data)
    }
  })

  test('P2 on a server that speaks the older protocol only (RESP2), none is lost either', async () => {
    const server = await stores.ownRedis({ args: ['--rename-command', 'HELLO', ''] })
    const sites = await sitesWith({ port: server.port })
    const id = await sites[0].login(['set', 'user', 'ada'])
    await together(
      sites,
      id,
      each((n) => [['set', `k${n}`, n]])
    )
    expect(countOf(await sites[0].look(id))).toBe(AT_ONCE + 1)
  })

  test('P2 merges and conflicts are counted', async () => {
    const sites = await sitesWith()
    const id = await sites[0].login(['set', 'user', 'ada'])
    await oneByOne(sites, id, [[['set', 'a', 1]], [['set', 'b', 2]]])
    const [first, other] = await Promise.all(sites.map((site) => site.stats()))
    expect([first.merged, other.merged]).toEqual([0, 1])
    expect(other.conflicts).toBeGreaterThanOrEqual(1)
  })
}
