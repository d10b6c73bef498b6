// Routes that do to a session what a test tells them, step by step, and wait at gates in between: so a test decides how
// requests interleave, in this process or in another.

/** What a step does to the request's session. */
const STEPS = {
  set: ({ session }, path, value) => at(session, path, (parent, key) => (parent[key] = value)),
  remove: ({ session }, path) => at(session, path, (parent, key) => delete parent[key]),
  push: ({ session }, path, value) => at(session, path, (parent, key) => parent[key].push(value)),
  maxAge: ({ session }, ms) => (session.cookie.maxAge = ms),
  save: ({ session }) => called((done) => session.save(done)),
  saveWithoutWaiting: ({ session }) => void session.save(),
  reload: ({ session }) => called((done) => session.reload(done)),
  destroy: ({ session }) => called((done) => session.destroy(done)),
  regenerate: ({ session }) => called((done) => session.regenerate(done)),
  destroySession: (req) => req.destroySession(),
  regenerateSession: (req) => req.regenerateSession()
}

/** Adds the routes. Their answer is `{ id, data, keys, failures }`, as the last step leaves the session. */
function addSteps(app) {
  const gates = new Gates()

  app.post('/steps', async (req, res) => {
    const failures = []
    for (const [name, ...args] of req.body) {
      try {
        await (name === 'wait' ? gates.wait(args[0], req.session) : STEPS[name](req, ...args))
      } catch (error) {
        failures.push(error.message)
      }
    }
    res.json({ ...look(req.session), failures })
  })

  app.get('/gates/:name/:count', async ({ params }, res) => {
    res.json(await gates.reached(params.name, Number(params.count)))
  })

  app.post('/gates/:name', ({ params }, res) => {
    gates.open(params.name)
    res.json({})
  })
}

function look(session) {
  if (!session) return {}
  const keys = []
  for (const key in session) keys.push(key)
  const { cookie: _, ...data } = session
  return { id: session.id, data, keys }
}

class Gates {
  #gates = new Map()

  /** Until the gate opens. An open gate stays open. */
  wait(name, session) {
    const gate = this.#gate(name)
    gate.ids.push(session?.id ?? null)
    gate.arrived()
    return gate.opened
  }

  /** When `count` requests wait: the ids of their sessions. */
  async reached(name, count) {
    const gate = this.#gate(name)
    while (gate.ids.length < count) {
      await new Promise((resolve) => {
        gate.arrived = resolve
      })
    }
    return gate.ids
  }

  open(name) {
    this.#gate(name).open()
  }

  #gate(name) {
    if (!this.#gates.has(name)) {
      const gate = { ids: [], arrived() {} }
      gate.opened = new Promise((resolve) => {
        gate.open = resolve
      })
      this.#gates.set(name, gate)
    }
    return this.#gates.get(name)
  }
}

function at(session, path, change) {
  const keys = path.split('.')
  const last = keys.pop()
  let parent = session
  for (const key of keys) parent = parent[key] ??= {}
  change(parent, last)
}

function called(start) {
  return new Promise((resolve, reject) => start((error) => (error ? reject(error) : resolve())))
}

module.exports = { addSteps }
