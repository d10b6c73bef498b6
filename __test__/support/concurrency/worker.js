// A process of its own that serves the steps from a store of its own. It ends with the process that forked it.
const { serveSteps } = require('./serve')

process.once('message', async (options) => {
  const site = await serveSteps(options)
  process.send({ port: site.port })
})
process.once('disconnect', () => process.exit())
