// A flood of requests that nobody is logged in to, straight at the middleware: what each leaves behind is nothing.
const { EventEmitter } = require('node:events')
const http = require('node:http')
const express = require('express')
const { sign } = require('..')
const { laterForAll } = require('./support/later')
const { rememberingLogger } = require('./support/logger')
const { startRedis } = require('./support/redis')
const { runScript } = require('./support/script')
const { listenTo, NAME, startSecured } = require('./support/secured')

const REQUESTS = 100_000
const FIREFOX = 'Mozilla/5.0 Firefox/128.0'

jest.setTimeout(120_000)

const later = laterForAll()
let redis
let shop
let logger
let commands
beforeAll(async () => {
  redis = await startRedis()
  later(() => redis.stop())
  logger = rememberingLogger()
  shop = await startSecured({ redis, options: { logger, csrf: {} } })
  later(() => shop.close())
  commands = await listenTo(redis)
  later(() => commands.stop())
})

/** A request as Express hands it to a middleware, without a socket's cost. Resolves with the response. */
function pass(middleware, app, headers) {
  const socket = Object.assign(new EventEmitter(), { remoteAddress: '127.0.0.1', encrypted: false })
  const req = Object.assign(new http.IncomingMessage(socket), { method: 'GET', url: '/', headers, app })
  const res = new http.ServerResponse(req)
  Object.setPrototypeOf(req, app.request)
  return new Promise((resolve, reject) => {
    middleware(req, res, (error) => {
      if (error) return reject(error)
      res.end('seen')
      resolve(res)
    })
  })
}

const floods = {
  'cookieless requests': () => ({ 'user-agent': FIREFOX }),
  'requests with a forged cookie': (n) => {
    const signed = sign(`a-forged-session-${n}`, 'a secret that nobody here has ever heard of')
    return { 'user-agent': FIREFOX, cookie: `${NAME}=${encodeURIComponent(`s:${signed}`)}` }
  }
}

describe.each(Object.entries(floods))('A5 7.6.2 100,000 %s', (_, headersOf) => {
  test('make no key, read nothing, and log no more than a burst', async () => {
    const app = express()
    const { gets } = shop.store.stats()
    await commands.about('')
    const start = performance.now()
    let cookies = 0
    for (let n = 0; n < REQUESTS; n++) {
      const res = await pass(shop.sessions, app, headersOf(n))
      if (res.hasHeader('Set-Cookie')) cookies++
    }
    const seconds = (performance.now() - start) / 1000
    expect(cookies).toBe(0)
    expect(await commands.about('meetabl:sess:')).toEqual([])
    expect(await redis.command('KEYS', 'meetabl:sess:*')).toEqual([])
    expect(shop.store.stats()).toMatchObject({ gets, sets: 0, touches: 0, entries: 0 })
    const allowed = 101 + seconds * 10
    expect(shop.events.length).toBeLessThanOrEqual(allowed)
    expect(logger.lines.filter(({ message }) => message.startsWith('security: ')).length).toBeLessThanOrEqual(allowed)
  })
})

test('memory stays flat', async () => {
  const program = async (port, requests) => {
    const { EventEmitter } = require('node:events')
    const http = require('node:http')
    const express = require('express')
    const { meetablSession, sign } = require('./index.js')
    const secret = 'the secret of the load test, long enough'
    const sessions = meetablSession({ secret, redis: { port }, logger: false })
    await sessions.store.ready()
    const app = express()
    const pass = (headers) =>
      new Promise((resolve, reject) => {
        const socket = Object.assign(new EventEmitter(), { remoteAddress: '127.0.0.1' })
        const req = Object.assign(new http.IncomingMessage(socket), { method: 'GET', url: '/', headers, app })
        Object.setPrototypeOf(req, app.request)
        const res = new http.ServerResponse(req)
        sessions(req, res, (error) => {
          if (error) return reject(error)
          res.end('seen')
          resolve()
        })
      })
    const flood = async (count) => {
      for (let n = 0; n < count; n++) {
        await pass({})
        await pass({ cookie: `meetabl.sid=s:${sign(`a-forged-session-${n}`, 'another secret')}` })
      }
      global.gc()
      await new Promise(setImmediate)
      global.gc()
      return process.memoryUsage()
    }
    const warm = await flood(requests / 10)
    const after = await flood(requests)
    await sessions.close()
    console.log(JSON.stringify({ heap: after.heapUsed - warm.heapUsed, rss: after.rss - warm.rss }))
  }
  const options = { nodeArgs: ['--expose-gc'], timeoutMs: 100_000 }
  const { code, stdout, stderr } = await runScript(program, [redis.port, REQUESTS], options)
  expect([code, stderr]).toEqual([0, ''])
  const { heap, rss } = JSON.parse(stdout)
  // Ten bytes a request would be two megabytes.
  expect(heap).toBeLessThan(2_000_000)
  expect(rss).toBeLessThan(64_000_000)
})
