// `npm test`: from a clean clone to the last test. Plain Node, because it starts before anything is installed.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { ensureChromium } from './chromium.mjs'
import { installDependencies } from './dependencies.mjs'
import { ensureRedisServer } from './redis-server.mjs'
import { npm, root, run } from './run.mjs'
import { checkToolchain } from './toolchain.mjs'

const scratch = mkdtempSync(path.join(tmpdir(), 'meetabl-session-'))
const jestReport = path.join(scratch, 'jest.json')

// Without these nothing can be checked. What is quick and can fail comes first.
const PREPARE = [
  ['Node and Rust', checkToolchain],
  ['dependencies', installDependencies],
  ['redis-server', ensureRedisServer],
  ['chromium', ensureChromium],
  ['build', () => npm('run', 'build')]
]
// Each tells something of its own, so one that fails does not hide the others.
const CHECK = [
  ['generated files', () => npm('run', 'test:binding')],
  ['lint JavaScript', () => npm('run', 'lint:js')],
  ['lint Rust', () => npm('run', 'lint:rust')],
  ['types', () => npm('run', 'test:types')],
  ['Rust tests', () => npm('run', 'test:rust')],
  ['jest', runJest]
]

const report = []
try {
  const ready = PREPARE.every(step)
  if (ready) CHECK.forEach(step)
  console.log(`\n${report.join('\n')}`)
  if (ready) console.log(jestTotals())
} finally {
  rmSync(scratch, { recursive: true, force: true })
}

function step([name, work]) {
  console.log(`\n== ${name}`)
  const start = performance.now()
  const passed = attempt(work)
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  report.push(`${passed ? 'ok    ' : 'FAILED'}  ${name.padEnd(16)} ${seconds.padStart(6)} s`)
  if (!passed) process.exitCode = 1
  return passed
}

function attempt(work) {
  try {
    return work() !== false
  } catch (error) {
    console.error(error.message)
    return false
  }
}

function runJest() {
  return run(process.execPath, [path.join(root, 'scripts', 'jest.mjs'), jestReport], { timeout: 15 * 60_000 }) === true
}

function jestTotals() {
  let totals
  try {
    totals = JSON.parse(readFileSync(jestReport, 'utf8'))
  } catch {
    process.exitCode = 1
    return 'jest ended without a report'
  }
  // A file that could not be loaded has no tests to count, and still is a failure.
  const failed = totals.numFailedTests + totals.numRuntimeErrorTestSuites
  const skipped = totals.numPendingTests + totals.numTodoTests
  return `jest: ${totals.numPassedTests} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`
}
