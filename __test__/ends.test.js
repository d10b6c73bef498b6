// Without a cache, each read asks Redis for the text, and only now and then for when the session ends.
const { startProxy } = require('./support/proxy')
const { newId, sessionWith } = require('./support/sessions')
const { useStores } = require('./support/stores')
const { until } = require('./support/until')

const { later, ownRedis, storeWith } = useStores()

const HOUR = 3_600_000

async function setUp(options) {
  const server = await ownRedis()
  const proxy = await startProxy(server.port)
  later(() => proxy.stop())
  const settings = { prefix: 'ends:', cache: false, ...options }
  const [one, two] = [storeWith({ ...settings, port: proxy.port }), storeWith({ ...settings, port: server.port })]
  await Promise.all([one.ready(), two.ready()])
  return {
    server,
    proxy,
    one,
    two,
    calls: async (command) => {
      const stats = await server.command('INFO', 'commandstats')
      return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
    }
  }
}

const hoursLeft = (session) => Math.round((Date.parse(session.cookie.expires) - Date.now()) / HOUR)

test('of many reads, few ask for it, and all tell it', async () => {
  const { server, one, calls } = await setUp()
  const sid = newId()
  await one.set(sid, sessionWith({ n: 1 }, HOUR))
  await server.command('PEXPIRE', `ends:${sid}`, 9 * HOUR)
  const texts = async () => (await calls('get')) + (await calls('mget'))
  const [before, start] = [await texts(), Date.now()]
  for (let n = 0; n < 100; n++) expect(hoursLeft(await one.get(sid))).toBe(9)
  const seconds = Math.floor((Date.now() - start) / 1000)
  expect(await calls('pttl')).toBeLessThanOrEqual(2 + seconds)
  expect((await texts()) - before).toBe(100)
})

test('a touch here is seen at once, without asking', async () => {
  const { one, calls } = await setUp()
  const sid = newId()
  await one.set(sid, sessionWith({}, HOUR))
  // What was read once is likely to be read again.
  await one.get(sid)
  await one.get(sid)
  const before = await calls('pttl')
  for (const hours of [5, 2, 7]) {
    await one.touch(sid, sessionWith({}, hours * HOUR))
    expect(hoursLeft(await one.get(sid))).toBe(hours)
  }
  expect(await calls('pttl')).toBe(before)
})

test('P4 a touch elsewhere is seen within a second', async () => {
  const { one, two } = await setUp()
  const sid = newId()
  await one.set(sid, sessionWith({}, HOUR))
  await one.get(sid)
  await one.get(sid)
  await two.touch(sid, sessionWith({}, 5 * HOUR))
  await until(async () => hoursLeft(await one.get(sid)) === 5, { ms: 1200, every: 20 })
})

test('an answer that was on its way while the session was touched does not count', async () => {
  const { one, proxy, calls } = await setUp()
  const sid = newId()
  await one.set(sid, sessionWith({}, HOUR))
  proxy.hold()
  const late = one.get(sid)
  // Redis has executed it by then.
  await until(async () => (await calls('pttl')) === 1)
  const touched = one.touch(sid, sessionWith({}, 5 * HOUR))
  proxy.release()
  expect(hoursLeft(await late)).toBe(1)
  await touched
  for (let n = 0; n < 3; n++) expect(hoursLeft(await one.get(sid))).toBe(5)
})

test('what another process makes of a session is read as it is', async () => {
  const { server, one, two } = await setUp()
  const sid = newId()
  await one.set(sid, sessionWith({ n: 1 }, HOUR))
  await one.get(sid)
  await two.set(sid, sessionWith({ n: 2 }, 5 * HOUR))
  const session = await one.get(sid)
  expect([session.n, hoursLeft(session)]).toEqual([2, 5])
  await two.destroy(sid)
  expect(await one.get(sid)).toBeNull()
  await two.set(sid, sessionWith({ n: 3 }, HOUR))
  await one.get(sid)
  await server.command('DEL', `ends:${sid}`)
  await server.command('RPUSH', `ends:${sid}`, 'a list')
  expect(await one.get(sid)).toBeNull()
  expect(one.stats().corrupt).toBe(1)
})

test('a save here with the same text and another life is seen at once', async () => {
  const { one } = await setUp({ ttl: 3600 })
  const sid = newId()
  await one.set(sid, sessionWith({}, HOUR))
  await one.get(sid)
  const session = sessionWith({}, HOUR)
  await one.set(sid, session)
  expect(hoursLeft(await one.get(sid))).toBe(1)
  await one.set(sid, { ...session, cookie: { ...session.cookie.toJSON(), expires: new Date(Date.now() + 3 * HOUR) } })
  expect(hoursLeft(await one.get(sid))).toBe(3)
})

test('P5 memory tells it while Redis is away', async () => {
  const { server, one } = await setUp()
  const sid = newId()
  await one.set(sid, sessionWith({}, HOUR))
  await one.get(sid)
  await server.kill()
  await until(() => one.state === 'degraded')
  await one.set(sid, sessionWith({}, 5 * HOUR))
  expect(hoursLeft(await one.get(sid))).toBe(5)
  await one.touch(sid, sessionWith({}, 7 * HOUR))
  expect(hoursLeft(await one.get(sid))).toBe(7)
})
