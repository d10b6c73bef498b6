// One API with one kind of session, in a process of its own: `startApp` starts it, and this file is what it runs.

import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import express from 'express'
import session from 'express-session'
import { argumentsOf, serve, startChild } from './child.mjs'
import { connect, data, NONE } from './subjects.mjs'

/** For a subject of `subjects.mjs` and the address of a Redis. */
export async function startApp(name, { url }) {
  const env = { ...process.env, NODE_ENV: 'production' }
  const { ready, ask, close } = await startChild(import.meta.filename, [name, url], { env })
  return {
    name,
    origin: `http://127.0.0.1:${ready}`,
    close,
    /** Runs `work`, and tells how busy the app's event loop and its process were meanwhile, in milliseconds. */
    async observe(work) {
      await ask('begin')
      const result = await work()
      return { ...result, ...(await ask('end')) }
    }
  }
}

const own = argumentsOf(import.meta.filename)
if (own) {
  const server = (await createApp(...own)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  let loop
  let processor
  serve(server.address().port, {
    begin() {
      loop = performance.eventLoopUtilization()
      processor = process.cpuUsage()
      return true
    },
    end() {
      const { user, system } = process.cpuUsage(processor)
      return { loopMs: performance.eventLoopUtilization(loop).active, processorMs: (user + system) / 1000 }
    }
  })
}

async function createApp(name, url) {
  const app = express()
  app.use(await sessionsOf(name, url))
  app.get('/login', (req, res) => {
    Object.assign(req.session, data)
    res.json({ user: req.session.passport.user })
  })
  app.get('/unmodified', (req, res) => res.json({ user: req.session.passport.user }))
  app.get('/modified', (req, res) => {
    req.session.visits = (req.session.visits ?? 0) + 1
    res.json({ user: req.session.passport.user })
  })
  return app
}

async function sessionsOf(name, url) {
  if (name === NONE) {
    return (req, _res, next) => {
      req.session = { ...data }
      next()
    }
  }
  const { store } = await connect(name, { url })
  const cookie = { maxAge: 86_400_000 }
  return session({ store, secret: 'of the benchmark', resave: false, saveUninitialized: false, cookie })
}
