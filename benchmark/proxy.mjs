// A TCP proxy that makes Redis farther away, in a process of its own: `startProxy` starts it, and this file is what it runs.
// Only replies wait, so that the timer's rounding counts once.

import { once } from 'node:events'
import net from 'node:net'
import { argumentsOf, serve, startChild } from './child.mjs'

const HOST = '127.0.0.1'

/** In front of the Redis on `port`; every answer comes `roundTripMs` later. */
export async function startProxy(port, roundTripMs) {
  const child = await startChild(import.meta.filename, [port, roundTripMs])
  return { url: `redis://${HOST}:${child.ready}`, close: child.close }
}

const own = argumentsOf(import.meta.filename)
if (own) {
  const [port, roundTripMs] = own.map(Number)
  const proxy = net.createServer((client) => {
    const redis = net.connect(port, HOST)
    for (const socket of [client, redis]) socket.setNoDelay(true).on('error', () => {})
    client.on('data', (chunk) => redis.write(chunk))
    // Timers of one length go off in the order in which they were set.
    redis.on('data', (chunk) => setTimeout(() => client.write(chunk), roundTripMs))
    client.once('close', () => redis.destroy())
    redis.once('close', () => client.destroy())
  })
  proxy.listen(0, HOST)
  await once(proxy, 'listening')
  serve(proxy.address().port, {})
}
