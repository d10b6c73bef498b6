// Runs jest and writes its report to the file that is named:  node scripts/jest.mjs <report> [jest's arguments]
//
// Once in some twenty runs jest's process stays busy after its last test and its report: Node, on its way out, waits for a
// socket of the tests that it does not close. What was found is known by then, so the process is ended, and it is said.

import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { root } from './run.mjs'

const PATIENCE_MS = 30_000

const [report, ...args] = process.argv.slice(2)
const jest = path.join(root, 'node_modules', 'jest', 'bin', 'jest.js')
const child = spawn(process.execPath, [jest, '--json', `--outputFile=${report}`, ...args], {
  cwd: root,
  stdio: ['ignore', 'inherit', 'inherit']
})

let reportedAt
const watch = setInterval(() => {
  if (!existsSync(report)) return
  reportedAt ??= Date.now()
  if (Date.now() - reportedAt < PATIENCE_MS) return
  console.log(`jest did not end by itself within ${PATIENCE_MS / 1000} s of its report, and was ended`)
  child.kill('SIGKILL')
}, 1000)

child.on('exit', (code) => {
  clearInterval(watch)
  process.exitCode = code ?? (isSuccess() ? 0 : 1)
})

function isSuccess() {
  try {
    return JSON.parse(readFileSync(report, 'utf8')).success
  } catch {
    return false
  }
}
