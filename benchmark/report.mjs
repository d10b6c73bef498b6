// What a part found: printed as Markdown, and left as JSON for `benchmark/all.mjs`.

import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const root = path.join(import.meta.dirname, '..')

/**
 * A part of the benchmark: its title, how it was measured, tables as Markdown, what was promised (`promise`), and figures
 * for the chart.
 */
export function publish({ name, title, how, tables, promises = [], figures = {} }) {
  const markdown = [`## ${title}`, how, ...tables].join('\n\n')
  console.log(`${markdown}\n`)
  for (const { what, promised, measured, kept } of promises) {
    console.log(`${kept ? 'kept  ' : 'MISSED'}  ${what}: ${measured}, promised ${promised}`)
  }
  const directory = process.env.BENCHMARK_RESULTS
  if (directory) writeFileSync(path.join(directory, `${name}.json`), JSON.stringify({ markdown, promises, figures }))
}

/** `limit` is `{ least }` or `{ most }`. */
export function promise(what, value, { least = Number.NEGATIVE_INFINITY, most = Number.POSITIVE_INFINITY }, unit = '') {
  const limit = Number.isFinite(least) ? `at least ${shown(least)}` : `at most ${shown(most)}`
  return { what, promised: limit + unit, measured: shown(value) + unit, kept: value >= least && value <= most }
}

/** A table whose first `names` columns are text, and the others numbers. */
export function table(head, rows, names = 1) {
  const line = (cells) => `| ${cells.join(' | ')} |`
  const rule = head.map((_, column) => (column < names ? '---' : '---:'))
  return [head, rule, ...rows.map((row) => row.map((cell) => (typeof cell === 'number' ? shown(cell) : cell)))]
    .map(line)
    .join('\n')
}

/** Three significant digits, and whole numbers from 100 on. */
export function shown(number) {
  if (Math.abs(number) >= 100) return Math.round(number).toLocaleString('en')
  return String(Number(number.toPrecision(3)))
}

/** What the figures depend on. */
export function machine() {
  const redis = execFileSync('redis-server', ['--version'], { encoding: 'utf8' }).match(/v=(\S+)/)[1]
  const packages = ['connect-redis', 'redis', 'express', 'express-session'].map((name) => `${name} ${versionOf(name)}`)
  const gigabytes = Math.round(os.totalmem() / 2 ** 30)
  return (
    `${os.cpus().length} cores (${os.cpus()[0].model.trim()}), ${gigabytes} GB, ${os.type()} on ${os.arch()}, ` +
    `Node ${process.versions.node}, Redis ${redis} on the same machine, ${packages.join(', ')}.`
  )
}

function versionOf(name) {
  return JSON.parse(readFileSync(path.join(root, 'node_modules', name, 'package.json'), 'utf8')).version
}
