'use strict'

/** Sessions with a write under way, and how many: until it is answered, what is known of them is past. */
class Writing {
  #counts = new Map()

  add(sid) {
    this.#counts.set(sid, (this.#counts.get(sid) ?? 0) + 1)
  }

  remove(sid) {
    const count = this.#counts.get(sid)
    if (count > 1) this.#counts.set(sid, count - 1)
    else this.#counts.delete(sid)
  }

  has(sid) {
    return this.#counts.size > 0 && this.#counts.has(sid)
  }
}

module.exports = { Writing }
