// The consistency checker, for some seconds. `npm run torture` does it for longer; docs/testing.md says how to read it.

const { torture } = require('./torture/driver')
const { directed } = require('./torture/directed')
const { judge } = require('./torture/judge')
const { summary, tell } = require('./torture/report')

const MAX_STALE_MS = 400
const seed = process.env.TORTURE_SEED ?? `short-${Date.now().toString(36)}`

/** Fails with the seed and with the history of what is wrong. */
function expectNoViolations(history, stats) {
  const judgement = judge(history, { maxStaleMs: MAX_STALE_MS })
  const violations = judgement.violations.map((violation) => tell(violation, history))
  if (violations.length === 0) return judgement.coverage
  throw new Error([`seed ${seed}`, summary(judgement, history, stats), ...violations.slice(0, 5)].join('\n\n'))
}

test('P2, P3, P4: three processes on one Redis that fails under them see no lost, stale or risen session', async () => {
  const options = { seed, ms: 9000, maxStaleMs: MAX_STALE_MS, calmMs: 500, pauseMs: 12 }
  const { history, stats } = await torture(options)
  const { reads, judged, stored } = expectNoViolations(history, stats)
  // It has looked, and most of what it saw was not excused by a fault.
  expect(stored).toBeGreaterThan(500)
  expect(judged).toBeGreaterThan(reads / 4)
  expect(history.filter(({ type }) => type === 'fault').length).toBeGreaterThan(3)
}, 60_000)

test('P4: what another process changed after an own save, or while a read was under way, is seen', async () => {
  const { reads, judged } = expectNoViolations(await directed({ rounds: 5, maxStaleMs: MAX_STALE_MS }), {})
  expect(judged).toBe(reads)
}, 30_000)
