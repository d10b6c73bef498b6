// Runs a function of a test as a Node.js program of its own, for what a test cannot show inside jest: how a process
// ends, what an uncaught exception does, workers, clusters, environment variables, garbage collection.
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { watchOver } = require('./watchdog')

const ROOT = path.join(__dirname, '..', '..')

/**
 * The function is sent as text: it sees `require` (as if it were in the package's own directory) and its arguments,
 * which must survive JSON, and nothing of the test around it. The program ends as any program does, by having nothing
 * left to do. Resolves with `{ code, signal, stdout, stderr, exitedAt }`
 * (a time as of `performance.timeOrigin + performance.now()`); after `timeoutMs` it is killed (`signal`).
 */
async function runScript(program, args = [], { env = {}, nodeArgs = [], timeoutMs = 20_000 } = {}) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'meetabl-script-'))
  try {
    const file = path.join(directory, 'script.js')
    fs.writeFileSync(file, source(program, args))
    return await run(directory, [...nodeArgs, file], { ...cleanEnvironment(), ...env }, timeoutMs)
  } finally {
    fs.rmSync(directory, { recursive: true, force: true })
  }
}

function source(program, args) {
  const requireFrom = `require('node:module').createRequire(${JSON.stringify(path.join(ROOT, 'index.js'))})`
  return `;(function (require) {\n;(${program})(...${JSON.stringify(args)})\n})(${requireFrom})\n`
}

async function run(directory, argv, env, timeoutMs) {
  const child = spawn(process.execPath, argv, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  const watchdog = watchOver(-child.pid, directory)
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) {
    child[name].setEncoding('utf8').on('data', (chunk) => (output[name] += chunk))
  }
  let exitedAt
  child.once('exit', () => {
    exitedAt = performance.timeOrigin + performance.now()
  })
  // Its whole process group, so that the workers of a cluster end too.
  const timer = setTimeout(() => process.kill(-child.pid, 'SIGKILL'), timeoutMs)
  const [code, signal] = await once(child, 'close')
  clearTimeout(timer)
  watchdog.kill()
  return { code, signal, ...output, exitedAt }
}

/** This process's environment without the variables that configure a store, and without jest's. */
function cleanEnvironment() {
  const foreign = /^(REDIS_|SESSION_|JEST_|NODE_ENV$|NODE_OPTIONS$)/
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)))
}

module.exports = { runScript, cleanEnvironment }
