// The consistency checker for as long as you like. docs/testing.md says what it judges and how to read it.
//
//   npm run torture                     TORTURE_MINUTES (5) of rounds, each with a seed of its own, and the directed races
//   npm run torture -- <seed>           one round again
//   npm run torture -- --directed       the directed races only
//   npm run torture -- --broken         builds addons that are wrong on purpose, and shows that they are found out
//
// Exits with 2 when something is wrong with the store.

import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { directed } from '../__test__/torture/directed.js'
import { torture } from '../__test__/torture/driver.js'
import { judge } from '../__test__/torture/judge.js'
import { randomFrom } from '../__test__/torture/random.js'
import { summary, tell } from '../__test__/torture/report.js'
import { root, run } from './run.mjs'

const ROUND_MS = 20_000
const SHOWN = 5
// A round in which less than this part of the reads was judged has shown nothing.
const LEAST_JUDGED = 0.1
const WRONG = 2
const BROKEN = ['write_without_read', 'load_without_token']

const [argument] = process.argv.slice(2)
if (argument === '--broken') findOutBroken()
else if (argument === '--directed') await directedRaces()
else if (argument) await round(argument)
else await forMinutes(Number(process.env.TORTURE_MINUTES ?? 5))

async function forMinutes(minutes) {
  const end = performance.now() + minutes * 60_000
  const name = Date.now().toString(36)
  await directedRaces()
  for (let number = 1; performance.now() < end; number++) await round(`${name}-${number}`)
}

/** One round. Everything that it chooses comes from its seed. */
async function round(seed) {
  const random = randomFrom(`round ${seed}`)
  const options = {
    seed,
    ms: ROUND_MS,
    processes: random.pick([2, 3]),
    places: random.pick([4, 16, 48]),
    pauseMs: random.pick([4, 12]),
    calmMs: random.pick([300, 800, 2000]),
    maxStaleMs: random.pick([200, 1000]),
    persistence: random.chance(0.5),
    store: { touchWindowMs: random.pick([0, 500]) }
  }
  console.log(`\n== ${JSON.stringify(options)}`)
  const { history, stats } = await torture(options)
  report(seed, history, stats, options)
}

async function directedRaces() {
  const options = { rounds: 20, maxStaleMs: 200 }
  console.log(`\n== the races of tracking, on purpose: ${JSON.stringify(options)}`)
  report('directed', await directed(options), {}, options)
}

function report(name, history, stats, { maxStaleMs }) {
  const judgement = judge(history, { maxStaleMs })
  console.log(summary(judgement, history, stats))
  const { violations, coverage } = judgement
  if (coverage.judged < coverage.reads * LEAST_JUDGED) throw new Error('too few of the reads could be judged')
  if (violations.length === 0) return
  process.exitCode = WRONG
  for (const violation of violations.slice(0, SHOWN)) console.log(`\n${tell(violation, history)}`)
  if (violations.length > SHOWN) console.log(`\n... and ${violations.length - SHOWN} more`)
  const file = path.join(tmpdir(), `torture-${name.replace(/[^\w-]/g, '_')}.json`)
  writeFileSync(file, JSON.stringify(history))
  console.log(
    `\nThe whole history is in ${file}. Again: npm run torture -- ${name === 'directed' ? '--directed' : name}`
  )
}

function findOutBroken() {
  const missed = BROKEN.filter((fault) => {
    console.log(`\n==== an addon that is broken on purpose: ${fault}`)
    const addon = buildBroken(fault)
    return ['--directed', `broken-${fault}`].filter((what) => isFoundOut(addon, what)).length === 0
  })
  console.log(missed.length > 0 ? `\nNOT found out: ${missed.join(', ')}` : '\nAll were found out.')
  if (missed.length > 0) process.exitCode = 1
}

/** Both faults make reads stale: other violations would be another matter. */
function isFoundOut(addon, what) {
  const env = { ...process.env, NAPI_RS_NATIVE_LIBRARY_PATH: addon }
  const { status, stdout } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), what], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8'
  })
  console.log(stdout)
  const isStale = status === WRONG && /^P4: /m.test(stdout)
  console.log(`---- ${what}: ${isStale ? 'found out' : `not found out (exit code ${status})`}`)
  return isStale
}

/** In a folder of its own, so that the good addon stays what it is. Returns the addon's file. */
function buildBroken(fault) {
  const target = path.join(root, 'target', 'broken')
  const flags = ['--cfg', `meetabl_broken="${fault}"`]
  const env = { CARGO_TARGET_DIR: target }
  if (!run('cargo', ['rustc', '--lib', '--', ...flags], { env })) throw new Error(`${fault} did not build`)
  const addon = path.join(target, fault, 'meetabl-session.node')
  mkdirSync(path.dirname(addon), { recursive: true })
  copyFileSync(path.join(target, 'debug', 'libmeetabl_session.so'), addon)
  return addon
}
