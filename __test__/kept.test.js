// P4: what is answered without even a call into the addon, because it is kept parsed (lib/known.js), is trusted no longer
// than what the addon itself would answer.
const { startProxy } = require('./support/proxy')
const { newId, sessionWith } = require('./support/sessions')
const { known, untilSeen, useStores } = require('./support/stores')
const { until } = require('./support/until')

const { later, ownRedis, storeWith, twoStores } = useStores()

/** A session that is read so often that it is kept. */
async function keep(store, data, lifetime = 3_600_000) {
  const sid = newId()
  await store.set(sid, sessionWith(data, lifetime))
  await store.get(sid)
  for (let n = 0; n < 3; n++) expect(known(store, sid)).toMatchObject(data)
  return sid
}

test.each([
  ['changed', ({ two, sid }) => two.set(sid, sessionWith({ n: 2 })), (found) => found?.n === 2],
  ['destroyed', ({ two, sid }) => two.destroy(sid), (found) => found === null],
  ['cleared', ({ two }) => two.clear(), (found) => found === null],
  [
    'ended by a touch',
    async ({ server, two, sid }) => {
      // A touch is answered before Redis has it.
      await two.touch(sid, sessionWith({}, 1))
      await until(async () => (await server.command('EXISTS', `two:${sid}`)) === 0, { what: 'the end in Redis' })
    },
    (found) => found === null
  ],
  ['lost by FLUSHALL', ({ server }) => server.command('FLUSHALL'), (found) => found === null]
])('P4 a kept session that was %s elsewhere', async (_, change, isRight) => {
  const { server, one, two } = await twoStores()
  const sid = await keep(one, { n: 1 })
  await change({ server, two, sid })
  await untilSeen(async () => isRight(await one.get(sid)))
})

test('P4 a kept session that changes elsewhere, 500 times', async () => {
  const { one, two } = await twoStores()
  const sid = await keep(one, { n: 0 })
  for (let n = 1; n <= 500; n++) {
    await two.set(sid, sessionWith({ n }))
    await untilSeen(async () => (await one.get(sid)).n === n, `change ${n}`)
    for (let again = 0; again < 3; again++) expect(await one.get(sid)).toMatchObject({ n })
  }
  // On a busy machine each change may be seen a moment later.
}, 120_000)

test('P4 an own write is seen by the next read, though it is not answered yet', async () => {
  const { one } = await twoStores()
  const sid = await keep(one, { n: 0 })
  for (let n = 1; n <= 50; n++) {
    const mine = await one.get(sid)
    const written = one.set(sid, Object.assign(mine, { n }))
    expect(await one.get(sid)).toMatchObject({ n })
    await written
    expect(await one.get(sid)).toMatchObject({ n })
  }
  const destroyed = one.destroy(sid)
  expect(await one.get(sid)).toBeNull()
  await destroyed
  expect(await one.get(sid)).toBeNull()
})

test('P6 a kept session ends when its time is up, also when Redis does not say so', async () => {
  const { server, one } = await twoStores({ commandTimeoutMs: 5000, cache: { maxStaleMs: 60_000 } })
  const sid = await keep(one, { n: 1 }, 700)
  await server.pause()
  await until(() => known(one, sid) === undefined, { what: 'the end', every: 5 })
  server.resume()
  // Redis may be a moment behind: the time that the read took is off its life here.
  await until(async () => (await one.get(sid)) === null, { what: 'the end in Redis' })
})

test('P6 a kept session lives as long as it was renewed to, and its cookie says so', async () => {
  const { server, one } = await twoStores()
  const sid = await keep(one, { n: 1 }, 100_000)
  one.touch(sid, sessionWith({}, 500_000), () => {})
  const soon = new Date(Date.now() + 490_000).toISOString()
  expect(known(one, sid).cookie.expires > soon).toBe(true)
  await one.close()
  expect(await server.command('PTTL', `two:${sid}`)).toBeGreaterThan(490_000)
})

test('P6 a kept session that is about to end in Redis is renewed there at once', async () => {
  const { server, one } = await twoStores({ touchWindowMs: 5000 })
  const sid = await keep(one, { n: 1 }, 3000)
  one.touch(sid, sessionWith({}, 100_000), () => {})
  await until(async () => (await server.command('PTTL', `two:${sid}`)) > 90_000, { what: 'the renewal' })
})

test('P6 of two renewals in one tick, with a callback and without, the later one counts', async () => {
  const { server, one } = await twoStores()
  const sid = await keep(one, { n: 1 }, 100_000)
  one.touch(sid, sessionWith({}, 900_000), () => {})
  await one.touch(sid, sessionWith({}, 200_000))
  await one.close()
  expect(await server.command('PTTL', `two:${sid}`)).toBeLessThanOrEqual(200_000)
})

test('P6 of a renewal and a save in one tick, the later one says when the session ends', async () => {
  const { server, one } = await twoStores()
  const sid = await keep(one, { n: 1 }, 100_000)
  one.touch(sid, sessionWith({}, 900_000), () => {})
  await one.set(sid, sessionWith({ n: 2 }, 50_000))
  await one.close()
  expect(await server.command('PTTL', `two:${sid}`)).toBeLessThanOrEqual(50_000)
})

test('P3 a renewal does not bring back what was destroyed in the same tick', async () => {
  const { server, one } = await twoStores()
  const sid = await keep(one, { n: 1 })
  one.touch(sid, sessionWith({}), () => {})
  const destroyed = one.destroy(sid)
  one.touch(sid, sessionWith({}), () => {})
  await destroyed
  await one.close()
  expect(await server.command('EXISTS', `two:${sid}`)).toBe(0)
})

test('P4 a kept session is not trusted longer than maxStaleMs when Redis is silent', async () => {
  const server = await ownRedis()
  const proxy = await startProxy(server.port)
  later(() => proxy.stop())
  const store = storeWith({ port: proxy.port, cache: { maxStaleMs: 100 }, commandTimeoutMs: 5000 })
  await store.ready()
  const sid = await keep(store, { n: 1 })
  proxy.hold()
  await until(() => known(store, sid) === undefined, { what: 'the end of the lease' })
  proxy.release()
  await until(() => known(store, sid)?.n === 1, { what: 'a new lease' })
})

test('P4 what changes while the connection is lost is seen after it', async () => {
  const { server, one, two } = await twoStores({ prefix: 'lost:' })
  const sid = await keep(one, { n: 1 })
  const clients = await server.command('CLIENT', 'LIST')
  const ids = [...clients.matchAll(/^id=(\d+) /gm)].map(([, id]) => id)
  for (const id of ids) await server.command('CLIENT', 'KILL', 'ID', id).catch(() => {})
  await server.command('SET', `lost:${sid}`, JSON.stringify(sessionWith({ n: 2 })))
  await until(async () => (await one.get(sid))?.n === 2, { what: 'the change' })
  expect([one, two].map((store) => store.state)).toContain('ready')
})

test('P5 in an outage a kept session goes on, with what was changed and destroyed meanwhile', async () => {
  const { server, one } = await twoStores({ commandTimeoutMs: 100 })
  const [changed, destroyed, left] = [await keep(one, { n: 1 }), await keep(one, { n: 1 }), await keep(one, { n: 1 })]
  await server.kill()
  await until(() => one.state === 'degraded')
  const mine = await one.get(changed)
  await one.set(changed, Object.assign(mine, { n: 2 }))
  await one.destroy(destroyed)
  expect(await Promise.all([changed, destroyed, left].map((sid) => one.get(sid)))).toMatchObject([
    { n: 2 },
    null,
    { n: 1 }
  ])
})

test('what had to go, because there was no room, is read again', async () => {
  const { one } = await twoStores({ cache: { maxBytes: 70_000 } })
  const sid = await keep(one, { n: 1 })
  const others = Array.from({ length: 300 }, newId)
  await Promise.all(others.map((other) => one.set(other, sessionWith({ text: 'x'.repeat(500) }))))
  await Promise.all(others.map((other) => one.get(other)))
  await until(async () => {
    await Promise.all(others.map((other) => one.get(other)))
    return known(one, sid) === undefined
  })
  expect(await one.get(sid)).toMatchObject({ n: 1 })
})

test('more sessions than can be kept are each still the right one', async () => {
  const { one, two } = await twoStores({ cache: { maxBytes: 256 << 20 } })
  const ids = Array.from({ length: 40_000 }, (_, n) => `session-${n}`)
  const each = async (act) => {
    for (let from = 0; from < ids.length; from += 500) await Promise.all(ids.slice(from, from + 500).map(act))
  }
  const number = (sid) => Number(sid.split('-')[1])
  await each((sid) => one.set(sid, sessionWith({ n: number(sid) })))
  const wrong = []
  const check = async (sid) => {
    const { n } = await one.get(sid)
    if (n !== number(sid)) wrong.push([sid, n])
  }
  for (let round = 0; round < 3; round++) await each(check)
  expect(wrong).toEqual([])
  // Each of the last and of the first.
  for (const sid of ['session-0', 'session-20000', 'session-39999']) {
    await one.get(sid)
    await two.set(sid, sessionWith({ n: -1 }))
    await until(async () => (await one.get(sid)).n === -1, { what: sid })
  }
})

test('after close() nothing is answered', async () => {
  const { one } = await twoStores()
  const sid = await keep(one, { n: 1 })
  const closed = one.close()
  await expect(one.get(sid)).rejects.toMatchObject({ code: 'ERR_STORE_CLOSED' })
  const touched = await new Promise((resolve) => one.touch(sid, sessionWith({}), resolve))
  expect(touched).toMatchObject({ code: 'ERR_STORE_CLOSED' })
  await closed
})

test('a test that sets the time gets the right session', async () => {
  const { one, two } = await twoStores()
  const sid = await keep(one, { n: 1 })
  const { now } = Date
  later(() => {
    Date.now = now
  })
  for (const away of [-1e10, 1e10]) {
    Date.now = () => now() + away
    expect(await one.get(sid)).toMatchObject({ n: 1 })
  }
  await two.set(sid, sessionWith({ n: 2 }))
  await until(async () => (await one.get(sid))?.n === 2)
})

test('P5 a session that was saved twice at once is known in the outage that follows', async () => {
  const { server, one } = await twoStores({ commandTimeoutMs: 100 })
  const sid = newId()
  await one.set(sid, sessionWith({ n: 1 }))
  const [first, second] = [await one.get(sid), await one.get(sid)]
  await Promise.all([one.set(sid, Object.assign(first, { a: 1 })), one.set(sid, Object.assign(second, { b: 1 }))])
  await server.kill()
  await until(() => one.state === 'degraded')
  expect(await one.get(sid)).toMatchObject({ n: 1, a: 1, b: 1 })
})

test.each(['saved', 'made'])(
  'P5 a session that was %s and read at once is known in the outage that follows',
  async (how) => {
    const { server, one } = await twoStores({ commandTimeoutMs: 100 })
    const ids = Array.from({ length: 100 }, newId)
    if (how === 'saved') await Promise.all(ids.map((sid) => one.set(sid, sessionWith({ n: 1 }))))
    await Promise.all(ids.flatMap((sid) => [one.set(sid, sessionWith({ n: 2 })), one.get(sid)]))
    await server.kill()
    await until(() => one.state === 'degraded')
    const found = await Promise.all(ids.map((sid) => one.get(sid)))
    expect(found).toMatchObject(ids.map(() => ({ n: 2 })))
  }
)
