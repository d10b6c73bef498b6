// P5 when very much waits for a Redis that stalls: what waits is bounded, all of it is answered, and nothing stays behind.
const v8 = require('node:v8')
const vm = require('node:vm')
const { startApp } = require('./support/app')
const { runScript } = require('./support/script')
const { newId, sessionWith } = require('./support/sessions')
const { useStores } = require('./support/stores')
const { until } = require('./support/until')

const COUNT = 10_000
// A kilobyte that is left behind for each request of one stall would be as much.
const MOST_GROWTH = 10_000_000

const MOST_WAITING = 100_000
const MOST_UNITS = 128 << 20

jest.setTimeout(60_000)

for (const name of Object.keys(process.env)) {
  if (/^(REDIS_|SESSION_)/.test(name)) delete process.env[name]
}

const { later, ownRedis, storeWith } = useStores()

v8.setFlagsFromString('--expose-gc')
const gc = vm.runInNewContext('gc')

async function stoppable(options) {
  const server = await ownRedis()
  const store = storeWith({ port: server.port, commandTimeoutMs: 500, ...options })
  await store.ready()
  return { server, store }
}

/** How often calls ended how: with which code, or `done`. */
async function ends(calls) {
  const counts = {}
  for (const { reason } of await Promise.allSettled(calls)) {
    const end = reason === undefined ? 'done' : reason.code
    counts[end] = (counts[end] ?? 0) + 1
  }
  return counts
}

test('P5 10,000 reads, saves and renewals at once while Redis is stopped: none fails, and memory stays flat', async () => {
  const program = async (count) => {
    const { RedisStore } = require('./index.js')
    const { startRedis } = require('./__test__/support/redis')
    const { until } = require('./__test__/support/until')
    const server = await startRedis()
    const store = new RedisStore({ host: '127.0.0.1', port: server.port, commandTimeoutMs: 500, logger: false })
    await store.ready()
    const outcomes = { answers: 0, failures: 0, wrong: 0, most: 0 }
    const call = (method, ...args) =>
      new Promise((resolve) => {
        store[method](...args, (error, value) => {
          outcomes.answers++
          if (error) outcomes.failures++
          else if (method === 'get' && value !== null) outcomes.wrong++
          resolve()
        })
      })
    let round = 0
    const stall = async () => {
      round++
      await server.pause()
      const calls = []
      for (let n = 0; n < count; n++) {
        const session = { cookie: { path: '/' }, n: round, text: 'x'.repeat(1000) }
        calls.push(
          call('get', `unknown ${round} ${n}`),
          call('set', `id ${n}`, session),
          call('touch', `id ${n}`, session)
        )
      }
      outcomes.most = Math.max(outcomes.most, store.stats().inFlight)
      await Promise.all(calls)
      await until(() => store.state === 'degraded')
      server.resume()
      await until(() => store.state === 'ready' && store.stats().unsaved === 0)
      for (let n = 0; n < count; n += 997) {
        if ((await store.get(`id ${n}`)).n !== round) outcomes.wrong++
      }
      for (let n = 0; n < 3; n++) {
        global.gc()
        await new Promise(setImmediate)
      }
      const { heapUsed, external, arrayBuffers, rss } = process.memoryUsage()
      return { js: heapUsed + external + arrayBuffers, rss }
    }
    const before = [await stall(), await stall(), await stall()]
    await stall()
    const after = await stall()
    const grown = (kind) => after[kind] - Math.max(...before.map((memory) => memory[kind]))
    const { inFlight, unsaved } = store.stats()
    console.log(JSON.stringify({ js: grown('js'), rss: grown('rss'), inFlight, unsaved, ...outcomes }))
    await store.close()
    await server.stop()
  }
  const { code, stdout, stderr } = await runScript(program, [COUNT], { nodeArgs: ['--expose-gc'], timeoutMs: 50_000 })
  expect([code, stderr]).toEqual([0, ''])
  const { js, rss, ...seen } = JSON.parse(stdout)
  expect(seen).toEqual({ answers: 15 * COUNT, failures: 0, wrong: 0, most: 3 * COUNT, inFlight: 0, unsaved: 0 })
  expect(js).toBeLessThan(MOST_GROWTH)
  // The allocators keep more after one stall than after another.
  expect(rss).toBeLessThan(4 * MOST_GROWTH)
})

test('P5 10,000 requests in flight while Redis is stopped: none fails, and memory stays flat', async () => {
  // Long enough for all of them to wait together.
  const { server, store } = await stoppable({ commandTimeoutMs: 4000 })
  const memory = []
  const remember = () => {
    gc()
    memory.push(process.memoryUsage().heapUsed)
  }
  let mostWaiting = 0
  const routes = (app) => {
    app.post('/add', (req, res) => {
      req.session.count = (req.session.count ?? 0) + 1
      req.session.text = 'x'.repeat(1000)
      res.json(req.session.count)
    })
    app.post('/stop', async (_req, res) => {
      remember()
      await server.pause()
      res.end()
    })
    app.post('/go', async (_req, res) => {
      await until(() => store.state === 'degraded')
      server.resume()
      await until(() => store.state === 'ready' && store.stats().unsaved === 0)
      remember()
      res.end()
    })
  }
  const app = await startApp({ store, routes, http: { keepAliveTimeout: 60_000 } })
  later(() => app.close())
  const client = async (port, count) => {
    const http = require('node:http')
    const post = (path, user = {}) =>
      new Promise((resolve, reject) => {
        const headers = user.cookie ? { cookie: user.cookie } : {}
        const request = http.request({ port, host: '127.0.0.1', method: 'POST', path, agent: user.agent, headers })
        request.on('error', reject)
        request.on('response', (response) => {
          user.cookie ??= response.headers['set-cookie']?.[0].split(';')[0]
          let text = ''
          response.on('data', (chunk) => (text += chunk))
          response.on('end', () => resolve(`${response.statusCode} ${text}`))
        })
        request.end()
      })
    const users = Array.from({ length: count }, () => ({ agent: new http.Agent({ keepAlive: true }) }))
    // A few at a time, so that none of them is kept waiting for its connection.
    for (let n = 0; n < count; n += 100) await Promise.all(users.slice(n, n + 100).map((user) => post('/add', user)))
    await post('/stop')
    const answers = await Promise.all(users.map((user) => post('/add', user)))
    await post('/go')
    const counts = {}
    for (const answer of answers) counts[answer] = (counts[answer] ?? 0) + 1
    console.log(JSON.stringify(counts))
    for (const { agent } of users) agent.destroy()
  }
  const watch = setInterval(() => (mostWaiting = Math.max(mostWaiting, store.stats().inFlight)), 5)
  later(() => clearInterval(watch))
  const { code, stdout, stderr } = await runScript(client, [app.port, COUNT], { timeoutMs: 50_000 })
  expect([code, stderr]).toEqual([0, ''])
  expect(JSON.parse(stdout)).toEqual({ '200 2': COUNT })
  const texts = await server.command('MGET', ...(await server.command('KEYS', `${store.prefix}*`)))
  expect(texts.filter((text) => JSON.parse(text).count === 2)).toHaveLength(COUNT)
  // All of them, where the machine is fast enough to take them before the first is answered.
  expect(mostWaiting).toBeGreaterThan(COUNT / 2)
  const [before, after] = memory
  expect(after - before).toBeLessThan(MOST_GROWTH)
})

describe('P5 more than may wait', () => {
  test('120,000 reads while Redis is stopped: what is too much is refused at once, all others are answered', async () => {
    // To make so many takes a busy machine seconds, and memory is not to serve before.
    const { server, store } = await stoppable({ commandTimeoutMs: 8000 })
    const sid = newId()
    await server.pause()
    const reads = Array.from({ length: MOST_WAITING + 20_000 }, (_, n) => store.get(`unknown ${n}`))
    expect(store.stats().inFlight).toBe(MOST_WAITING)
    const others = [store.set(sid, sessionWith()), store.destroy(sid), store.length(), store.ids(), store.clear()]
    const never = [store.ready(), store.touch(sid, sessionWith())]
    expect(await ends(others)).toEqual({ ERR_STORE_BUSY: others.length })
    expect(await ends(never)).toEqual({ done: never.length })
    expect(await ends(reads)).toEqual({ done: MOST_WAITING, ERR_STORE_BUSY: 20_000 })
    expect(store.stats().inFlight).toBe(0)

    await until(() => store.state === 'degraded')
    await store.set(sid, sessionWith({ n: 1 }))
    server.resume()
    await until(() => store.state === 'ready' && store.stats().unsaved === 0)
    expect(JSON.parse(await server.command('GET', store.prefix + sid))).toMatchObject({ n: 1 })
    expect(await store.get(sid)).toMatchObject({ n: 1 })
    expect(await store.length()).toBe(1)
  })

  test('saves with 128 MiB of texts are too much as well', async () => {
    const { server, store } = await stoppable({ commandTimeoutMs: 30_000 })
    const session = { cookie: {}, text: 'x'.repeat(2_000_000) }
    const fitting = Math.ceil(MOST_UNITS / (newId().length + JSON.stringify(session).length))
    await server.pause()
    const saves = Array.from({ length: 100 }, () => store.set(newId(), session))
    expect(store.stats().inFlight).toBe(fitting)
    server.resume()
    expect(await ends(saves)).toEqual({ done: fitting, ERR_STORE_BUSY: 100 - fitting })
    expect(await store.length()).toBe(fitting)
    await store.set(newId(), session)
  })

  test('300,000 renewals of sessions that nothing is known of: all are answered at once', async () => {
    const { server, store } = await stoppable({ cache: false, commandTimeoutMs: 20_000 })
    const sid = newId()
    await store.set(sid, sessionWith({}, 60_000))
    await server.pause()
    const session = sessionWith({}, 60_000)
    let answers = 0
    for (let n = 0; n < 300_000; n++) store.touch(`unknown ${n}`, session, (error) => (answers += !error))
    expect(answers).toBe(300_000)
    expect(store.stats().servedFromMemory).toBe(200_000)
    server.resume()
    // One that comes too early is among what is too much.
    await until(async () => {
      await store.touch(sid, sessionWith({}, 3_600_000))
      return (await server.command('PTTL', store.prefix + sid)) > 60_000
    })
  })
})
