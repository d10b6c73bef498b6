// The judge itself: what it must find, and what it must leave alone. Each history is as short as it can be.

const { judge } = require('./judge')

const SID = 'a session'
let made = 0

const operation = (type, worker, [start, end], details) => ({
  ...{ type, id: `${++made}`, worker, sid: SID, start, end, by: 'redis' },
  ...details
})
const save = (worker, times, value, details) => operation('set', worker, times, { slot: worker, value, ...details })
const create = (worker, times, details) => save(worker, times, 1, { creates: true, ...details })
const read = (worker, times, found, details) => operation('get', worker, times, { found, ...details })
const destroy = (worker, times, details) => operation('destroy', worker, times, details)
const touch = (worker, times) => operation('touch', worker, times)
const stored = (times, found) => ({ type: 'stored', worker: 'Redis', sid: SID, start: times[0], end: times[1], found })
const event = (worker, name, at) => ({ type: 'event', worker, name, at })
const fault = (name, [start, end], details) => ({ type: 'fault', name, start, end, workers: ['A', 'B'], ...details })
const flush = (times) => fault('FLUSHALL', times, { loses: true, keepsConnections: true })
const killed = (times) => fault('SIGKILL', times, { loses: true })

function verdict(...history) {
  return judge(history, { maxStaleMs: 1000, recoveryMs: 5000 }).violations.map(
    ({ promise, what }) => `${promise}: ${what}`
  )
}

describe('the judge finds nothing wrong with', () => {
  test('changes that are seen in time', () => {
    const history = [
      create('A', [0, 1]),
      read('B', [2, 3], { A: 1 }),
      save('B', [4, 5], 1),
      save('A', [6, 7], 2),
      read('A', [8, 9], { A: 2, B: 1 }),
      read('B', [10, 11], { A: 1, B: 1 }),
      stored([12, 13], { A: 2, B: 1 }),
      read('B', [1006, 1007], { A: 1, B: 1 }),
      read('B', [1008, 1009], { A: 2, B: 1 }),
      destroy('A', [1010, 1011]),
      read('A', [1012, 1013], null),
      read('B', [2010, 2011], { A: 2, B: 1 }),
      read('B', [2012, 2013], null),
      stored([2014, 2015], null)
    ]
    expect(verdict(...history)).toEqual([])
    expect(judge(history).coverage).toMatchObject({ reads: 8, judged: 8, stored: 2, stalestMs: 999 })
  })

  test('a read that began before the change was due', () => {
    expect(verdict(create('A', [0, 1]), save('A', [5, 6], 2), read('B', [1000, 9000], { A: 1 }))).toEqual([])
  })

  test('a failed save, whether it took place or not, apart from its failing', () => {
    const failed = [create('A', [0, 1]), save('A', [2, 3], 2, { error: 'ERR_REDIS' })]
    const failure = ['P5: an operation failed']
    expect(verdict(...failed, read('B', [2000, 2001], { A: 1 }))).toEqual(failure)
    expect(verdict(...failed, read('B', [2000, 2001], { A: 2 }))).toEqual(failure)
  })

  test('a session that is missing after someone tried to destroy it, and what was saved too late', () => {
    const history = [create('A', [0, 1]), destroy('B', [2, 500], { by: 'unsure' }), save('A', [600, 601], 2)]
    expect(verdict(...history, read('A', [700, 701], null), stored([800, 801], null))).toEqual([])
  })

  test('a change that a destroy has made pointless, though the session is still there', () => {
    const history = [create('A', [0, 1]), save('A', [2, 3], 2), destroy('A', [4, 500], { by: 'unsure' })]
    const seen = [stored([6, 7], { A: 1 }), read('B', [2000, 2001], { A: 1 })]
    expect(verdict(...history, ...seen)).toEqual([])
  })

  test('what a process reads in an outage of its own', () => {
    const outage = [fault('partition', [1, 4000]), event('B', 'fallback', 100), event('B', 'recovered', 5000)]
    const history = [create('A', [0, 1]), ...outage, save('A', [200, 201], 2)]
    expect(verdict(...history, read('B', [4000, 4001], { A: 1 }, { by: 'memory' }))).toEqual([])
    expect(verdict(...history, read('B', [4000, 4001], null, { by: 'memory' }))).toEqual([])
    expect(verdict(...history, read('B', [4000, 4001], { A: 1 }, { by: 'unsure' }))).toEqual([])
  })

  test('a process whose memory does not know what it wrote to Redis before the outage', () => {
    const outage = [fault('partition', [7, 4000]), event('A', 'fallback', 100), event('A', 'recovered', 5000)]
    const history = [create('A', [0, 1]), save('A', [5, 6], 2), ...outage]
    for (const found of [null, { A: 1 }]) {
      expect(verdict(...history, read('A', [200, 201], found, { by: 'memory' }))).toEqual([])
      expect(verdict(...history, read('A', [50, 90], found, { by: 'unsure' }))).toEqual([])
    }
  })

  test('a change made in an outage, as long as it lasts', () => {
    const outage = [fault('partition', [1, 5000]), event('A', 'fallback', 100), event('A', 'recovered', 6000)]
    const history = [create('A', [0, 1]), ...outage, save('A', [200, 201], 2, { by: 'memory' })]
    expect(verdict(...history, stored([5000, 5001], { A: 1 }), read('B', [6500, 6501], { A: 1 }))).toEqual([])
  })

  test('what becomes of a session after Redis lost its data', () => {
    for (const lost of [flush([100, 101]), killed([100, 200])]) {
      const history = [create('A', [0, 1]), save('A', [2, 3], 2), lost]
      expect(verdict(...history, stored([1500, 1501], null), read('A', [2000, 2001], null))).toEqual([])
      // Put back by a process that held it.
      const putBack = save('B', [1000, 1001], 1)
      expect(verdict(...history, putBack, stored([1500, 1501], { A: 1 }), read('A', [2000, 2001], { A: 1 }))).toEqual(
        []
      )
    }
  })

  test('a session that FLUSHALL removed, where it can have been put back', () => {
    const history = [create('A', [0, 1]), flush([100, 101]), read('B', [2000, 2001], { A: 1 })]
    expect(verdict(...history, touch('A', [500, 501]))).toEqual([])
    expect(verdict(...history, event('A', 'fallback', 50), event('A', 'recovered', 150))).toEqual([])
    expect(verdict(...history, read('B', [50, 90], { A: 1 }, { by: 'unsure' }))).toEqual([])
  })

  test('an outage that ends soon after its fault', () => {
    const faults = [fault('partition', [0, 3000]), fault('SIGSTOP', [5000, 9000])]
    expect(verdict(...faults, event('A', 'fallback', 10), event('A', 'recovered', 13_000))).toEqual([])
  })
})

describe('the judge finds', () => {
  const created = create('A', [0, 1])

  test('a read that lacks a change which is older than the bound', () => {
    const history = [created, save('A', [5, 6], 2)]
    expect(verdict(...history, read('B', [1006, 1007], { A: 1 }))).toEqual(['P4: a read lacks a change'])
  })

  test('such a read in an outage that nobody announced', () => {
    const history = [created, save('A', [5, 6], 2), fault('partition', [0, 9000])]
    expect(verdict(...history, read('B', [1006, 1007], { A: 1 }))).toEqual(['P4: a read lacks a change'])
  })

  test('a read that lacks a change from an outage that is over', () => {
    const outage = [fault('partition', [1, 5000]), event('A', 'fallback', 100), event('A', 'recovered', 6000)]
    const history = [created, ...outage, save('A', [200, 201], 2, { by: 'memory' })]
    expect(verdict(...history, read('B', [7000, 7001], { A: 1 }))).toEqual(['P4: a read lacks a change'])
  })

  test('a read that misses a session, or shows a destroyed one, for too long', () => {
    expect(verdict(created, read('B', [1001, 1002], null))).toEqual(['P4: a session is not found'])
    const history = [created, destroy('A', [5, 6])]
    expect(verdict(...history, read('B', [1006, 1007], { A: 1 }))).toEqual(['P4: a destroyed session is read'])
  })

  test('a session that is read long after FLUSHALL, when nobody can have put it back', () => {
    const history = [created, flush([100, 101]), read('B', [1101, 1102], { A: 1 })]
    expect(verdict(...history)).toEqual(['P4: a session is read that FLUSHALL removed'])
  })

  test('an acknowledged change that is lost in Redis, and blames no reader for it', () => {
    const history = [created, save('A', [5, 6], 2), stored([7, 8], { A: 1 }), read('B', [1500, 1501], { A: 1 })]
    expect(verdict(...history)).toEqual(['P2: an acknowledged change is lost in Redis'])
  })

  test('a change of an uncertain time that is not in Redis at last', () => {
    const history = [created, save('A', [5, 6], 2, { by: 'unsure' }), event('A', 'closed', 100)]
    expect(verdict(...history, stored([99, 101], { A: 1 }))).toEqual([])
    expect(verdict(...history, stored([101, 102], { A: 1 }))).toEqual(['P2: an acknowledged change is lost in Redis'])
  })

  test('a session that vanished from Redis', () => {
    expect(verdict(created, stored([2, 3], null))).toEqual(['P2: a session vanished from Redis'])
  })

  test('a value that nobody wrote, or not yet', () => {
    expect(verdict(created, read('B', [2, 3], { A: 7 }))).toEqual(['P2: a value that nobody wrote'])
    const history = [created, read('B', [2, 3], { A: 2 }), save('A', [5, 6], 2)]
    expect(verdict(...history)).toEqual(['P2: a value that nobody wrote'])
  })

  test('a destroyed session that is in Redis', () => {
    expect(verdict(created, destroy('B', [2, 3]), stored([4, 5], { A: 1 }))).toEqual([
      'P3: a destroyed session is in Redis'
    ])
  })

  test('a session destroyed in an outage that is still in Redis after it', () => {
    const outage = [fault('partition', [1, 5000]), event('A', 'fallback', 100), event('A', 'recovered', 6000)]
    const history = [created, ...outage, destroy('A', [200, 201], { by: 'memory' })]
    expect(verdict(...history, stored([5999, 6000], { A: 1 }))).toEqual([])
    expect(verdict(...history, stored([6000, 6001], { A: 1 }))).toEqual(['P3: a destroyed session is in Redis'])
  })

  test('a process that does not see what it did itself, also in an outage', () => {
    const history = [created, save('A', [5, 6], 2)]
    expect(verdict(...history, read('A', [7, 8], { A: 1 }))).toEqual(['own: a read lacks an own change'])
    const outage = [fault('partition', [2, 5000]), event('A', 'fallback', 3), event('A', 'recovered', 6000)]
    for (const by of ['redis', 'memory']) {
      expect(verdict(...history, ...outage, read('A', [7, 8], { A: 1 }, { by }))).toEqual([
        'own: a read lacks an own change'
      ])
      expect(verdict(created, destroy('A', [5, 6]), read('A', [7, 8], { A: 1 }, { by }))).toEqual([
        'P3: an own destroyed session is read'
      ])
    }
    expect(verdict(created, read('A', [7, 8], null))).toEqual(['own: an own session is not found'])
  })

  test('a process that forgets what only its memory has', () => {
    const outage = [fault('partition', [0, 5000]), event('A', 'fallback', 1), event('A', 'recovered', 6000)]
    const history = [create('A', [5, 6], { by: 'memory' }), ...outage, read('A', [7, 8], null, { by: 'memory' })]
    expect(verdict(...history)).toEqual(['own: an own session is not found'])
  })

  test('an operation that fails, a callback that is called twice, a process that dies', () => {
    expect(verdict(create('A', [0, 1], { error: 'ERR_REDIS' }))).toEqual(['P5: an operation failed'])
    expect(verdict(create('A', [0, 1], { twice: true }))).toEqual(['P9: a callback was called twice'])
    expect(verdict({ type: 'died', worker: 'A', at: 1, reason: 'SIGSEGV' })).toEqual(['P9: a process died'])
  })

  test('an outage without a fault, and one that does not end', () => {
    const overdue = ['P5: out of reach without a fault']
    expect(verdict(event('A', 'fallback', 10), event('A', 'recovered', 5011))).toEqual(overdue)
    const history = [fault('partition', [0, 1000]), event('A', 'fallback', 10)]
    expect(verdict(...history, read('B', [6001, 6002], null))).toEqual(overdue)
  })
})
