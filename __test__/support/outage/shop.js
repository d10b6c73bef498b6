// A shop over real HTTP, and its users: each has one connection, sends one request after the other, a hundred a second
// all together, and knows what must be answered.
const { setTimeout: pause } = require('node:timers/promises')
const { sessionHelpers } = require('../../..')
const { startApp } = require('../app')

const EVERY_MS = 400
/** So many users make a hundred requests a second. */
const USERS = 40

function startShop(store) {
  const cartOf = ({ id, user = null, count = 0 }) => ({ id, user, count })
  const routes = (app) => {
    app.post('/login', async (req, res) => {
      await req.regenerateSession()
      Object.assign(req.session, { user: req.body.user, count: 0 })
      res.json(cartOf(req.session))
    })
    app.post('/add', (req, res) => {
      req.session.count += 1
      res.json(cartOf(req.session))
    })
    app.get('/cart', (req, res) => res.json(cartOf(req.session)))
    app.post('/logout', async (req, res) => {
      await req.destroySession()
      res.json({ user: null })
    })
  }
  return startApp({ store, routes, middleware: [sessionHelpers()] })
}

/** All users, and what they saw: answers that are no success or not what they must be, and how long the slowest took. */
class Crowd {
  #app
  #running = true
  #lives = []

  constructor(app) {
    this.#app = app
    this.users = []
    this.answers = 0
    this.failed = []
    this.wrong = []
    this.slowestMs = 0
  }

  /** More users come. The first thing that each does is to log in. */
  enter(count = USERS) {
    const users = Array.from({ length: count }, () => new User(this, this.#app.agent()))
    for (const user of users) {
      user.name = `user ${this.users.push(user)}`
      this.#lives.push(this.#live(user))
    }
    return users
  }

  /** Who is logged in, as it was acknowledged: session id → things in the cart. */
  get living() {
    return Object.fromEntries(this.users.filter(({ id }) => id).map(({ id, count }) => [id, count]))
  }

  /** Resolves when everyone has finished. */
  async close() {
    this.#running = false
    await Promise.all(this.#lives)
  }

  async #live(user) {
    // Not all at the same moment.
    let next = performance.now() + (this.#lives.length % USERS) * (EVERY_MS / USERS)
    while (this.#running) {
      await pause(Math.max(0, next - performance.now()))
      next = Math.max(next + EVERY_MS, performance.now())
      if (this.#running && !user.rests) await user.step()
    }
  }
}

class User {
  #crowd
  #browser
  #steps = 0
  /** The session's, as long as the user is logged in. */
  id
  count = 0
  /** Does nothing for the time being. */
  rests = false
  /** Logs out next. Afterwards the old cookie is tried again and again. */
  leaves = false

  constructor(crowd, browser) {
    this.#crowd = crowd
    this.#browser = browser
  }

  get steps() {
    return this.#steps
  }

  get hasLeft() {
    return this.leaves && this.id === undefined
  }

  async step() {
    if (this.hasLeft) await this.look()
    else if (this.leaves) await this.#logout()
    else if (this.id === undefined) await this.#login()
    else if (this.#steps % 3 === 2) await this.look()
    else await this.#add()
    this.#steps += 1
  }

  async look() {
    if (this.hasLeft) await this.#knock()
    else this.#expect('the cart', await this.#ask('GET', '/cart'))
  }

  async #login() {
    const answer = await this.#ask('POST', '/login', { user: this.name })
    this.id = answer?.id
    this.#expect('the login', answer)
  }

  async #add() {
    const answer = await this.#ask('POST', '/add')
    if (answer) this.count += 1
    this.#expect('the cart with one more', answer)
  }

  async #logout() {
    this.old = { id: this.id, cookie: this.#browser.cookieHeader() }
    if (await this.#ask('POST', '/logout')) this.id = undefined
  }

  async #knock() {
    const answer = await this.#ask('GET', '/cart', undefined, { cookie: this.old.cookie })
    if (answer && (answer.user !== null || answer.id === this.old.id)) this.#note('somebody who logged out', answer)
  }

  #expect(what, answer) {
    const { id, name: user, count } = this
    if (answer && !(answer.id === id && answer.user === user && answer.count === count)) this.#note(what, answer)
  }

  #note(what, { user, count }) {
    this.#crowd.wrong.push({ what, shown: { user, count }, expected: { user: this.name, count: this.count } })
  }

  /** The answer's body; undefined for a failure. */
  async #ask(method, path, body, headers) {
    const startedAt = performance.now()
    const answer = await this.#browser
      .request(method, path, { body, headers })
      .catch((error) => ({ status: error.code }))
    const crowd = this.#crowd
    crowd.slowestMs = Math.max(crowd.slowestMs, performance.now() - startedAt)
    crowd.answers += 1
    if (answer.status === 200) return answer.body
    crowd.failed.push({ path, status: answer.status, code: answer.body?.code })
    return undefined
  }
}

module.exports = { Crowd, startShop, USERS }
