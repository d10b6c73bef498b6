// What happened, judged: a pure function of the history of a run. It knows nothing of how the store works.
//
// The history is a list of records. Times are milliseconds of one clock, the machine's monotonic one.
//
//   { type: 'get',     id, worker, sid, start, end, by, error, found }   found: null or { slot: value }
//   { type: 'set',     id, worker, sid, start, end, by, error, slot, value, creates }
//   { type: 'touch' | 'destroy', id, worker, sid, start, end, by, error }
//   { type: 'stored',  sid, start, end, found }     what Redis itself held, asked without the store
//   { type: 'event',   worker, name, at }           of a worker's store: 'fallback', 'recovered', 'closed'
//   { type: 'fault',   name, workers, start, end, loses, keepsConnections }
//   { type: 'died',    worker, at, reason }
//
// `by` is who answered. 'redis': Redis, or the replica under its lease; the store was in step with Redis from start to
// end. 'memory': the fallback, in an outage that the store had announced. 'unsure': anything between.
//
// Every slot of a session has one writer, which waits for one save to be answered before the next, with values that
// only grow. So of two values of a slot the larger one is the later, and a read that lacks a change can be told.
//
// What is required, and what is not:
//
// - A change is due to others as of the moment when Redis surely has it: the end of an operation that Redis answered;
//   for one answered in an outage, the 'recovered' of that worker's store; otherwise the closing of its store.
// - An operation that failed may have happened or not: nothing is due, and both are allowed.
// - P4 binds a read that was answered by 'redis', and its start counts: a change that was due `maxStaleMs` before has to
//   be seen. An outage (from 'fallback' to 'recovered') excuses other workers' changes, and nothing of one's own.
// - As soon as someone has begun to destroy a session, whatever came of that, it may be missing, and changes may be: a save
//   that finds its session gone is answered without an error, and what waits in memory is dropped by a destroy there.
// - Redis losing its data (FLUSHALL, a kill without persistence) ends all duties for the sessions whose first save had
//   begun before the loss was over: other processes may put back what they hold, however old. What was read before the
//   loss is judged. One duty comes into being: after FLUSHALL, while no worker was out of reach and nobody has saved or
//   touched the session since, nobody can have put it back, so after `maxStaleMs` it must not be shown.
// - Being out of reach is an excuse only with a fault at hand: a store that is still away `recoveryMs` after the last
//   fault that concerned it is wrong.

const { SessionFacts } = require('./facts')
const { groupBy } = require('./groups')
const { Reach } = require('./reach')

/** Returns `{ violations, coverage }`; a violation is `{ promise, what, sid, worker, record, missed, ageMs, times }`. */
function judge(history, { maxStaleMs = 1000, recoveryMs = 10_000 } = {}) {
  const reach = new Reach(history)
  const findings = new Findings()
  for (const session of sessionsOf(history, reach)) {
    for (const record of session.stored) judgeStored(record, session, findings)
    for (const record of session.reads) judgeRead(record, session, { reach, maxStaleMs, findings })
  }
  for (const record of history) {
    if (record.error) findings.add('P5', 'an operation failed', record)
    if (record.twice) findings.add('P9', 'a callback was called twice', record)
    if (record.type === 'died') findings.add('P9', 'a process died', record)
  }
  for (const outage of reach.overdue(recoveryMs)) findings.add('P5', 'out of reach without a fault', outage)
  return { violations: findings.all, coverage: { ...findings.coverage, ...findings.stalest } }
}

function sessionsOf(history, reach) {
  const bySid = groupBy(
    history.filter(({ sid }) => sid),
    ({ sid }) => sid
  )
  return [...bySid.values()].map((records) => new SessionFacts(records, reach))
}

/** P2 and P3: Redis itself is never behind. */
function judgeStored(record, session, findings) {
  if (session.isLostFor(record)) return
  findings.coverage.stored += 1
  if (record.found === null) {
    if (session.presentFrom <= record.start && session.destroyBegun > record.end) {
      findings.add('P2', 'a session vanished from Redis', record, session.creation)
      session.isWrongInRedis(record)
    }
    return
  }
  if (session.goneFrom <= record.start) {
    findings.add('P3', 'a destroyed session is in Redis', record, session.destruction)
    session.isWrongInRedis(record)
    return
  }
  for (const slot of session.slotsFor(record)) {
    const missed = slot.missing(record.found, record.start)
    if (!missed) continue
    findings.add('P2', 'an acknowledged change is lost in Redis', record, missed)
    slot.lacksInRedis(record)
  }
}

function judgeRead(record, session, { reach, maxStaleMs, findings }) {
  findings.coverage.reads += 1
  if (record.error) return
  if (session.isLostFor(record)) {
    judgeAfterLoss(record, session, { reach, maxStaleMs, findings })
    return
  }
  if (record.by === 'redis') findings.coverage.judged += 1
  // Redis itself was wrong, which is told already: what is read follows from that.
  if (session.wasWrongInRedis(record)) return
  judgeOwn(record, session, { reach, findings })
  if (record.by !== 'redis') return
  const due = record.start - maxStaleMs
  if (record.found === null) judgeMissing(record, session, due, findings)
  else judgeFound(record, session, due, findings)
}

function judgeMissing(record, session, due, findings) {
  if (session.presentFrom > due || session.destroyBegun <= record.end) return
  findings.add('P4', 'a session is not found', record, session.creation)
}

function judgeFound(record, session, due, findings) {
  if (session.goneFrom <= due) {
    findings.add('P4', 'a destroyed session is read', record, session.destruction)
    return
  }
  for (const slot of session.slotsFor(record)) {
    const missed = slot.missing(record.found, record.start)
    if (!missed || slot.wasLackingInRedis(missed)) continue
    findings.noteAge(record.start - slot.dueFrom(missed))
    const late = slot.missing(record.found, due)
    if (late && !slot.wasLackingInRedis(late)) findings.add('P4', 'a read lacks a change', record, late)
  }
  for (const [name, value] of Object.entries(record.found)) {
    if (!session.slots.get(name)?.wasTried(value, record.end)) {
      findings.add('P2', 'a value that nobody wrote', record)
    }
  }
}

/** What a process did itself and was told to be done, it sees. */
function judgeOwn(record, session, { reach, findings }) {
  const { worker, start, found } = record
  const since = ownSince(record, reach)
  if (found === null) {
    const write = session.ownWrite(worker, start)
    const isOwed = write?.start >= since && session.destroyBegun > record.end
    if (isOwed) findings.add('own', 'an own session is not found', record, write)
    return
  }
  const destruction = session.ownDestruction(worker, start)
  if (destruction) {
    findings.add('P3', 'an own destroyed session is read', record, destruction)
    return
  }
  for (const slot of session.slotsFor(record)) {
    const missed = slot.worker === worker && slot.missingOwn(found, start, since)
    if (missed && !slot.wasLackingInRedis(missed)) findings.add('own', 'a read lacks an own change', record, missed)
  }
}

/** In an outage, memory need not know what Redis has, only what was done since. */
function ownSince(record, reach) {
  if (record.by === 'redis') return 0
  return record.by === 'memory' ? reach.outageStart(record) : Number.POSITIVE_INFINITY
}

function judgeAfterLoss(record, session, { reach, maxStaleMs, findings }) {
  const { loss } = session
  if (!loss.keepsConnections || record.by !== 'redis' || record.found === null) return
  if (record.start < loss.end + maxStaleMs || session.wasUsedBetween(loss.start, record.end)) return
  if (reach.anyoneAwayBetween(loss.start, record.end)) return
  findings.add('P4', 'a session is read that FLUSHALL removed', record, loss)
}

/** Each fault of the store is told once for each session and process, with how often it showed. */
class Findings {
  all = []
  coverage = { reads: 0, judged: 0, stored: 0 }
  stalest = { stalestMs: 0 }
  #known = new Map()

  add(promise, what, record, missed) {
    const key = [promise, what, record.sid, record.worker, missed?.slot, record.error].join('\n')
    const known = this.#known.get(key)
    if (known) {
      known.times += 1
      return
    }
    const { sid, worker } = record
    const violation = { promise, what, sid, worker, record, missed, times: 1 }
    this.#known.set(key, violation)
    this.all.push(violation)
  }

  /** How old a change was that a read did not show yet. */
  noteAge(ms) {
    this.stalest.stalestMs = Math.max(this.stalest.stalestMs, ms)
  }
}

module.exports = { judge }
