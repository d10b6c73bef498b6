'use strict'

const { whole } = require('./parsed')

// So many sessions are remembered at the least, as most are written again: to remember one anew takes longer than all the rest.
const LEAST = 2048

/** Sessions with a write under way: until it is answered, what is known of them is past. */
class Writing {
  #sessions = new Map()
  #most = LEAST
  #underWay = 0

  /** A write begins. Returns what `end` has to be told when it is answered. */
  begin(sid) {
    let session = this.#sessions.get(sid)
    if (session === undefined) {
      session = { writes: 0 }
      if (this.#sessions.size >= this.#most) this.#forget()
      this.#sessions.set(whole(sid), session)
    }
    session.writes++
    this.#underWay++
    return session
  }

  end(session) {
    session.writes--
    this.#underWay--
  }

  has(sid) {
    return this.#underWay > 0 && this.#sessions.get(sid)?.writes > 0
  }

  #forget() {
    for (const [sid, { writes }] of this.#sessions) if (writes === 0) this.#sessions.delete(sid)
    this.#most = Math.max(LEAST, 2 * this.#sessions.size)
  }
}

module.exports = { Writing }
