// Who was in touch with Redis, and when: as of when Redis surely has a change, who was away, and with what excuse.

const { groupBy } = require('./groups')

// What an operation left in memory without an outage being announced is written to Redis at a heartbeat.
const AFTERMATH_MS = 3000

class Reach {
  losses
  #events
  #outages
  #unsure
  #faults
  #end

  constructor(history) {
    const of = (wanted) => history.filter(({ type }) => type === wanted)
    this.#faults = of('fault')
    this.losses = this.#faults.filter(({ loses }) => loses).sort((one, other) => one.end - other.end)
    this.#events = groupBy(
      of('event').sort((one, other) => one.at - other.at),
      ({ worker }) => worker
    )
    this.#end = history.reduce((last, { at, end }) => Math.max(last, at ?? end ?? 0), 0)
    this.#outages = [...this.#events].flatMap(([worker, events]) => outagesOf(worker, events, this.#end))
    this.#unsure = history.filter(({ by }) => by === 'unsure')
  }

  /** The moment from which Redis surely has a change; never, when it failed. */
  dueFrom({ worker, end, by, error }) {
    if (error) return Number.POSITIVE_INFINITY
    if (by === 'redis') return end
    const events = this.#events.get(worker) ?? []
    const name = by === 'memory' ? /^(recovered|closed)$/ : /^closed$/
    return events.find((event) => event.at >= end && name.test(event.name))?.at ?? Number.POSITIVE_INFINITY
  }

  /** When the outage began in which a read was answered. */
  outageStart({ worker, end }) {
    const around = this.#outages.find((outage) => outage.worker === worker && outage.start <= end && outage.end >= end)
    return around?.start ?? Number.POSITIVE_INFINITY
  }

  anyoneAwayBetween(start, end) {
    return (
      this.#outages.some((outage) => outage.start < end && outage.end > start) ||
      this.#unsure.some((record) => record.start < end && record.end + AFTERMATH_MS > start)
    )
  }

  /** Outages that went on for longer than `recoveryMs` after the last fault that concerned the worker. */
  overdue(recoveryMs) {
    return this.#outages.filter(({ worker, start, end }) => {
      const faults = this.#faults.filter((fault) => fault.workers.includes(worker))
      const excuses = faults.filter((fault) => fault.start < end).map((fault) => fault.end)
      return end > Math.max(start, ...excuses) + recoveryMs
    })
  }
}

function outagesOf(worker, events, endOfAll) {
  const outages = []
  let start
  for (const { name, at } of events) {
    if (name === 'fallback') start ??= at
    if (start === undefined || name === 'fallback') continue
    outages.push({ worker, start, end: at })
    start = undefined
  }
  if (start !== undefined) outages.push({ worker, start, end: endOfAll })
  return outages
}

module.exports = { Reach }
