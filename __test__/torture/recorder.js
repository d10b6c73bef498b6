// A store whose every operation is recorded, with its times and with who answered it, as the judge wants it.

// Of the machine's monotonic clock, which is one for all processes.
const now = () => Number(process.hrtime.bigint()) / 1e6

class Recorder {
  records = []
  #store
  #name
  #operations = 0
  // What the store has announced last, and how often that it is connected.
  #announced
  #connections = 0

  constructor(store, name) {
    this.#store = store
    this.#name = name
    for (const event of ['ready', 'fallback', 'recovered']) {
      store.on(event, () => {
        // Connected after an outage, it is not in step before it says so.
        if (event !== 'ready' || this.#announced !== 'fallback') this.#announced = event
        else this.#announced = 'recovering'
        if (event === 'ready') this.#connections += 1
        this.note(event)
      })
    }
  }

  /** Whether the store is known to be in touch with Redis, and to have nothing that Redis has not. */
  get isInStep() {
    return this.#standing().isInStep
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

  /**
   * What tells whether the store was in step with Redis from one moment to another. Where the event loop was blocked, events
   * are still to come: then nothing is sure.
   */
  #standing() {
    const { connections, servedFromMemory, timeouts } = this.#store.stats()
    const { state } = this.#store
    const isUpToDate = connections === this.#connections
    return {
      isInStep: isUpToDate && state === 'ready' && ['ready', 'recovered'].includes(this.#announced),
      isInOutage: isUpToDate && state === 'degraded' && this.#announced === 'fallback',
      counters: `${connections} ${servedFromMemory} ${timeouts}`
    }
  }
}

function answeredBy(before, after) {
  if (before.isInStep && after.isInStep && before.counters === after.counters) return 'redis'
  return after.isInOutage ? 'memory' : 'unsure'
}

module.exports = { Recorder, now }
