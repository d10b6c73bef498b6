// P5 over real HTTP: a hundred requests a second, forty users, and a Redis that goes away and comes back. Nobody may notice.
const { Crowd, startShop, USERS } = require('./support/outage/shop')
const { FAULTS } = require('./support/outage/faults')
const { rememberingLogger } = require('./support/logger')
const { startProxy } = require('./support/proxy')
const { useStores } = require('./support/stores')
const { until } = require('./support/until')

jest.setTimeout(60_000)

for (const name of Object.keys(process.env)) {
  if (/^(REDIS_|SESSION_)/.test(name)) delete process.env[name]
}

const SLOWEST_MS = 1500

const { later, ownRedis, storeWith } = useStores()

test.each(Object.entries(FAULTS))('P5 a Redis that is %s: nobody notices, and nothing is lost', async (_, fault) => {
  const server = await ownRedis(fault.server)
  if (fault.isAbsent) await server.kill()
  const proxy = await startProxy(server.port)
  later(() => proxy.stop())
  const logger = rememberingLogger()
  const store = storeWith({ port: proxy.port, password: server.password, logger })
  await store.ready()
  const app = await startShop(store)
  later(() => app.close())
  const crowd = new Crowd(app)
  later(() => crowd.close())

  const users = crowd.enter()
  const [early, leaving, resting] = [users.slice(0, 4), users.slice(4, 12), users.slice(12, 18)]
  await everyone(users, 2)
  await leave(early)

  await fault.strike({ server, proxy })
  for (const user of resting) user.rests = true
  const newcomers = crowd.enter(4)
  const busy = users.filter((user) => !resting.includes(user)).concat(newcomers)
  await Promise.all([leave(leaving), everyone(busy, 4), fault.lasts?.({ server, proxy })])

  await fault.heal({ server, proxy })
  for (const user of resting) user.rests = false
  await until(() => store.state === 'ready', { what: 'Redis to serve' })
  await everyone(crowd.users, 2)
  await crowd.close()
  for (const user of crowd.users) await user.look()

  const { failed, wrong, slowestMs } = crowd
  expect({ failed: failed.length, wrong: wrong.length, examples: [...failed, ...wrong].slice(0, 3) }).toEqual({
    failed: 0,
    wrong: 0,
    examples: []
  })
  expect(app.errors).toEqual([])
  expect(slowestMs).toBeLessThan(SLOWEST_MS)
  const complaints = logger.lines.filter(({ level }) => level === 'warn' || level === 'error')
  expect(complaints.map(({ message }) => message)).toContainEqual(expect.stringMatching(fault.says))

  const { living } = crowd
  expect(Object.keys(living)).toHaveLength(USERS + newcomers.length - early.length - leaving.length)
  const isComplete = async () => JSON.stringify(await storedIn(server, store)) === JSON.stringify(sorted(living))
  await until(isComplete, { what: 'exactly the living sessions in Redis' }).catch(() => {})
  expect(await storedIn(server, store)).toEqual(living)
})

/** Until each of `users` has taken `count` more steps. */
function everyone(users, count) {
  const goals = new Map(users.map((user) => [user, user.steps + count]))
  const isThere = () => users.every((user) => user.steps >= goals.get(user))
  return until(isThere, { ms: 20_000, what: `${count} more steps of every user` })
}

async function leave(users) {
  for (const user of users) user.leaves = true
  await until(() => users.every((user) => user.hasLeft), { what: 'the users to leave' })
}

/** Session id → things in the cart. The empty strings that destroyed sessions leave for a while are no sessions. */
async function storedIn(server, store) {
  const found = {}
  for (const key of await server.command('KEYS', `${store.prefix}*`)) {
    const text = await server.command('GET', key)
    if (text) found[key.slice(store.prefix.length)] = JSON.parse(text).count
  }
  return sorted(found)
}

function sorted(object) {
  return Object.fromEntries(Object.entries(object).sort())
}
