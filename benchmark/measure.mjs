// Runs subjects against each other in one process run: interleaved rounds, medians, ratios.

import { performance } from 'node:perf_hooks'

/**
 * Keeps `inFlight` operations going until `count` are done. `operation(n, done)` starts one. Gives operations per second
 * and the event loop's busy time per operation, in microseconds.
 */
export function runLoad(operation, { count, inFlight }) {
  return new Promise((resolve, reject) => {
    let started = 0
    let finished = 0
    const begin = performance.now()
    const loop = performance.eventLoopUtilization()
    const next = () => {
      const n = started++
      operation(n, (error) => {
        if (error) return reject(error)
        finished++
        if (started < count) return next()
        if (finished < count) return
        const busy = performance.eventLoopUtilization(loop).active
        resolve({ perSecond: (count / (performance.now() - begin)) * 1000, loopMicros: (busy / count) * 1000 })
      })
    }
    for (let n = 0; n < Math.min(inFlight, count); n++) next()
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
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** The median over rounds of a subject's figure divided by the base's in the same round. */
export function ratio(results, name, base, figure) {
  return median(results.get(name).map((result, round) => result[figure] / results.get(base)[round][figure]))
}
