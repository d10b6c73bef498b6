// The faults of a run. Each takes place, waits until it is over, and mends what it broke. `during(ms)` waits, or less
// long when the run ends.

/** What befalls Redis, and so every process. `loses`: its data is gone then. */
const OF_REDIS = {
  'SIGSTOP of Redis': async ({ redis, during, random }) => {
    await redis.pause()
    await during(random.between(200, 2500))
    redis.resume()
  },
  'SIGKILL and restart of Redis': async ({ redis, during, random }) => {
    await redis.kill()
    await during(random.between(100, 1500))
    await redis.restart()
  },
  'CLIENT KILL': ({ redis }) => redis.command('CLIENT', 'KILL', 'TYPE', 'normal'),
  'CLIENT PAUSE': async ({ redis, during, random }) => {
    const ms = random.whole(100, 1500)
    await redis.command('CLIENT', 'PAUSE', ms, random.pick(['ALL', 'WRITE']))
    await during(ms)
    await redis.command('CLIENT', 'UNPAUSE')
  },
  FLUSHALL: ({ redis, random }) => redis.command('FLUSHALL', random.pick(['SYNC', 'ASYNC'])),
  'SCRIPT FLUSH': ({ redis }) => redis.command('SCRIPT', 'FLUSH')
}

/** What befalls one process, or its way to Redis. */
const OF_PROCESS = {
  'slow network': async ({ proxy, during, random }) => {
    proxy.delay(random.whole(1, 400))
    await during(random.between(500, 3000))
    proxy.delay(0)
  },
  'connections reset': ({ proxy }) => proxy.cut(),
  'commands lost': async ({ proxy, during, random }) => {
    proxy.swallow('toServer')
    await during(random.between(200, 2500))
    // What was lost of a command is lost, so the rest would make no sense.
    proxy.cut()
    proxy.swallow(false)
  },
  'replies lost': async ({ proxy, during, random }) => {
    proxy.swallow('toClient')
    await during(random.between(200, 2500))
    proxy.cut()
    proxy.swallow(false)
  },
  'replies late': async ({ proxy, during, random }) => {
    proxy.hold()
    await during(random.between(50, 1500))
    proxy.release()
  },
  'half-open connections': ({ proxy }) => proxy.halfOpen(),
  partition: async ({ proxy, during, random }) => {
    proxy.refuse()
    proxy.cut()
    await during(random.between(200, 3000))
    await proxy.accept()
  },
  'SIGSTOP of the process': async ({ worker, during, random }) => {
    worker.kill('SIGSTOP')
    await during(random.between(200, 2500))
    worker.kill('SIGCONT')
  },
  'blocked event loop': async ({ worker, during, random }) => {
    const ms = random.whole(100, 2000)
    if (worker.connected) worker.send({ blockMs: ms })
    await during(ms)
  }
}

module.exports = { OF_REDIS, OF_PROCESS }
