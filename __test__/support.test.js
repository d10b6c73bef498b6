// The support proves itself here, against a plain Redis client: a fault that is not real would make other tests pass
// for nothing.
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const tls = require('node:tls')
const { createClient } = require('redis')
const session = require('express-session')
const { startApp } = require('./support/app')
const { laterForEach } = require('./support/later')
const { freePort } = require('./support/port')
const { startProxy } = require('./support/proxy')
const { startRedis } = require('./support/redis')
const { runScript } = require('./support/script')
const { until, within } = require('./support/until')

jest.setTimeout(30_000)

const later = laterForEach()

async function redisFor(options) {
  const redis = await startRedis(options)
  later(() => redis.stop())
  return redis
}

async function proxyFor(redis) {
  const proxy = await startProxy(redis.port)
  later(() => proxy.stop())
  return proxy
}

/** A client that never reconnects and never queues, so that every fault shows. */
async function plainClient(port) {
  const client = createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: false } })
  client.on('error', () => {})
  await client.connect()
  later(() => client.isOpen && client.destroy())
  return client
}

/** `undefined` while pending, then `'resolved'` or `'rejected'`. */
function watch(promise) {
  const watched = { state: undefined }
  promise.then(
    () => (watched.state = 'resolved'),
    () => (watched.state = 'rejected')
  )
  return watched
}

const isAlive = (pid) => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describe('startRedis', () => {
  test('two servers at once are strangers', async () => {
    const [one, two] = await Promise.all([redisFor(), redisFor()])
    await one.command('SET', 'key', 'one')
    expect(one.port).not.toBe(two.port)
    expect(await two.command('GET', 'key')).toBeNull()
  })

  test('a password is asked for', async () => {
    const redis = await redisFor({ password: 'p@ss/word' })
    expect(await redis.command('PING')).toBe('PONG')
    const stranger = await plainClient(redis.port).catch((error) => error)
    expect(String(await stranger.ping?.().catch((error) => error))).toMatch(/NOAUTH/)
    const guest = createClient({ url: redis.url })
    await guest.connect()
    later(() => guest.destroy())
    expect(await guest.ping()).toBe('PONG')
  })

  test('a unix socket and TLS with its own authority are served', async () => {
    const redis = await redisFor({ unixSocket: true, tls: true })
    expect(await redis.command('PING')).toBe('PONG')
    const client = createClient({ socket: { path: redis.socketPath } })
    await client.connect()
    later(() => client.destroy())
    expect(await client.ping()).toBe('PONG')
    await expect(plainClient(redis.port)).rejects.toThrow()
    const untrusting = createClient({ socket: { port: redis.port, tls: true, reconnectStrategy: false } })
    untrusting.on('error', () => {})
    await expect(untrusting.connect()).rejects.toThrow(/self-signed|unable to verify/)
  })

  test('mutual TLS refuses a client without a certificate', async () => {
    const redis = await redisFor({ tls: 'mutual' })
    expect(await redis.command('PING')).toBe('PONG')
    const anonymous = tls.connect({ host: redis.host, port: redis.port, ca: redis.tls.ca })
    let answer = ''
    anonymous.on('data', (chunk) => {
      answer += chunk
    })
    anonymous.on('error', () => {})
    anonymous.write('PING\r\n')
    await new Promise((resolve) => anonymous.once('close', resolve))
    expect(answer).toBe('')
  })

  test('killed: connections break and new ones are refused', async () => {
    const redis = await redisFor()
    const client = await plainClient(redis.port)
    const { pid } = redis
    await redis.kill()
    expect(isAlive(pid)).toBe(false)
    await expect(client.ping()).rejects.toThrow()
    await expect(plainClient(redis.port)).rejects.toThrow(/ECONNREFUSED/)
  })

  test('paused: connections stay open and nothing answers, resumed: everything does', async () => {
    const redis = await redisFor()
    const client = await plainClient(redis.port)
    await redis.pause()
    const answer = client.ping()
    const watched = watch(answer)
    await expect(within(300, answer)).rejects.toThrow(/longer than 300 ms/)
    expect(client.isOpen).toBe(true)
    redis.resume()
    await within(2000, answer)
    expect(watched.state).toBe('resolved')
  })

  test('restarted with its data after a kill, or empty, on the same port', async () => {
    const redis = await redisFor({ persistence: true })
    await redis.command('SET', 'key', 'kept')
    await redis.kill()
    await redis.restart({ empty: false })
    expect(await redis.command('GET', 'key')).toBe('kept')
    await redis.restart({ empty: true })
    expect(await redis.command('GET', 'key')).toBeNull()
  })

  test('without persistence, a restart with data is refused rather than pretended', async () => {
    const redis = await redisFor()
    await expect(redis.restart({ empty: false })).rejects.toThrow(/persistence/)
    await redis.command('SET', 'key', 'lost')
    await redis.restart()
    expect(await redis.command('GET', 'key')).toBeNull()
  })

  test('stop removes the process and its directory, twice is fine', async () => {
    const redis = await redisFor({ unixSocket: true })
    const { pid, socketPath } = redis
    await redis.pause()
    await redis.stop()
    await redis.stop()
    expect(isAlive(pid)).toBe(false)
    expect(fs.existsSync(socketPath)).toBe(false)
  })

  test.each(['process.exit(3)', "process.kill(process.pid, 'SIGKILL')", "throw new Error('x')"])(
    'a test process that ends by %s leaves no server behind',
    async (ending) => {
      const program = `async () => {
        const { startRedis } = require('./__test__/support/redis')
        const redis = await startRedis({ unixSocket: true })
        await redis.pause()
        process.stdout.write(JSON.stringify([redis.pid, redis.socketPath]), () => { ${ending} })
      }`
      const { stdout } = await runScript(program)
      const [pid, socketPath] = JSON.parse(stdout)
      await until(() => !isAlive(pid) && !fs.existsSync(socketPath), { what: 'the watchdog to clean up' })
    }
  )
})

describe('startProxy', () => {
  test('passes everything on, and counts', async () => {
    const redis = await redisFor()
    const proxy = await proxyFor(redis)
    const client = await plainClient(proxy.port)
    const big = 'x'.repeat(3_000_000)
    await client.set('key', big)
    expect(await client.get('key')).toBe(big)
    expect(proxy.connections).toBe(1)
    client.destroy()
    await until(() => proxy.connections === 0)
  })

  test('delays each direction, in order', async () => {
    const redis = await redisFor()
    const proxy = await proxyFor(redis)
    const client = await plainClient(proxy.port)
    proxy.delay(50)
    const startedAt = performance.now()
    const order = []
    await Promise.all(['a', 'b', 'c'].map((text) => client.echo(text).then((reply) => order.push(reply))))
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(99)
    expect(order).toEqual(['a', 'b', 'c'])
  })

  test('holds replies until they are released, while the server executes the commands', async () => {
    const redis = await redisFor()
    const proxy = await proxyFor(redis)
    const client = await plainClient(proxy.port)
    proxy.hold()
    const watched = watch(client.set('key', 'value'))
    await until(async () => (await redis.command('GET', 'key')) === 'value')
    expect(watched.state).toBeUndefined()
    proxy.release()
    await until(() => watched.state === 'resolved')
  })

  test('holds one chosen reply and what follows it on that connection, and says when it has it', async () => {
    const redis = await redisFor()
    const proxy = await proxyFor(redis)
    const [one, two] = [await plainClient(proxy.port), await plainClient(proxy.port)]
    const held = proxy.holdNext((chunk) => chunk.includes('wanted'))
    expect(await one.echo('other')).toBe('other')
    const [first, second] = [watch(one.echo('wanted')), watch(one.echo('after'))]
    expect(String(await held)).toContain('wanted')
    expect(await two.echo('wanted')).toBe('wanted')
    expect([first.state, second.state]).toEqual([undefined, undefined])
    proxy.release()
    await until(() => first.state === 'resolved' && second.state === 'resolved')
  })

  test('cuts a chunk of commands before its last, and shows the replies that it holds', async () => {
    const redis = await redisFor()
    const proxy = await proxyFor(redis)
    const client = await plainClient(proxy.port)
    const split = proxy.splitNext((chunk) => chunk.includes('second'))
    const [first, second] = [watch(client.echo('first')), watch(client.echo('second'))]
    await split
    await until(() => first.state === 'resolved')
    expect(second.state).toBeUndefined()
    proxy.release()
    await until(() => second.state === 'resolved')
    proxy.hold()
    const third = watch(client.echo('third'))
    await until(() => proxy.held.includes('third'))
    expect(third.state).toBeUndefined()
  })

  test('cuts every connection and takes new ones', async () => {
    const redis = await redisFor()
    const proxy = await proxyFor(redis)
    const client = await plainClient(proxy.port)
    proxy.cut()
    await expect(client.ping()).rejects.toThrow()
    expect(await (await plainClient(proxy.port)).ping()).toBe('PONG')
  })

  test('refuses new connections on the same port, then accepts them again', async () => {
    const redis = await redisFor()
    const proxy = await proxyFor(redis)
    const client = await plainClient(proxy.port)
    const { port } = proxy
    proxy.refuse()
    await expect(plainClient(port)).rejects.toThrow(/ECONNREFUSED/)
    expect(await client.ping()).toBe('PONG')
    await proxy.accept()
    expect(await (await plainClient(port)).ping()).toBe('PONG')
  })

  test('swallows what goes to the server: it is not executed', async () => {
    const redis = await redisFor()
    const proxy = await proxyFor(redis)
    const client = await plainClient(proxy.port)
    proxy.swallow('toServer')
    const watched = watch(client.set('key', 'value'))
    await expect(within(200, client.ping())).rejects.toThrow(/longer/)
    expect(watched.state).toBeUndefined()
    expect(await redis.command('GET', 'key')).toBeNull()
  })

  test('swallows what goes to the client: it is executed, and never answered', async () => {
    const redis = await redisFor()
    const proxy = await proxyFor(redis)
    const client = await plainClient(proxy.port)
    proxy.swallow('toClient')
    const watched = watch(client.set('key', 'value'))
    await until(async () => (await redis.command('GET', 'key')) === 'value')
    expect(watched.state).toBeUndefined()
    proxy.swallow(false)
    expect(await (await plainClient(proxy.port)).ping()).toBe('PONG')
  })

  test('leaves a connection half open: the server has lost it, the client has not noticed', async () => {
    const redis = await redisFor()
    const proxy = await proxyFor(redis)
    const client = await plainClient(proxy.port)
    const id = String(await client.sendCommand(['CLIENT', 'ID']))
    proxy.halfOpen()
    await until(async () => !(await redis.command('CLIENT', 'LIST')).includes(`id=${id} `))
    await expect(within(200, client.ping())).rejects.toThrow(/longer/)
    expect(client.isReady).toBe(true)
    expect(proxy.connections).toBe(1)
    expect(await (await plainClient(proxy.port)).ping()).toBe('PONG')
  })

  test('a server that dies takes the connections through the proxy with it', async () => {
    const redis = await redisFor()
    const proxy = await proxyFor(redis)
    await plainClient(proxy.port)
    await redis.kill()
    await until(() => proxy.connections === 0)
  })

  test('stop leaves nothing', async () => {
    const redis = await redisFor()
    const proxy = await proxyFor(redis)
    await plainClient(proxy.port)
    await proxy.stop()
    await until(() => proxy.connections === 0)
    await expect(plainClient(proxy.port)).rejects.toThrow(/ECONNREFUSED/)
  })
})

describe('freePort', () => {
  test('nobody listens there, and somebody may', async () => {
    const port = await freePort()
    await expect(plainClient(port)).rejects.toThrow(/ECONNREFUSED/)
    const server = net.createServer()
    await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve))
    server.close()
  })
})

describe('startApp', () => {
  const routes = (app) => {
    app.get('/count', (req, res) => {
      req.session.count = (req.session.count ?? 0) + 1
      res.json({ count: req.session.count })
    })
    app.get('/fail', () => {
      throw Object.assign(new Error('on purpose'), { code: 'E_TEST' })
    })
    app.get('/cookies', (req, res) => res.json(req.headers.cookie ?? ''))
    app.get('/set', (req, res) => res.append('Set-Cookie', req.query.line).end())
  }

  async function appFor(options) {
    const app = await startApp({ store: new session.MemoryStore(), routes, ...options })
    later(() => app.close())
    return app
  }

  test('each agent keeps its own cookie', async () => {
    const app = await appFor()
    const [one, two] = [app.agent(), app.agent()]
    await one.get('/count')
    expect((await one.get('/count')).body).toEqual({ count: 2 })
    expect((await two.get('/count')).body).toEqual({ count: 1 })
    expect((await one.clone().get('/count')).body).toEqual({ count: 3 })
    one.forget()
    expect((await one.get('/count')).body).toEqual({ count: 1 })
  })

  test('an error answers 500 and is kept', async () => {
    const app = await appFor()
    const answer = await app.agent().get('/fail')
    expect([answer.status, answer.body]).toEqual([500, { code: 'E_TEST', message: 'on purpose' }])
    expect(app.errors).toHaveLength(1)
  })

  test('an agent forgets a cookie only when name, path and domain are those it was set with', async () => {
    const app = await appFor()
    const agent = app.agent({ host: 'shop.example.test' })
    const set = (line) => agent.get(`/set?line=${encodeURIComponent(line)}`)
    const past = 'Expires=Thu, 01 Jan 1970 00:00:00 GMT'
    await set('a=1; Path=/cookies; Domain=example.test')
    expect((await agent.get('/cookies')).body).toBe('a=1')
    expect((await agent.get('/count')).status).toBe(200)
    expect(agent.cookieHeader('/other')).not.toContain('a=1')
    await set(`a=; Path=/; ${past}`)
    await set(`a=; Path=/cookies; ${past}`)
    expect(agent.cookieHeader('/cookies')).toContain('a=1')
    await set(`a=; Path=/cookies; Domain=example.test; ${past}`)
    expect(agent.cookieHeader('/cookies')).not.toContain('a=')
  })
})

describe('until and within', () => {
  test('until resolves with the answer, and tells what it waited for in vain', async () => {
    let asked = 0
    expect(await until(() => ++asked === 3 && 'yes')).toBe('yes')
    await expect(until(() => false, { ms: 30, what: 'a miracle' })).rejects.toThrow(
      'waited 30 ms in vain for a miracle'
    )
  })

  test('until keeps the last failure as the cause', async () => {
    const failing = until(
      () => {
        throw new Error('not yet')
      },
      { ms: 30 }
    )
    await expect(failing).rejects.toMatchObject({ cause: expect.objectContaining({ message: 'not yet' }) })
  })

  test('within passes results and failures on', async () => {
    expect(await within(1000, Promise.resolve(1))).toBe(1)
    await expect(within(1000, Promise.reject(new Error('own')))).rejects.toThrow('own')
  })
})

describe('runScript', () => {
  test('gives the outcome of a program with its arguments, and kills one that does not end', async () => {
    const done = await runScript((a, b) => process.stdout.write(`${a + b} ${typeof require('express')}`), [1, 2])
    expect([done.code, done.stdout]).toEqual([0, '3 function'])
    const thrown = await runScript(() => {
      throw new Error('own')
    })
    expect([thrown.code, /Error: own/.test(thrown.stderr)]).toEqual([1, true])
    const endless = await runScript(() => setInterval(() => {}, 1000), [], { timeoutMs: 300 })
    expect(endless.signal).toBe('SIGKILL')
  })

  test('a test process that is killed leaves no program behind', async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'meetabl-support-'))
    later(() => fs.rmSync(directory, { recursive: true }))
    const file = path.join(directory, 'pid')
    const program = async (file) => {
      const fs = require('node:fs')
      const { runScript } = require('./__test__/support/script')
      const { until } = require('./__test__/support/until')
      const endless = (file) => {
        require('node:fs').writeFileSync(file, String(process.pid))
        setInterval(() => {}, 1000)
      }
      runScript(endless, [file], { timeoutMs: 60_000 })
      await until(() => fs.existsSync(file) && fs.readFileSync(file).length > 0)
      process.kill(process.pid, 'SIGKILL')
    }
    expect((await runScript(program, [file])).signal).toBe('SIGKILL')
    const pid = Number(fs.readFileSync(file))
    await until(() => !isAlive(pid), { what: 'the watchdog to end it' })
  })
})
