// P5, as far as no call may hang: every fault that a Redis or the network to it can have, under traffic.
const { startApp } = require('../app')
const { startProxy } = require('../proxy')
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')
const { startTraffic } = require('../traffic')
const { nextEvent, until } = require('../until')

module.exports = () => {
  const { keyOf, later, ownRedis, storeWith } = useStores()

  const COMMAND_TIMEOUT_MS = 300
  const NOISE_MS = 400

  const faults = [
    ['killed', ({ server }) => server.kill(), ({ server }) => server.restart({ empty: false })],
    ['stalled', ({ server }) => server.pause(), ({ server }) => server.resume()],
    [
      'cut off',
      ({ proxy }) => {
        proxy.refuse()
        proxy.cut()
      },
      ({ proxy }) => proxy.accept()
    ],
    ['deaf', ({ proxy }) => proxy.swallow('toServer'), ({ proxy }) => proxy.swallow(false)],
    ['mute', ({ proxy }) => proxy.swallow('toClient'), ({ proxy }) => proxy.swallow(false)],
    ['behind half-open connections', ({ proxy }) => proxy.halfOpen(), () => {}]
  ]

  test.each(faults)('while Redis is %s, every call is answered once and in time', async (_, strike, heal) => {
    const server = await ownRedis({ persistence: true })
    const proxy = await startProxy(server.port)
    later(() => proxy.stop())
    const store = storeWith({
      port: proxy.port,
      commandTimeoutMs: COMMAND_TIMEOUT_MS,
      connectTimeoutMs: COMMAND_TIMEOUT_MS
    })
    await store.ready()
    const fallback = nextEvent(store, 'fallback')
    const traffic = startTraffic(store)
    await until(() => traffic.count > 500)
    const recovered = nextEvent(store, 'recovered', 20_000)
    await strike({ server, proxy })
    await fallback
    const atFallback = traffic.count
    await until(() => traffic.count > atFallback + 500)
    await heal({ server, proxy })
    await recovered
    const atRecovery = traffic.count
    await until(() => traffic.count > atRecovery + 500)
    const { answers, written, stale } = await traffic.stop()

    expect(answers.filter(({ calls }) => calls !== 1)).toEqual([])
    expect(answers.filter(({ error }) => error)).toEqual([])
    const slowest = Math.max(...answers.map(({ ms }) => ms))
    expect(slowest).toBeLessThan(COMMAND_TIMEOUT_MS + NOISE_MS)
    expect(stale).toEqual([])

    await until(() => store.stats().unsaved === 0)
    const wrong = []
    for (const [sid, n] of written) {
      const text = await server.command('GET', keyOf(store, sid))
      const found = text ? JSON.parse(text).n : null
      if (found !== n) wrong.push({ found, n })
    }
    expect(wrong).toEqual([])
  })

  test.each([
    ['cut', (proxy) => proxy.cut()],
    ['silent until the calls time out', () => {}]
  ])('calls on one session keep their order when the connection is %s under them', async (_, strike) => {
    const server = await ownRedis()
    const proxy = await startProxy(server.port)
    later(() => proxy.stop())
    const store = storeWith({ port: proxy.port, commandTimeoutMs: COMMAND_TIMEOUT_MS })
    await store.ready()
    proxy.hold()
    proxy.refuse()
    const ids = Array.from({ length: 100 }, newId)
    let unanswered = 0
    const answered = () => unanswered--
    const ask = (method, ...args) => {
      unanswered++
      store[method](...args, answered)
    }
    // Nobody waits for an answer, so a store that reorders would end with an earlier call's outcome.
    const step = (n) => {
      for (const [at, sid] of ids.entries()) {
        if (at % 2 === 1 && n % 3 === 2) ask('destroy', sid)
        else ask('set', sid, sessionWith({ n }))
      }
    }
    const turn = () => new Promise(setImmediate)
    let n = 0
    for (; n < 10; n++) {
      step(n)
      await turn()
    }
    strike(proxy)
    while (store.state === 'ready') {
      step(n++)
      await turn()
    }
    // Once more after the last call that was on its way, until n says that the last step destroys.
    do {
      step(n)
      await turn()
    } while (n++ % 3 !== 2)
    await until(() => unanswered === 0)
    const found = await Promise.all(ids.map((sid) => store.get(sid)))
    expect(found.map((one) => one?.n ?? null)).toEqual(ids.map((_, at) => (at % 2 === 1 ? null : n - 1)))
  })

  test('a burst of 5,000 calls on a stalled Redis is answered in time, and so is what comes after', async () => {
    const server = await ownRedis()
    const store = storeWith({ port: server.port, commandTimeoutMs: COMMAND_TIMEOUT_MS })
    await store.ready()
    await server.pause()
    const slowest = async (count) => {
      const times = Array.from({ length: count }, async () => {
        const startedAt = performance.now()
        await store.set(newId(), sessionWith({ text: 'x'.repeat(500) }))
        return performance.now() - startedAt
      })
      return Math.max(...(await Promise.all(times)))
    }
    expect(await slowest(5000)).toBeLessThan(COMMAND_TIMEOUT_MS + 700)
    await until(() => store.state === 'degraded')
    expect(await slowest(100)).toBeLessThan(200)
    expect(store.stats().timeouts).toBeGreaterThan(0)
  })

  test('over HTTP, a Redis that is killed under traffic fails no request and takes no session away from req', async () => {
    const server = await ownRedis({ persistence: true })
    const store = storeWith({ port: server.port })
    const routes = (app) =>
      app.post('/step', (req, res) => {
        req.session.step = req.body.step
        res.json({ step: req.session.step })
      })
    const app = await startApp({ store, routes })
    later(() => app.close())
    await store.ready()
    const answers = []
    let running = true
    const visit = async () => {
      const agent = app.agent()
      for (let step = 0; running; step++) {
        const startedAt = performance.now()
        const { status } = await agent.post('/step', { step })
        answers.push({ status, ms: performance.now() - startedAt })
      }
    }
    const visits = Array.from({ length: 10 }, visit)
    await until(() => answers.length > 100)
    await server.kill()
    await until(() => store.state === 'degraded')
    const atFallback = answers.length
    await until(() => answers.length > atFallback + 100)
    await server.restart({ empty: false })
    await until(() => store.state === 'ready')
    running = false
    await Promise.all(visits)
    expect(answers.filter(({ status }) => status !== 200)).toEqual([])
    expect(Math.max(...answers.map(({ ms }) => ms))).toBeLessThan(1500)
  })
}
