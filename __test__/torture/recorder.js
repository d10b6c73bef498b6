// A store whose every operation is recorded, with its times and with who answered it, as the judge wants it.

// Of the machine's monotonic clock, which is one for all processes.
const now = () => Number(process.hrtime.bigint()) / 1e6

class Recorder {
  records = []
  /** Whether the store has announced an outage that it has not announced to be over. */
  isAway = false
  #store
  #name
  #operations = 0

  constructor(store, name) {
    this.#store = store
    this.#name = name
    for (const event of ['ready', 'fallback', 'recovered']) {
      store.on(event, () => {
        if (event !== 'ready') this.isAway = event === 'fallback'
        this.note(event)
      })
    }
  }

  note(event) {
    this.records.push({ type: 'event', worker: this.#name, name: event, at: now() })
  }

  /** What express-session makes of a stored session, or undefined. */
  async load(sid) {
    const data = await this.#operate('get', sid)
    return data ? this.#store.createSession({ sessionID: sid, sessionStore: this.#store }, data) : undefined
  }

  /** Saves a new value in a slot. `creates`: for the first time. */
  save(session, slot, value, creates = false) {
    session.slots[slot] = value
    // One thing that everybody changes.
    session.lastBy = slot
    return this.#operate('set', session.id, { slot, value, creates }, session)
  }

  touch(session) {
    session.touch()
    return this.#operate('touch', session.id, {}, session)
  }

  destroy(sid) {
    return this.#operate('destroy', sid)
  }

  #operate(type, sid, details, ...args) {
    const record = { type, id: `${this.#name}-${++this.#operations}`, worker: this.#name, sid, ...details }
    const before = this.#standing()
    return new Promise((resolve) => {
      record.start = now()
      this.#store[type](sid, ...args, (error, value) => {
        if (record.end !== undefined) {
          record.twice = true
          return
        }
        record.end = now()
        record.by = answeredBy(before, this.#standing())
        if (error) record.error = String(error.code ?? error)
        if (type === 'get') record.found = value ? { ...value.slots } : null
        this.records.push(record)
        resolve(value)
      })
    })
  }

  /** What tells whether the store was in step with Redis from one moment to another. */
  #standing() {
    const { connections, servedFromMemory, timeouts } = this.#store.stats()
    return {
      isInStep: this.#store.state === 'ready' && !this.isAway,
      isInOutage: this.#store.state === 'degraded' && this.isAway,
      counters: `${connections} ${servedFromMemory} ${timeouts}`
    }
  }
}

function answeredBy(before, after) {
  if (before.isInStep && after.isInStep && before.counters === after.counters) return 'redis'
  return after.isInOutage ? 'memory' : 'unsure'
}

module.exports = { Recorder, now }
