// What a store does instead of serving from memory, how often it tries Redis, and what it does at the end of an outage that
// has not ended.
const { startApp } = require('./support/app')
const { rememberingLogger } = require('./support/logger')
const { startProxy } = require('./support/proxy')
const { newId, sessionWith } = require('./support/sessions')
const { useStores } = require('./support/stores')
const { until } = require('./support/until')

const { later, ownRedis, storeWith } = useStores()

/** A store on a Redis that can be taken away. */
async function storeOnProxy(options) {
  const server = await ownRedis()
  const proxy = await startProxy(server.port)
  later(() => proxy.stop())
  const store = storeWith({ port: proxy.port, ...options })
  await store.ready()
  const takeAway = async () => {
    proxy.refuse()
    proxy.cut()
    await until(() => store.state === 'degraded')
  }
  return { server, proxy, store, takeAway }
}

describe("fallback: 'error'", () => {
  test('every call fails while Redis is away, and works when it is back', async () => {
    const { proxy, store, takeAway } = await storeOnProxy({ fallback: 'error' })
    const sid = newId()
    await store.set(sid, sessionWith({ n: 1 }))
    await takeAway()
    const calls = [() => store.get(sid), () => store.set(sid, sessionWith()), () => store.destroy(sid)]
    for (const call of [...calls, () => store.length(), () => store.ids(), () => store.clear()]) {
      await expect(call()).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' })
    }
    expect(store.stats().unsaved).toBe(0)
    await proxy.accept()
    await until(() => store.state === 'ready')
    expect(await store.get(sid)).toMatchObject({ n: 1 })
  })

  test('the log does not speak of memory', async () => {
    const logger = rememberingLogger()
    const { takeAway } = await storeOnProxy({ fallback: 'error', logger })
    await takeAway()
    const lines = () => logger.lines.map(({ message }) => message)
    await until(() => lines().some((line) => line.includes('session operations fail until it is back')))
    expect(lines().filter((line) => line.includes('memory session store'))).toEqual([])
  })

  test.each([
    [false, 500],
    [true, 200]
  ])('with skipWhenDown: %s a request is answered with %s', async (skipWhenDown, status) => {
    const { proxy, store, takeAway } = await storeOnProxy({ fallback: 'error', skipWhenDown })
    const routes = (app) => app.get('/', (req, res) => res.json({ hasSession: req.session !== undefined }))
    const app = await startApp({ store, routes, session: { saveUninitialized: true } })
    later(() => app.close())
    const agent = app.agent()
    expect((await agent.get('/')).body).toEqual({ hasSession: true })
    await takeAway()
    const answer = await agent.get('/')
    expect([answer.status, answer.body.hasSession ?? false]).toEqual([status, false])
    await proxy.accept()
    await until(async () => (await agent.get('/')).body.hasSession === true)
  })

  test.each([[{ fallback: 'disk' }], [{ skipWhenDown: true }], [{ skipWhenDown: 'yes', fallback: 'error' }]])(
    '%j is refused',
    (options) => {
      expect(() => storeWith(options)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_OPTION' }))
    }
  )
})

test('the wait between two tries doubles, within the bounds that were given', async () => {
  const { store, takeAway } = await storeOnProxy({ reconnectMinMs: 20, reconnectMaxMs: 90 })
  const waits = []
  store.on('reconnecting', ({ delayMs }) => waits.push(delayMs))
  await takeAway()
  await until(() => waits.length >= 5)
  for (const [at, most] of [20, 40, 80, 90, 90].entries()) {
    expect(waits[at]).toBeGreaterThanOrEqual(most / 2 - 1)
    expect(waits[at]).toBeLessThanOrEqual(most)
  }
})

describe('close() in an outage', () => {
  test('writes what Redis does not have, when it comes back in time', async () => {
    const { server, proxy, store, takeAway } = await storeOnProxy({ closeTimeoutMs: 10_000, prefix: 'in time:' })
    await takeAway()
    const sid = newId()
    await store.set(sid, sessionWith({ n: 1 }))
    const closed = store.close()
    await proxy.accept()
    await closed
    expect(JSON.parse(await server.command('GET', `in time:${sid}`))).toMatchObject({ n: 1 })
  })

  test('says how much is lost, when it does not', async () => {
    const logger = rememberingLogger()
    const { store, takeAway } = await storeOnProxy({ closeTimeoutMs: 50, logger })
    await takeAway()
    await store.set(newId(), sessionWith())
    await store.close()
    const messages = logger.lines.map(({ message }) => message)
    expect(messages).toContain('Closed before Redis was back: changes in memory are lost, 1')
    expect(store.stats().unsaved).toBe(1)
  })
})
