// P2, P3 and P5 with two sites that see different things of one Redis: each has a network of its own to it.
const { startProxy } = require('./support/proxy')
const { isSame } = require('./support/concurrency/rules')
const { serveSteps } = require('./support/concurrency/serve')
const { Site } = require('./support/concurrency/sites')
const { useStores } = require('./support/stores')
const { until } = require('./support/until')

jest.setTimeout(60_000)

for (const name of Object.keys(process.env)) {
  if (/^(REDIS_|SESSION_)/.test(name)) delete process.env[name]
}

const { later, ownRedis } = useStores()

const PREFIX = 'sites:'

/** Two sites on one Redis, and a session that both have seen. */
async function twoSites({ persistence = false, ...options } = {}) {
  const server = await ownRedis({ persistence })
  const users = ['ACL', 'SETUSER', 'plain', 'on', '>secret', '~*', '&*', '+@all', '-@scripting']
  if (options.username) await server.command(...users)
  const sites = []
  for (const _ of 'ab') {
    const proxy = await startProxy(server.port)
    later(() => proxy.stop())
    const served = await serveSteps({ port: proxy.port, prefix: PREFIX, ...options })
    later(() => served.close())
    const site = new Site(later, served)
    sites.push(Object.assign(site, { lose: () => lose(proxy, site), regain: () => regain(proxy, site) }))
  }
  const id = await sites[0].login(['set', 'user', 'ada'])
  for (const site of sites) expect(await site.look(id)).toEqual({ user: 'ada' })
  return { server, sites, id }
}

async function lose(proxy, { store }) {
  proxy.refuse()
  proxy.cut()
  await until(() => store.state === 'degraded')
}

/** Until what this site did meanwhile is in Redis. */
async function regain(proxy, { store }) {
  let recovered = false
  store.once('recovered', () => {
    recovered = true
  })
  await proxy.accept()
  await until(() => recovered, { what: 'the recovery' })
}

/** The session in Redis; null for none, and for the empty string that a destroyed one leaves for a while. */
async function storedIn(server, id) {
  const text = await server.command('GET', PREFIX + id)
  if (!text) return null
  const { cookie: _, ...data } = JSON.parse(text)
  return data
}

async function expectEverywhere({ server, sites, id }, data) {
  expect(await storedIn(server, id)).toEqual(data)
  for (const site of sites) {
    await until(async () => isSame(await site.look(id), data)).catch(() => {})
    expect(await site.look(id)).toEqual(data)
  }
}

const orders = [
  ['the one', [0, 1]],
  ['the other', [1, 0]]
]
const modes = [
  ['', {}],
  [' where scripts are forbidden', { username: 'plain', password: 'secret' }]
]

test('P2 what both did while one of them was cut off is there afterwards', async () => {
  const world = await twoSites()
  const [lost, other] = world.sites
  await lost.lose()
  await lost.run(world.id, ['set', 'a', 1], ['set', 'cart.tea', 1])
  await other.run(world.id, ['set', 'b', 1], ['set', 'cart.milk', 1], ['set', 'user', 'grace'])
  expect(await lost.look(world.id)).toEqual({ user: 'ada', a: 1, cart: { tea: 1 } })
  await lost.regain()
  await expectEverywhere(world, { a: 1, b: 1, cart: { tea: 1, milk: 1 }, user: 'grace' })
})

test.each(orders)('P2 what both did while both were cut off is there afterwards, %s first', async (_, order) => {
  const world = await twoSites()
  for (const site of world.sites) await site.lose()
  await world.sites[0].run(world.id, ['set', 'a', 1], ['set', 'cart.tea', 1])
  await world.sites[1].run(world.id, ['set', 'b', 1], ['set', 'cart.milk', 1])
  await world.sites[0].run(world.id, ['set', 'a', 2])
  for (const at of order) await world.sites[at].regain()
  await expectEverywhere(world, { user: 'ada', a: 2, b: 1, cart: { tea: 1, milk: 1 } })
})

test('P2 a request that holds the session over an outage keeps what others did in it and after', async () => {
  const world = await twoSites()
  const [lost, other] = world.sites
  const gates = [lost.gate(), lost.gate()]
  const answers = gates.map((gate, n) => lost.run(world.id, ['wait', gate.name], ['set', `held${n}`, 1]))
  for (const gate of gates) await gate.reached()
  await lost.lose()
  await lost.run(world.id, ['set', 'a', 1])
  await other.run(world.id, ['set', 'b', 1])
  await gates[0].open()
  expect((await answers[0]).status).toBe(200)
  await lost.regain()
  await other.run(world.id, ['set', 'c', 1])
  await gates[1].open()
  expect((await answers[1]).status).toBe(200)
  await expectEverywhere(world, { user: 'ada', a: 1, b: 1, c: 1, held0: 1, held1: 1 })
})

test('P2 a request that saves before an outage, in it and after it loses nothing, of its own or of others', async () => {
  const world = await twoSites()
  const [lost, other] = world.sites
  const [before, during, after] = [lost.gate(), lost.gate(), lost.gate()]
  const answer = lost.run(
    world.id,
    ['set', 'a', 1],
    ['set', 'flash', 1],
    ['save'],
    ['wait', before.name],
    ['set', 'b', 1],
    ['remove', 'flash'],
    ['save'],
    ['wait', during.name],
    ['set', 'c', 1],
    ['save'],
    ['wait', after.name],
    ['set', 'd', 1]
  )
  await before.reached()
  await lost.lose()
  await other.run(world.id, ['set', 'a', 2], ['set', 'x', 1])
  await before.open()
  await during.reached()
  await during.open()
  await after.reached()
  await lost.regain()
  await other.run(world.id, ['set', 'b', 2], ['set', 'y', 1])
  await after.open()
  expect(await answer).toMatchObject({ status: 200, failures: [] })
  await expectEverywhere(world, { user: 'ada', a: 2, b: 2, c: 1, d: 1, x: 1, y: 1 })
})

describe.each(modes)('a logout%s', (_, options) => {
  test('P3 that is made while the site is cut off counts, whatever the other does', async () => {
    const world = await twoSites(options)
    const [lost, other] = world.sites
    await lost.lose()
    await lost.run(world.id, ['destroy'])
    expect(await lost.look(world.id)).toBeNull()
    await other.run(world.id, ['set', 'b', 1])
    const gate = other.gate()
    const answer = other.run(world.id, ['wait', gate.name], ['set', 'late', 1])
    await gate.reached()
    await lost.regain()
    await gate.open()
    expect((await answer).status).toBe(200)
    await expectEverywhere(world, null)
  })

  test('P3 at the one site is not undone by what the other, cut off, did before or after', async () => {
    const world = await twoSites(options)
    const [lost, other] = world.sites
    await lost.lose()
    await lost.run(world.id, ['set', 'a', 1])
    await other.run(world.id, ['destroy'])
    await lost.run(world.id, ['set', 'a', 2])
    await lost.regain()
    await expectEverywhere(world, null)
  })

  test.each(orders)('P3 at a site that is cut off counts when both were, %s first', async (_, order) => {
    const world = await twoSites(options)
    for (const site of world.sites) await site.lose()
    await world.sites[0].run(world.id, ['destroy'])
    await world.sites[1].run(world.id, ['set', 'b', 1])
    for (const at of order) await world.sites[at].regain()
    await expectEverywhere(world, null)
  })

  test.each(orders)('P3 counts when Redis comes back empty, %s first', async (_, order) => {
    const world = await twoSites(options)
    for (const site of world.sites) await site.lose()
    await world.server.restart({ empty: true })
    if (options.username) {
      await world.server.command('ACL', 'SETUSER', 'plain', 'on', '>secret', '~*', '&*', '+@all', '-@scripting')
    }
    await world.sites[0].run(world.id, ['destroy'])
    await world.sites[1].run(world.id, ['set', 'b', 1])
    for (const at of order) await world.sites[at].regain()
    await expectEverywhere(world, null)
  })
})

describe('a Redis that comes back empty', () => {
  test.each(orders)('P5 gets what both sites hold, changed or not, %s first', async (_, order) => {
    const world = await twoSites()
    const untouched = await world.sites[1].login(['set', 'user', 'grace'])
    for (const site of world.sites) await site.lose()
    await world.server.restart({ empty: true })
    await world.sites[0].run(world.id, ['set', 'a', 1])
    for (const at of order) await world.sites[at].regain()
    await until(async () => (await storedIn(world.server, untouched)) !== null)
    await expectEverywhere(world, { user: 'ada', a: 1 })
    await expectEverywhere({ ...world, id: untouched }, { user: 'grace' })
  })

  test.each([
    ['only seen', []],
    ['changed', [['set', 'a', 1]]]
  ])(
    'P3 gets no session back that was logged out at a site that was there first, %s at the other',
    async (_, steps) => {
      const world = await twoSites()
      const [first, last] = world.sites
      for (const site of world.sites) await site.lose()
      await world.server.restart({ empty: true })
      await last.run(world.id, ...steps)
      await first.regain()
      expect(await first.look(world.id)).toEqual({ user: 'ada' })
      await first.run(world.id, ['destroy'])
      await last.regain()
      await expectEverywhere(world, null)
    }
  )

  test('P3 gets no session that was logged out before', async () => {
    const world = await twoSites()
    await world.sites[0].run(world.id, ['destroy'])
    await until(async () => (await world.sites[1].look(world.id)) === null)
    for (const site of world.sites) await site.lose()
    await world.server.restart({ empty: true })
    for (const site of world.sites) await site.regain()
    await expectEverywhere(world, null)
  })
})

test('P3 a Redis that kept its data gets back no session that the other site ended meanwhile', async () => {
  const world = await twoSites({ persistence: true })
  const [lost, other] = world.sites
  await lost.lose()
  await other.run(world.id, ['regenerate'], ['set', 'user', 'ada'])
  await lost.regain()
  await expectEverywhere(world, null)
})
