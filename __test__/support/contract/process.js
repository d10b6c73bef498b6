// P7 and P9 for the process: it ends when it wants to, with its own code, and with its answers; workers and clusters too.
const { freePort } = require('../port')
const { runScript } = require('../script')
const { useStores } = require('../stores')

module.exports = () => {
  const stores = useStores()

  test.each([
    ['that serves from Redis', true, 'await store.ready(); await store.set("some id", { cookie: {} })'],
    ['that serves from memory', false, 'await store.ready(); await store.set("some id", { cookie: {} })'],
    ['that was only made, with a Redis', true, ''],
    ['that was only made, without one', false, ''],
    ['with listeners', true, 'for (const e of ["ready", "error", "close"]) store.on(e, () => {}); await store.ready()'],
    ['after a listing', true, 'await store.set("some id", { cookie: {} }); await store.ids(); await store.all()'],
    ['after a listing that was left in the middle', true, 'for await (const id of store.ids()) break']
  ])('P7 an idle store %s does not keep a program alive', async (_, up, use) => {
    const program = `async (port) => {
      const { RedisStore } = require('./index.js')
      const store = new RedisStore({ host: '127.0.0.1', port, logger: false })
      ${use}
      process.stdout.write(String(performance.timeOrigin + performance.now()))
    }`
    const { code, signal, stdout, exitedAt } = await runScript(program, [up ? stores.redis.port : await freePort()])
    expect([code, signal]).toEqual([0, null])
    expect(exitedAt - Number(stdout)).toBeLessThan(1000)
  })

  test.each([
    ['get', 'const found = await store.get("some id")', 'null'],
    ['get by callback', 'const found = await new Promise((r) => store.get("some id", (e, s) => r(s)))', 'null'],
    ['set', 'const found = (await store.set("some id", { cookie: {} })) ?? 7', '7'],
    ['ready', 'const found = await store.ready()', null],
    ['length', 'const found = typeof (await store.length())', '"number"'],
    ['ids', 'const found = Array.isArray(await store.ids())', 'true'],
    ['a loop over all', 'let found = 0; for await (const one of store.all()) found += 0', '0'],
    ['close', 'const found = (await store.close()) ?? 7', '7']
  ])(
    'a program that only awaits %s gets its answer before it ends, with and without a Redis',
    async (_, use, answer) => {
      const program = `async (port) => {
      const { RedisStore } = require('./index.js')
      const store = new RedisStore({ host: '127.0.0.1', port, prefix: 'alone ' + process.pid + ':', logger: false })
      ${use}
      process.stdout.write(JSON.stringify(found))
    }`
      expect(await runScript(program, [stores.redis.port])).toMatchObject({
        code: 0,
        stdout: answer ?? '"ready"',
        stderr: ''
      })
      const without = await runScript(program, [await freePort()])
      expect(without).toMatchObject({ code: 0, stdout: answer ?? '"degraded"', stderr: '' })
    }
  )

  test('P7 process.exit with operations under way on a stalled Redis is immediate', async () => {
    const program = async () => {
      const { RedisStore } = require('./index.js')
      const { startRedis } = require('./__test__/support/redis')
      const redis = await startRedis()
      const store = new RedisStore({ host: '127.0.0.1', port: redis.port, commandTimeoutMs: 60_000, logger: false })
      await store.ready()
      await redis.pause()
      for (let n = 0; n < 2000; n++) store.set(`id ${n}`, { cookie: {}, text: 'x'.repeat(1000) }, () => {})
      setImmediate(() => {
        require('node:fs').writeSync(1, String(performance.timeOrigin + performance.now()))
        process.exit(7)
      })
    }
    const { code, signal, stdout, exitedAt } = await runScript(program)
    expect([code, signal]).toEqual([7, null])
    expect(exitedAt - Number(stdout)).toBeLessThan(500)
  })

  test('P9 process.exit at any moment of traffic ends with its own code', async () => {
    const program = async (port, exitAfter) => {
      const { RedisStore } = require('./index.js')
      const store = new RedisStore({ host: '127.0.0.1', port, logger: false })
      let answers = 0
      const again = (n) => {
        if (++answers === exitAfter) process.exit(7)
        store.set(`id ${n}`, { cookie: {}, answers }, () => store.get(`id ${n}`, () => again(n)))
      }
      for (let n = 0; n < 128; n++) again(n)
    }
    for (const exitAfter of [1, 100, 129, 1000, 5000]) {
      expect(await runScript(program, [stores.redis.port, exitAfter])).toMatchObject({
        code: 7,
        signal: null,
        stderr: ''
      })
    }
  })

  test('P9 worker threads use stores and are terminated in mid-flight, again and again', async () => {
    const program = async (port) => {
      const { isMainThread, parentPort, Worker } = require('node:worker_threads')
      const { RedisStore } = require('./index.js')
      const store = new RedisStore({ host: '127.0.0.1', port, prefix: 'workers:', logger: false })
      const beBusy = () => {
        let answers = 0
        const again = (n) => {
          if (++answers === 500) parentPort.postMessage('busy')
          store.set(`id ${n}`, { cookie: {}, answers }, () => store.get(`id ${n}`, () => again(n)))
        }
        for (let n = 0; n < 32; n++) again(n)
      }
      const busyWorker = async () => {
        const worker = new Worker(__filename)
        await new Promise((resolve) => worker.once('message', resolve))
        return worker
      }
      if (!isMainThread) return beBusy()
      await store.ready()
      for (let round = 0; round < 8; round++) {
        const workers = await Promise.all([busyWorker(), busyWorker(), busyWorker()])
        await store.set(`round ${round}`, { cookie: {}, round })
        const codes = await Promise.all(workers.map((worker) => worker.terminate()))
        if (codes.some((code) => code !== 1)) throw new Error(`workers ended with ${codes}`)
      }
      const found = await store.get('round 7')
      console.log(found.round)
    }
    const { code, signal, stdout, stderr } = await runScript(program, [stores.redis.port], { timeoutMs: 50_000 })
    expect([code, signal, stdout, stderr]).toEqual([0, null, '7\n', ''])
  })

  test('worker threads with an idle store end by themselves, having had their answers', async () => {
    const program = async (port) => {
      const { isMainThread, parentPort, Worker } = require('node:worker_threads')
      const { RedisStore } = require('./index.js')
      if (!isMainThread) {
        const store = new RedisStore({ host: '127.0.0.1', port, prefix: 'workers:', logger: false })
        await store.set('some id', { cookie: {}, n: 1 })
        parentPort.postMessage((await store.get('some id')).n)
        return
      }
      const once = (worker, event) => new Promise((resolve) => worker.once(event, resolve))
      const workers = Array.from({ length: 4 }, () => new Worker(__filename))
      const answers = workers.map((worker) => once(worker, 'message'))
      const codes = await Promise.all(workers.map((worker) => once(worker, 'exit')))
      console.log(JSON.stringify([await Promise.all(answers), codes]))
    }
    const { code, stdout } = await runScript(program, [stores.redis.port])
    expect([code, JSON.parse(stdout)]).toEqual([
      0,
      [
        [1, 1, 1, 1],
        [0, 0, 0, 0]
      ]
    ])
  })

  test('node:cluster: workers share the sessions, one may be killed, the others end when they are told', async () => {
    const program = async (port) => {
      const cluster = require('node:cluster')
      const { RedisStore } = require('./index.js')
      const { startApp, Agent } = require('./__test__/support/app')
      const { until } = require('./__test__/support/until')
      if (cluster.isWorker) {
        // Each request may go to the other worker, and has to count on what the one before left.
        const store = new RedisStore({ host: '127.0.0.1', port, prefix: 'cluster:', cache: false, logger: false })
        const routes = (app) =>
          app.post('/count', (req, res) => {
            req.session.count = (req.session.count ?? 0) + 1
            res.json({ pid: process.pid, count: req.session.count })
          })
        const app = await startApp({ store, routes })
        process.send({ port: app.port })
        return
      }
      cluster.setupPrimary({ exec: __filename })
      const forks = [cluster.fork(), cluster.fork()]
      const ports = await Promise.all(forks.map((fork) => new Promise((resolve) => fork.once('message', resolve))))
      const agent = new Agent(ports[0].port, { keepAlive: false })
      const pids = new Set()
      let last
      const count = async () => {
        last = (await agent.post('/count')).body
        pids.add(last.pid)
      }
      for (let n = 0; n < 20; n++) await count()
      const workersSeen = pids.size
      forks[0].process.kill('SIGKILL')
      await until(() => forks[0].isDead())
      await count()
      const killedAt = last.count
      await new Promise((resolve) => cluster.disconnect(resolve))
      await until(() => forks[1].isDead())
      console.log(JSON.stringify({ workersSeen, killedAt, code: forks[1].process.exitCode }))
    }
    const { code, stdout, stderr } = await runScript(program, [stores.redis.port])
    expect(stderr).toBe('')
    expect([code, JSON.parse(stdout)]).toEqual([0, { workersSeen: 2, killedAt: 21, code: 0 }])
  })
}
