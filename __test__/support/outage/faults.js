// What can happen to a Redis: how it begins, how it ends, what the log says of it, and what is left of the data.
const { setTimeout: pause } = require('node:timers/promises')

const NOWHERE = ['127.0.0.1', 1]

/**
 * - `server`: options of `startRedis`; `persistence` keeps what was acknowledged over a kill
 * - `strike`, `heal`: get `{ server, proxy }`; between them everything goes on, at least until `lasts` resolves
 * - `says`: what a warning or an error in the log must say
 */
const FAULTS = {
  'killed and restarted empty': {
    strike: ({ server }) => server.kill(),
    heal: ({ server }) => server.restart({ empty: true }),
    says: /Redis unavailable, falling back to memory session store/
  },
  'killed and restarted with its data': {
    server: { persistence: true },
    strike: ({ server }) => server.kill(),
    heal: ({ server }) => server.restart({ empty: false }),
    says: /Redis unavailable, falling back to memory session store/
  },
  'stopped for 5 seconds': {
    strike: ({ server }) => server.pause(),
    lasts: () => pause(5000),
    heal: ({ server }) => server.resume(),
    says: /Redis unavailable, falling back to memory session store/
  },
  'killed and restarted every 500 ms': {
    server: { persistence: true },
    strike: ({ server }) => server.kill(),
    async lasts({ server }) {
      for (let n = 0; n < 4; n++) {
        await pause(500)
        await server.restart({ empty: false })
        await pause(500)
        await server.kill()
      }
    },
    heal: ({ server }) => server.restart({ empty: false }),
    says: /Redis unavailable, falling back to memory session store/
  },
  'cut off every 500 ms': {
    strike: ({ proxy }) => cutOff(proxy),
    async lasts({ proxy }) {
      for (let n = 0; n < 4; n++) {
        await pause(500)
        await proxy.accept()
        await pause(500)
        cutOff(proxy)
      }
    },
    heal: ({ proxy }) => proxy.accept(),
    says: /Redis unavailable, falling back to memory session store/
  },
  'behind a network that loses what it answers': {
    strike: ({ proxy }) => proxy.swallow('toClient'),
    heal: ({ proxy }) => proxy.swallow(false),
    says: /Redis unavailable, falling back to memory session store/
  },
  'behind a network that loses what it is asked': {
    strike: ({ proxy }) => proxy.swallow('toServer'),
    heal: ({ proxy }) => proxy.swallow(false),
    says: /Redis unavailable, falling back to memory session store/
  },
  'out of memory': {
    server: { args: ['--maxmemory-policy', 'noeviction'] },
    strike: ({ server }) => server.command('CONFIG', 'SET', 'maxmemory', 1),
    heal: ({ server }) => server.command('CONFIG', 'SET', 'maxmemory', 0),
    says: /OOM|out of memory|maxmemory/
  },
  'turned read-only': {
    strike: ({ server }) => server.command('REPLICAOF', ...NOWHERE),
    heal: ({ server }) => server.command('REPLICAOF', 'NO', 'ONE'),
    says: /READONLY|read.only/i
  },
  'absent at the start': {
    isAbsent: true,
    strike() {},
    heal: ({ server }) => server.start(),
    says: /Redis unavailable, falling back to memory session store/
  },
  'given another password': {
    server: { password: 'the first one' },
    async strike({ server }) {
      await server.command('CONFIG', 'SET', 'requirepass', 'the second one')
      await server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    },
    heal: ({ server }) => server.command('CONFIG', 'SET', 'requirepass', 'the first one'),
    says: /WRONGPASS|password/
  }
}

function cutOff(proxy) {
  proxy.refuse()
  proxy.cut()
}

module.exports = { FAULTS }
