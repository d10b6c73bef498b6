// P4, P6: reads that are answered without asking Redis, and renewals that are sent together.
const { startProxy } = require('./support/proxy')
const { newId, sessionWith } = require('./support/sessions')
const { known, untilSeen, useStores } = require('./support/stores')
const { until } = require('./support/until')

const { later, ownRedis, storeWith, twoStores } = useStores()

/** As `twoStores`, and how often Redis has got a command. */
async function twoCounted(options) {
  const stores = await twoStores(options)
  const calls = async (name) => {
    const stats = await stores.server.command('INFO', 'commandstats')
    return Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
  }
  return { ...stores, calls }
}

test('a session that was read is answered in the same tick, as a new object each time', async () => {
  const { one } = await twoCounted()
  const sid = newId()
  await one.set(sid, sessionWith({ deep: { list: [1, { a: 1 }] } }))
  await one.get(sid)
  const [first, second] = [known(one, sid), known(one, sid)]
  expect(first).toEqual(second)
  first.deep.list[1].a = 2
  delete first.cookie.path
  expect(second.deep).toEqual({ list: [1, { a: 1 }] })
  expect(known(one, sid)).toEqual(second)
  expect(one.stats().hits).toBeGreaterThanOrEqual(3)
})

test('a key named __proto__ is data in a copy too', async () => {
  const { server, one } = await twoCounted()
  await server.command('SET', 'two:odd', '{"cookie":{},"__proto__":{"admin":true},"a":{"__proto__":{"b":1}}}')
  await one.get('odd')
  const session = known(one, 'odd')
  expect(Object.getPrototypeOf(session)).toBe(Object.prototype)
  expect(Object.getPrototypeOf(session.a)).toBe(Object.prototype)
  expect([session.admin, Object.hasOwn(session, '__proto__'), Object.hasOwn(session.a, '__proto__')]).toEqual([
    undefined,
    true,
    true
  ])
})

test.each([
  ['changed', (two, sid) => two.set(sid, sessionWith({ n: 2 })), { n: 2 }],
  ['destroyed', (two, sid) => two.destroy(sid), null],
  ['cleared', (two) => two.clear(), null]
])('P4 that a session was %s elsewhere is seen, and Redis is asked only then', async (_, change, expected) => {
  const { one, two } = await twoCounted()
  const sid = newId()
  await one.set(sid, sessionWith({ n: 1 }))
  await one.get(sid)
  await change(two, sid)
  const seen = async () => {
    const found = await one.get(sid)
    return expected === null ? found === null : found?.n === expected.n
  }
  await untilSeen(seen)
})

test('P4 a session that was emptied out of Redis by FLUSHALL is forgotten', async () => {
  const { server, one } = await twoCounted()
  const sid = newId()
  await one.set(sid, sessionWith())
  await one.get(sid)
  await server.command('FLUSHALL')
  await untilSeen(async () => (await one.get(sid)) === null)
})

test('that there is no session is known too, until there is one', async () => {
  const { one, two } = await twoCounted()
  const sid = newId()
  expect(await one.get(sid)).toBeNull()
  expect(known(one, sid)).toBeNull()
  await two.set(sid, sessionWith({ n: 1 }))
  await untilSeen(async () => (await one.get(sid))?.n === 1)
})

test('P4 after own saves and touches, what others change is still announced, each of 300 times', async () => {
  const { one, two } = await twoCounted({ touchWindowMs: 0 })
  const sid = newId()
  await one.set(sid, sessionWith({ n: 0 }))
  for (let n = 1; n <= 300; n++) {
    const mine = await one.get(sid)
    if (n % 2 === 0) await one.touch(sid, mine)
    else await one.set(sid, Object.assign(mine, { mine: n }))
    const theirs = await two.get(sid)
    await two.set(sid, Object.assign(theirs, { n }))
    await untilSeen(async () => (await one.get(sid)).n === n, `change ${n}`)
  }
  // On a busy machine each change may be seen a moment later.
}, 120_000)

test('P4 what is known is not trusted longer than maxStaleMs when Redis is silent', async () => {
  const server = await ownRedis()
  const proxy = await startProxy(server.port)
  later(() => proxy.stop())
  const store = storeWith({ port: proxy.port, cache: { maxStaleMs: 100 }, commandTimeoutMs: 5000 })
  await store.ready()
  const sid = newId()
  await store.set(sid, sessionWith({ n: 1 }))
  await store.get(sid)
  expect(known(store, sid)).toMatchObject({ n: 1 })
  proxy.hold()
  await until(() => known(store, sid) === undefined, { what: 'the end of the lease' })
  expect(store.state).toBe('ready')
  proxy.release()
  await until(() => known(store, sid)?.n === 1, { what: 'a new lease' })
})

test('reads of one session that are asked for together are one read', async () => {
  const { one, calls } = await twoCounted()
  const sid = newId()
  const before = await calls('get')
  const found = await Promise.all(Array.from({ length: 200 }, () => one.get(sid)))
  expect(found).toEqual(Array(200).fill(null))
  expect((await calls('get')) + (await calls('mget')) - before).toBeLessThan(20)
})

test('stats() tells how many reads Redis has not answered yet', async () => {
  const server = await ownRedis()
  const proxy = await startProxy(server.port)
  later(() => proxy.stop())
  const store = storeWith({ port: proxy.port, commandTimeoutMs: 5000 })
  await store.ready()
  expect(store.stats().loadsInFlight).toBe(0)
  proxy.hold()
  const sid = newId()
  const reads = [store.get(sid), store.get(newId()), store.get(sid)]
  await until(() => store.stats().loadsInFlight === 2)
  proxy.release()
  await Promise.all(reads)
  expect(store.stats().loadsInFlight).toBe(0)
})

test('cache: false asks Redis for each read', async () => {
  const { one, calls } = await twoCounted({ cache: false })
  const sid = newId()
  await one.set(sid, sessionWith())
  const reads = async () => (await calls('get')) + (await calls('mget'))
  const before = await reads()
  for (let n = 0; n < 5; n++) {
    expect(known(one, sid)).toBeUndefined()
    await one.get(sid)
  }
  // Two that are asked for together are one command.
  expect(await reads()).toBe(before + 5)
  expect(one.stats().entries).toBe(0)
})

test('P6 many touches of a session are one command, with the last expiry, and none is lost by close()', async () => {
  const { server, one, calls } = await twoCounted()
  const sid = newId()
  await one.set(sid, sessionWith({}, 100_000))
  await one.get(sid)
  for (let n = 1; n <= 50; n++) {
    let answered = false
    one.touch(sid, sessionWith({}, 100_000 + n * 1000), () => {
      answered = true
    })
    expect(answered).toBe(true)
  }
  expect((await one.get(sid)).cookie.expires > new Date(Date.now() + 140_000).toISOString()).toBe(true)
  expect(await calls('pexpire')).toBe(0)
  await one.close()
  expect(await calls('pexpire')).toBe(1)
  expect(await server.command('PTTL', `two:${sid}`)).toBeGreaterThan(140_000)
})

test('P6 a session that is about to end in Redis is renewed there at once', async () => {
  const { server, one } = await twoCounted()
  const sid = newId()
  await one.set(sid, sessionWith({}, 1000))
  await one.get(sid)
  await one.touch(sid, sessionWith({}, 3_600_000))
  await until(async () => (await server.command('PTTL', `two:${sid}`)) > 3_000_000)
})

test('P6 a renewal that waits is void once another process has said when the session ends', async () => {
  const { server, one, two } = await twoCounted()
  const sid = newId()
  await one.set(sid, sessionWith({}, 3_600_000))
  const mine = await one.get(sid)
  await one.touch(sid, mine)
  expect(one.stats().waitingTouches).toBe(1)
  const theirs = await two.get(sid)
  theirs.cookie.expires = new Date(Date.now() + 5000)
  theirs.n = 1
  await two.set(sid, theirs)
  await until(() => one.stats().waitingTouches === 0)
  await one.close()
  expect(await server.command('PTTL', `two:${sid}`)).toBeLessThanOrEqual(5000)
})

test('the table stays within its bytes', async () => {
  const { one } = await twoCounted({ cache: { maxBytes: 100_000 } })
  const ids = Array.from({ length: 500 }, newId)
  for (const sid of ids) await one.set(sid, sessionWith({ text: 'x'.repeat(500) }))
  await Promise.all(ids.map((sid) => one.get(sid)))
  const { bytes, entries } = one.stats()
  expect(bytes).toBeLessThanOrEqual(100_000)
  expect(entries).toBeGreaterThan(50)
})
