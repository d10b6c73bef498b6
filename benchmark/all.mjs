// `npm run bench`: every part, each in a process of its own, one after the other. Writes what they found to
// docs/benchmark.md and docs/benchmark.svg.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { drawChart } from './chart.mjs'
import { machine, table } from './report.mjs'

const PARTS = ['store', 'http', 'distance', 'commands', 'memory', 'tls']

const docs = path.join(import.meta.dirname, '..', 'docs')
const results = mkdtempSync(path.join(tmpdir(), 'meetabl-benchmark-'))
try {
  const parts = PARTS.map(measure)
  writeFileSync(path.join(docs, 'benchmark.md'), page(parts))
  writeFileSync(path.join(docs, 'benchmark.svg'), drawChart(Object.assign({}, ...parts.map(({ figures }) => figures))))
} finally {
  rmSync(results, { recursive: true, force: true })
}

function measure(name) {
  console.log(`\n== ${name}\n`)
  const env = { ...process.env, BENCHMARK_RESULTS: results }
  execFileSync(process.execPath, [path.join(import.meta.dirname, `${name}.mjs`)], { env, stdio: 'inherit' })
  return JSON.parse(readFileSync(path.join(results, `${name}.json`), 'utf8'))
}

function page(parts) {
  const promises = parts.flatMap((part) => part.promises)
  const rows = promises.map(({ what, promised, measured, kept }) => [what, promised, measured, kept ? 'yes' : '**no**'])
  const sections = [
    '# Benchmark',
    'Made by `npm run bench`; what the figures say is in [performance.md](performance.md).',
    '![The event-loop time, the latency and the Redis commands of a session, against connect-redis](benchmark.svg)',
    machine(),
    'Subjects take turns in each round. Figures are medians over the rounds, and ratios and differences are taken within ' +
      'a round. "here" is meetabl-session.',
    '## What was promised',
    table(['', 'promised', 'measured', 'kept'], rows, 4),
    ...parts.map(({ markdown }) => markdown)
  ]
  return `${sections.join('\n\n')}\n`
}
