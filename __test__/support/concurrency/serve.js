// One app that serves the steps from one store, and tells what the store counted.
const { RedisStore, sessionHelpers } = require('../../..')
const { startApp } = require('../app')
const { addSteps } = require('./steps')

/** `app` are the options of `startApp`, the others the store's. */
async function serveSteps({ app: appOptions, ...options }) {
  const store = new RedisStore({ host: '127.0.0.1', logger: false, ...options })
  let refused = 0
  store.on('refused', () => refused++)
  await store.ready()
  const routes = (app) => {
    addSteps(app)
    app.get('/stats', (_req, res) => res.json({ ...store.stats(), refusedEvents: refused }))
  }
  const app = await startApp({ store, routes, middleware: [sessionHelpers()], ...appOptions })
  return {
    store,
    port: app.port,
    async close() {
      await app.close()
      await store.close()
    }
  }
}

module.exports = { serveSteps }
