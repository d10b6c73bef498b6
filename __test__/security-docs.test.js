// docs/security.md says which test shows what, and which events there are: it must not say more than is there.
const fs = require('node:fs')
const path = require('node:path')
const { LEVELS } = require('../lib/security-events')

const ROOT = path.join(__dirname, '..')
const DOCS = fs.readFileSync(path.join(ROOT, 'docs', 'security.md'), 'utf8')

const section = (title) => DOCS.split(/^## /m).find((part) => part.startsWith(title))
const rows = (text) => text.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| id |'))

/** The files that a cell names: `security-csrf`, `tests/crypto.rs`. */
function filesIn(cell) {
  const names = [...cell.matchAll(/`([\w./-]+)`/g)].map(([, name]) => name)
  const places = names.flatMap((name) => [`__test__/${name}.test.js`, name])
  return places
    .map((place) => path.join(ROOT, place))
    .filter((file) => fs.existsSync(file) && fs.statSync(file).isFile())
}

describe('the table of requirements', () => {
  test.each(rows(section('What is required')).map((line) => line.split('|').map((cell) => cell.trim())))(
    '%s%s: each test that it names is there',
    (_, _id, _requirement, tests) => {
      const files = filesIn(tests)
      expect(files.length).toBeGreaterThan(0)
      const text = files.map((file) => fs.readFileSync(file, 'utf8')).join('\n')
      for (const [, name] of tests.matchAll(/"([^"]+?)( …)?"/g)) expect(text).toContain(name)
    }
  )

  test('it has every requirement', () => {
    const ids = rows(section('What is required')).map((line) => line.split('|')[1].trim())
    expect(ids).toHaveLength(new Set(ids).size + 1) // SM has two
    expect(ids.length).toBeGreaterThanOrEqual(22)
  })
})

test('the table of events has every event, with its level', () => {
  const listed = rows(section('Security events')).flatMap((line) => {
    const [, types, level] = line.split('|')
    return [...types.matchAll(/`(\w+)`/g)].map(([, type]) => [type, level.trim()])
  })
  expect(Object.fromEntries(listed)).toEqual(LEVELS)
})
