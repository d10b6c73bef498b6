// Runs subjects against each other in one process run: interleaved rounds, medians, ratios.

import { performance } from 'node:perf_hooks'

// So many operations that call back in the same tick are started before the event loop has its turn.
const BURST = 1000

/**
 * Keeps `inFlight` operations going until `count` are done. `operation(n, done)` starts one; it may call back in the same
 * tick. Gives operations per second and the event loop's busy time per operation, in microseconds.
 */
export function runLoad(operation, { count, inFlight }) {
  return new Promise((resolve, reject) => {
    let started = 0
    let finished = 0
    let isStarting = false
    const begin = performance.now()
    const loop = performance.eventLoopUtilization()
    const start = () => {
      // Called back in the same tick: the loop below goes on.
      if (isStarting) return
      isStarting = true
      for (let burst = 0; started < count && started - finished < inFlight; burst++) {
        if (burst === BURST) {
          setImmediate(start)
          break
        }
        operation(started++, done)
      }
      isStarting = false
    }
    const done = (error) => {
      if (error) return reject(error)
      if (++finished < count) return start()
      const busy = performance.eventLoopUtilization(loop).active
      resolve({ perSecond: (count / (performance.now() - begin)) * 1000, loopMicros: (busy / count) * 1000 })
    }
    start()
  })
}

/** Runs every subject in every round, in turn, after one round that does not count. */
export async function interleave(subjects, rounds, run) {
  const results = new Map(subjects.map((subject) => [subject.name, []]))
  for (let round = -1; round < rounds; round++) {
    // Each goes first equally often: what runs first in a round may pay for the one before.
    const order = round % 2 === 0 ? subjects : [...subjects].reverse()
    for (const subject of order) {
      const result = await run(subject)
      if (round >= 0) results.get(subject.name).push(result)
    }
  }
  return results
}

export function median(numbers) {
  return quantile(numbers, 0.5)
}

/** Between two numbers, the point on the line from one to the other. */
export function quantile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const place = (sorted.length - 1) * share
  const [below, above] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]]
  return below + (above - below) * (place % 1)
}

/** The median over rounds of one of a subject's figures. */
export function middle(results, name, figure) {
  return median(results.get(name).map((result) => result[figure]))
}

/** The median over rounds of a subject's figure divided by the base's in the same round. */
export function ratio(results, name, base, figure) {
  return median(results.get(name).map((result, round) => result[figure] / results.get(base)[round][figure]))
}

/** The same for the difference. */
export function difference(results, name, base, figure) {
  return median(results.get(name).map((result, round) => result[figure] - results.get(base)[round][figure]))
}

/** A size that an environment variable may set, or a list of sizes. */
export function size(variable, standard) {
  return Number(process.env[variable] ?? standard)
}

export function sizes(variable, standard) {
  return process.env[variable]?.split(',').map(Number) ?? standard
}
