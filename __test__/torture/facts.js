// What is true of one session: when it has to be there, when it has to be gone, and what each of its slots was given.

const { groupBy } = require('./groups')

class SessionFacts {
  /** The first loss of Redis's data that may have concerned it. */
  loss
  #records
  #wrongInRedis = []

  constructor(records, reach) {
    this.#records = records
    const of = (...types) => records.filter(({ type }) => types.includes(type))
    this.reads = of('get')
    this.stored = of('stored')
    const writes = of('set')
    const destroys = of('destroy')

    this.creation = writes.find(({ creates }) => creates)
    this.presentFrom = this.creation ? reach.dueFrom(this.creation) : Number.POSITIVE_INFINITY
    this.destroyBegun = least(destroys, ({ start }) => start)
    this.goneFrom = least(destroys, (destroy) => reach.dueFrom(destroy))
    this.destruction = destroys.find((destroy) => reach.dueFrom(destroy) === this.goneFrom)
    this.loss = reach.losses.find((loss) => (this.creation?.start ?? 0) < loss.end)

    this.slots = new Map()
    for (const [name, ofSlot] of groupBy(writes, ({ slot }) => slot)) this.slots.set(name, new SlotFacts(ofSlot, reach))
  }

  isLostFor(record) {
    return this.loss !== undefined && record.end > this.loss.start
  }

  /** The slots whose changes a record has to show: none any more when someone has begun to destroy the session. */
  slotsFor({ end }) {
    return this.destroyBegun > end ? [...this.slots.values()] : []
  }

  wasUsedBetween(start, end) {
    const uses = this.#records.filter(({ type }) => type === 'set' || type === 'touch')
    return uses.some((use) => use.end > start && use.start < end)
  }

  /** The latest save by `worker` that was acknowledged before `moment`. */
  ownWrite(worker, moment) {
    return this.#records.findLast((record) => record.type === 'set' && isOwn(record, worker, moment))
  }

  ownDestruction(worker, moment) {
    return this.#records.find((record) => record.type === 'destroy' && isOwn(record, worker, moment))
  }

  /** Redis was seen without a session that it should have, or with one that it should not. */
  isWrongInRedis(stored) {
    this.#wrongInRedis.push(stored)
  }

  wasWrongInRedis(read) {
    return this.#wrongInRedis.some((stored) => stored.start >= read.start - NEAR_MS)
  }
}

// How long before a read Redis may have been seen to be wrong.
const NEAR_MS = 5000

/** The saves to one slot. One writer makes them, one after the other, so the order of values is the order of time. */
class SlotFacts {
  #writes
  #tried = new Map()
  // At each place, the first to be due of the writes from there on: overall, and for the writer's own process.
  #firstDue
  #firstOwn
  #due
  #lackedInRedis = []

  constructor(writes, reach) {
    this.worker = writes[0].worker
    this.name = writes[0].slot
    this.#writes = writes.toSorted((one, other) => one.value - other.value)
    this.#due = new Map(this.#writes.map((write) => [write, reach.dueFrom(write)]))
    for (const write of this.#writes) this.#tried.set(write.value, write)
    this.#firstDue = firsts(this.#writes, (write) => this.#due.get(write))
    this.#firstOwn = firsts(this.#writes, (write) => (write.error ? Number.POSITIVE_INFINITY : write.end))
  }

  dueFrom(write) {
    return this.#due.get(write)
  }

  /** The change that was due by `moment` and that is later than what was found. */
  missing(found, moment) {
    const write = this.#firstDue[this.#after(found)]
    return write && this.#due.get(write) <= moment ? write : undefined
  }

  /** The same for the writer's own process, of the changes that were begun after `since`. */
  missingOwn(found, moment, since) {
    const write = this.#firstOwn[Math.max(this.#after(found), this.#firstSince(since))]
    return write && !write.error && write.end <= moment ? write : undefined
  }

  wasTried(value, moment) {
    return this.#tried.has(value) && this.#tried.get(value).start <= moment
  }

  lacksInRedis(stored) {
    this.#lackedInRedis.push(stored)
  }

  /** Redis was seen without this change, when it was due: then no reader can be blamed. */
  wasLackingInRedis(write) {
    return this.#lackedInRedis.some(({ start, found }) => start >= write.start && (found[this.name] ?? 0) < write.value)
  }

  #after(found) {
    const shown = found[this.name] ?? 0
    return firstIndex(this.#writes, ({ value }) => value > shown)
  }

  #firstSince(moment) {
    return firstIndex(this.#writes, ({ start }) => start >= moment)
  }
}

/** The place of the first that fulfils what all after it fulfil too. */
function firstIndex(list, fulfils) {
  let [low, high] = [0, list.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (fulfils(list[middle])) high = middle
    else low = middle + 1
  }
  return low
}

function isOwn(record, worker, moment) {
  return record.worker === worker && !record.error && record.end <= moment
}

function firsts(writes, timeOf) {
  const result = []
  for (let at = writes.length - 1; at >= 0; at--) {
    const later = result[at + 1]
    result[at] = later && timeOf(later) < timeOf(writes[at]) ? later : writes[at]
  }
  return result
}

function least(records, timeOf) {
  return records.reduce((first, record) => Math.min(first, timeOf(record)), Number.POSITIVE_INFINITY)
}

module.exports = { SessionFacts }
