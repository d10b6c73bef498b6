// What `meetablSession()` costs a request that changes nothing, beside the same express-session and RedisStore alone: the
// server's event-loop time for each request. `npm run bench:security`; COUNT and ROUNDS change its size.
//
// Each subject has a server process of its own (this file with arguments), as in production: six applications in one would
// share what V8 has learnt of the code. That differs a little from process to process, so they are started anew some times.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import support from '../__test__/support/redis.js'
import { interleave, median } from './measure.mjs'

const SECRET = 'the secret of the benchmark, long enough'
const IN_FLIGHT = 16
const USER_AGENT =
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36'

const LAUNCHES = 3
const WARM_UP = 2000

const BASE = 'express-session'
const SUBJECTS = [
  BASE,
  '+ userAgentGuard',
  '+ csrfProtection',
  '+ both',
  'meetablSession(): guard, CSRF, signing',
  'meetablSession(): all'
]

if (process.argv[2] === 'serve') await serve(Number(process.argv[3]), process.argv[4])
else await measure()

async function serve(redisPort, name) {
  const { default: express } = await import('express')
  const { default: session } = await import('express-session')
  const { csrfProtection, csrfTokenRoute, meetablSession, RedisStore, userAgentGuard } = await import('meetabl-session')

  const redis = { port: redisPort }
  const store = () => new RedisStore({ ...redis, logger: false })
  const plain = () =>
    session({ store: store(), secret: SECRET, resave: false, saveUninitialized: false, cookie: { maxAge: 86_400_000 } })
  const quiet = { logger: false }
  const subjects = {
    [BASE]: () => [plain()],
    '+ userAgentGuard': () => [plain(), userAgentGuard(quiet)],
    '+ csrfProtection': () => [plain(), csrfProtection({ ...quiet, secret: SECRET })],
    '+ both': () => [plain(), userAgentGuard(quiet), csrfProtection({ ...quiet, secret: SECRET })],
    'meetablSession(): guard, CSRF, signing': () => [
      meetablSession({ ...quiet, redis: { ...redis, logger: false }, secret: SECRET, timeouts: false, helpers: false })
    ],
    'meetablSession(): all': () => [meetablSession({ ...quiet, redis: { ...redis, logger: false }, secret: SECRET })]
  }
  const app = express()
  for (const handler of subjects[name]()) app.use(handler)
  app.get(
    '/token',
    name.includes('csrf') || name.includes('both') || name.includes('meetabl')
      ? csrfTokenRoute()
      : (req, res) => {
          req.session.csrf = true
          res.json({})
        }
  )
  app.all('/', (req, res) => res.json({ known: req.session.csrf === true }))
  const server = http.createServer(app).listen(0, '127.0.0.1')
  // Connections wait while the others have their round.
  server.keepAliveTimeout = 600_000
  await once(server, 'listening')

  let before
  process.on('message', (message) => {
    // Each round pays for its own garbage, and for no other's.
    globalThis.gc()
    if (message === 'begin') before = loopMicros()
    process.send(message === 'begin' ? 'begun' : loopMicros() - before)
  })
  process.send(server.address().port)
}

/**
 * What the event loop's thread has computed so far. On Linux its time on a processor, which other programs do not change;
 * elsewhere the time that the loop was not idle.
 */
function loopMicros() {
  const file = `/proc/self/task/${process.pid}/schedstat`
  if (existsSync(file)) return Number(readFileSync(file, 'utf8').split(' ')[0]) / 1000
  return performance.eventLoopUtilization().active * 1000
}

async function measure() {
  const count = Number(process.env.COUNT ?? 1000)
  const rounds = Number(process.env.ROUNDS ?? 31)
  const redis = await support.startRedis()
  const results = { GET: new Map(), POST: new Map() }
  for (let launch = 0; launch < LAUNCHES; launch++) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: IN_FLIGHT })
    const subjects = []
    for (const name of SUBJECTS) subjects.push(await startServer(name, redis.port, agent))
    for (const method of ['GET', 'POST']) {
      const part = await interleave(subjects, Math.ceil(rounds / LAUNCHES), (subject) =>
        loopMicrosOf(subject, { count, method, agent })
      )
      for (const [name, list] of part) results[method].set(name, [...(results[method].get(name) ?? []), ...list])
    }
    agent.destroy()
    for (const { server } of subjects) server.kill()
  }
  await redis.stop()
  report(results, { count, rounds })
}

function report(results, { count, rounds }) {
  console.log(`Node ${process.version}, ${os.cpus().length} cores (${os.cpus()[0].model}), Redis on the same machine.`)
  console.log(`${rounds} rounds of ${count} requests, ${IN_FLIGHT} in flight, medians.\n`)
  console.log('| request | with | event loop, µs/request | share of the request |')
  console.log('|---|---|---:|---:|')
  for (const [method, lists] of Object.entries(results)) {
    for (const [name, list] of lists) {
      // The share that comes on top, of all that the request takes then.
      const shares = list.map((micros, round) => 1 - lists.get(BASE)[round] / micros)
      console.log(`| ${method} | ${name} | ${median(list).toFixed(1)} | ${(median(shares) * 100).toFixed(1)} % |`)
    }
  }
}

async function startServer(name, redisPort, agent) {
  const server = fork(fileURLToPath(import.meta.url), ['serve', redisPort, name], { execArgv: ['--expose-gc'] })
  const [port] = await once(server, 'message')
  const headers = await visit(port, agent)
  // Until V8 has compiled what is called often.
  for (const method of ['GET', 'POST']) await load({ count: WARM_UP, port, method, headers, agent })
  return { name, server, port, headers }
}

async function loopMicrosOf({ server, port, headers }, { count, method, agent }) {
  server.send('begin')
  await once(server, 'message')
  await load({ count, port, method, headers: headersOf(method, headers), agent })
  server.send('end')
  const [micros] = await once(server, 'message')
  return micros / count
}

/** Makes a session, and gives the headers of a browser that has it, and a token. */
async function visit(port, agent) {
  const { cookie, body } = await send({
    port,
    method: 'GET',
    path: '/token',
    headers: { 'user-agent': USER_AGENT },
    agent
  })
  const { csrfToken } = JSON.parse(body)
  const host = `127.0.0.1:${port}`
  return {
    'user-agent': USER_AGENT,
    cookie,
    'sec-fetch-site': 'same-origin',
    origin: `http://${host}`,
    ...(csrfToken && { 'x-csrf-token': csrfToken })
  }
}

// Pages send their token where it is asked for.
function headersOf(method, { 'x-csrf-token': token, ...headers }) {
  return method === 'POST' && token ? { ...headers, 'x-csrf-token': token } : headers
}

function load({ count, ...request }) {
  let started = 0
  const one = async () => {
    while (started < count) {
      started++
      const { body } = await send({ path: '/', ...request })
      if (body !== '{"known":true}') throw new Error(`the session was not there: ${body}`)
    }
  }
  return Promise.all(Array.from({ length: IN_FLIGHT }, one))
}

function send({ port, method, path, headers, agent }) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port, method, path, headers, agent }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk) => (body += chunk))
      response.on('end', () => resolve({ body, cookie: response.headers['set-cookie']?.[0].split(';')[0] }))
    })
    request.on('error', reject)
    request.end()
  })
}
