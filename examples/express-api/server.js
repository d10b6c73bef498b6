'use strict'

// Starts the API, and ends it without losing a request.

const { randomBytes } = require('node:crypto')
const { once } = require('node:events')
const http = require('node:http')
const { meetablSession } = require('meetabl-session')
const { createApp } = require('./app')

const SHUTDOWN_MS = 10_000

async function main(env) {
  const port = readPort(env)
  // Everything else about sessions comes from the environment.
  const sessions = meetablSession({ secret: developmentSecret(env) })
  const server = http.createServer(createApp({ sessions, env }))
  endGracefully(server, sessions)
  server.listen(port)
  await once(server, 'listening')

  const state = await sessions.store.ready()
  console.log(`Open http://localhost:${server.address().port}`)
  console.log(`Sessions are kept in ${state === 'ready' ? 'Redis' : 'the memory of this process'}`)
}

function endGracefully(server, sessions) {
  let inFlight = 0
  let stopping = false

  server.prependListener('request', (_req, res) => {
    inFlight += 1
    if (stopping) res.setHeader('Connection', 'close')
    res.once('close', () => {
      inFlight -= 1
      if (stopping) closeUnused()
    })
  })

  // Waiting for the connections to go is not enough: browsers open spare ones, say nothing on them, and Node counts
  // those as busy.
  const closeUnused = () => inFlight === 0 && server.closeAllConnections()

  const stop = async (signal) => {
    // npm passes Ctrl-C on to a process that the terminal has already told: the second one is no reason to hurry.
    if (stopping) return
    stopping = true
    // Also what keeps the process alive until the store has closed: the store itself never does.
    const deadline = setTimeout(() => process.exit(1), SHUTDOWN_MS)

    const closed = new Promise((resolve) => server.close(resolve))
    server.closeIdleConnections()
    closeUnused()
    console.log(`${signal}: finishing the requests under way, taking no new ones`)
    await closed
    // Only now: the last requests still had sessions to save.
    await sessions.close()
    clearTimeout(deadline)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}

/** Undefined, and so SESSION_SECRET itself, wherever there is one or has to be one. */
function developmentSecret(env) {
  if (env.SESSION_SECRET || env.NODE_ENV === 'production') return undefined
  console.warn('SESSION_SECRET is not set: using a random one, so everyone is logged out when this process ends')
  return randomBytes(32)
}

function readPort(env) {
  const port = Number(env.PORT || 3000)
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port
  throw new Error(`PORT is '${env.PORT}': it must be a whole number from 0 (any free port) to 65535`)
}

main(process.env).catch((error) => {
  // The message alone: it says what to change.
  console.error(error.message)
  process.exitCode = 1
})
