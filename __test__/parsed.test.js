// What is kept parsed: bounded, and each session with a slot of its own.
const { Parsed } = require('../lib/parsed')

const HALF = 1 << 14

test('no two sessions have one slot, also when one changes while the older half goes', () => {
  const parsed = new Parsed(true)
  const ids = Array.from({ length: 3 * HALF }, (_, n) => `session ${n}`)
  for (const sid of ids.slice(0, 2 * HALF - 1)) parsed.keep(sid, '{}')
  // It is among the older, and the younger half lacks one.
  parsed.keep(ids[0], '{"n":1}')
  for (const sid of ids.slice(2 * HALF)) parsed.keep(sid, '{}')
  const kept = ids.map((sid) => parsed.recall(sid)).filter((each) => each !== undefined)
  expect(kept.length).toBeGreaterThanOrEqual(HALF)
  expect(new Set(kept.map(({ slot }) => slot)).size).toBe(kept.length)
})

test('what is read is the caller own, and is parsed no more than twice', () => {
  const parsed = new Parsed(true)
  let times = 0
  const parse = (_, text) => {
    times++
    return JSON.parse(text)
  }
  const text = '{"cookie":{},"list":[{"a":1}]}'
  for (let n = 0; n < 5; n++) {
    const session = parsed.keep('sid', text).read(Date.now() + 1000, parse)
    expect(session).toEqual(JSON.parse(text))
    session.list[0].a = 2
    session.cookie.path = '/'
  }
  expect(times).toBe(2)
})
