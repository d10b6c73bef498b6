// `npm run demo`: installs, builds, and serves the example. It needs no Redis: without one it runs on memory.

import { installDependencies } from './dependencies.mjs'
import { npm } from './run.mjs'
import { checkToolchain } from './toolchain.mjs'

try {
  checkToolchain()
  installDependencies()
  if (!npm('run', 'build')) throw new Error('the build failed: see above')
  // In this process, so that Ctrl-C reaches the server and nothing else.
  await import('../examples/express-api/server.js')
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
